//! What a case is: a clause of the specification, and how it is tried.

use anyhow::Result;

use crate::trial::Trial;

/// How strongly the specification asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A runtime that does not is not compliant.
    Must,
    /// Recommended.
    Should,
    /// Not of the specification: runc's command line, which engines type.
    Cli,
    /// Not of the specification: a published flaw of other runtimes.
    Safe,
}

impl Level {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::Cli => "CLI",
            Self::Safe => "SAFE",
        }
    }
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name: the group, a dot, what holds.
    pub id: &'static str,
    /// Where it is said.
    pub clause: &'static str,
    /// How strongly.
    pub level: Level,
    /// Tries it.
    pub attempt: fn(&mut Trial<'_>) -> Result<()>,
}

impl Case {
    const fn new(
        level: Level,
        id: &'static str,
        clause: &'static str,
        attempt: fn(&mut Trial<'_>) -> Result<()>,
    ) -> Self {
        Self { id, clause, level, attempt }
    }

    /// What the specification demands.
    pub const fn must(id: &'static str, clause: &'static str, of: fn(&mut Trial<'_>) -> Result<()>) -> Self {
        Self::new(Level::Must, id, clause, of)
    }

    /// What the specification recommends.
    pub const fn should(
        id: &'static str,
        clause: &'static str,
        of: fn(&mut Trial<'_>) -> Result<()>,
    ) -> Self {
        Self::new(Level::Should, id, clause, of)
    }

    /// What engines type.
    pub const fn cli(id: &'static str, clause: &'static str, of: fn(&mut Trial<'_>) -> Result<()>) -> Self {
        Self::new(Level::Cli, id, clause, of)
    }

    /// What other runtimes had wrong.
    pub const fn safe(id: &'static str, clause: &'static str, of: fn(&mut Trial<'_>) -> Result<()>) -> Self {
        Self::new(Level::Safe, id, clause, of)
    }
}
