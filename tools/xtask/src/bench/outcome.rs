//! How each VMM did, whatever is measured.

use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::subject::Subject;

/// How one did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome<F> {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub version: String,
    /// Its figures, or why there are none.
    pub figures: Result<F, String>,
}

impl<F> Outcome<F> {
    /// Of what was measured; says at once why it was not.
    pub fn new(name: &str, version: String, measured: Result<F>) -> Self {
        let figures = measured.map_err(|error| format!("{error:#}"));
        if let Err(why) = &figures {
            eprintln!("bench: {name}: {why}");
        }
        Self { name: name.to_owned(), version, figures }
    }
}

/// A row's cells: what is shown of each, and a dash of what was not measured.
pub fn cells<F>(results: &[Outcome<F>], show: fn(&F) -> String) -> Vec<String> {
    results.iter().map(|outcome| outcome.figures.as_ref().map_or_else(|_| "-".to_owned(), show)).collect()
}

/// Inside: puts every VMM where people have theirs and measures it.
pub fn of_each<F>(
    subjects: &mut [Subject],
    mut measure: impl FnMut(&Subject) -> Result<F>,
) -> Result<Vec<Outcome<F>>> {
    subjects.iter_mut().try_for_each(Subject::install)?;
    // What has not reached the disk counts as dirty where it is mapped.
    rustix::fs::sync();
    let outcome = |subject: &Subject| {
        let version = subject.version();
        Outcome::new(&subject.name, version, measure(subject))
    };
    Ok(subjects.iter().map(outcome).collect())
}

/// Inside: the half's exit status.
pub fn status<F>(results: &[Outcome<F>]) -> u8 {
    u8::from(results.iter().any(|outcome| outcome.figures.is_err()))
}

/// Inside: the lab's kernel.
pub fn host() -> String {
    fs::read_to_string("/proc/version").unwrap_or_default().trim().to_owned()
}
