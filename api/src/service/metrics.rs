//! Figures in Prometheus's text format: what the daemon counts, and what every machine's VMM does, told apart by the
//! labels `machine` (its id) and `name`.
//!
//! A VMM's text is not trusted: a line that is not of the format, or of a metric that is none of a VMM's, is left
//! out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::model::{Machine, Phase};
use super::{Service, ServiceError};

/// How long a VMM has to tell its figures; one that is busy is left out this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a VMM's metrics begin with, and what it is here.
const PREFIXES: [(&str, &str); 2] =
    [("bulkhead_vmm_", "bulkhead_vmm_"), ("process_", "bulkhead_vmm_process_")];
/// The longest explanation that is handed on.
const MAX_HELP: usize = 400;
/// Every phase with its word.
const PHASES: [(&str, Phase); 6] = [
    ("created", Phase::Created),
    ("creating", Phase::Creating),
    ("running", Phase::Running),
    ("paused", Phase::Paused),
    ("stopped", Phase::Stopped),
    ("failed", Phase::Failed),
];

/// Metrics of one name.
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    /// Values by labels.
    samples: BTreeMap<String, String>,
}

/// Metrics by name.
#[derive(Default)]
struct Exposition(BTreeMap<String, Family>);

impl Service {
    /// All figures.
    pub async fn exposition(&self) -> Result<String, ServiceError> {
        let machines = self.list::<Machine>().await?.items;
        let mut exposition = Exposition::default();
        exposition.count(&machines);
        exposition.count_builds(self.builds.count(), *self.builds.busy().borrow());
        let mut asked = JoinSet::new();
        for machine in machines {
            let Some(live) = self.live(&machine.metadata.id) else { continue };
            asked.spawn(async move {
                let figures = timeout(PATIENCE, live.vmm.figures()).await;
                let text = figures.ok().and_then(Result::ok).unwrap_or_default();
                (machine.metadata.id, machine.metadata.name, String::from_utf8_lossy(&text).into_owned())
            });
        }
        while let Some(answered) = asked.join_next().await {
            let Ok((id, name, text)) = answered else { continue };
            exposition.take_over(&text, &format!("machine=\"{id}\",name=\"{name}\""), !text.is_empty());
        }
        Ok(exposition.render())
    }
}

impl Exposition {
    fn family(&mut self, name: &str, help: &str) -> &mut Family {
        let made = || Family { help: help.to_owned(), kind: "gauge".to_owned(), samples: BTreeMap::new() };
        self.0.entry(name.to_owned()).or_insert_with(made)
    }

    /// Counts machines.
    fn count(&mut self, machines: &[Machine]) {
        let version = env!("CARGO_PKG_VERSION");
        let info = self.family("bulkhead_info", "Which daemon this is.");
        info.samples.insert(format!("version=\"{version}\""), "1".to_owned());
        let phases = self.family("bulkhead_machines", "Machines by phase.");
        for (word, phase) in PHASES {
            let count = machines.iter().filter(|machine| machine.status.phase == phase).count();
            phases.samples.insert(format!("phase=\"{word}\""), count.to_string());
        }
    }

    /// Counts roots that were made.
    fn count_builds(&mut self, made: u64, busy: usize) {
        let help = "Roots of images that were built or copied since the daemon started.";
        let builds = self.family("bulkhead_image_builds_total", help);
        "counter".clone_into(&mut builds.kind);
        builds.samples.insert(String::new(), made.to_string());
        let busy_builds = self.family("bulkhead_image_builds", "Roots of images that are being made.");
        busy_builds.samples.insert(String::new(), busy.to_string());
    }

    /// Takes over what a VMM tells of its machine. `labels` are put in front of each value's own.
    fn take_over(&mut self, text: &str, labels: &str, answered: bool) {
        let up =
            self.family("bulkhead_machine_up", "1 where the machine's VMM told its figures, 0 where not.");
        up.samples.insert(labels.to_owned(), u8::from(answered).to_string());
        for line in text.lines() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                let Some(name) = renamed(name) else { continue };
                let family = self.0.entry(name).or_default();
                if family.help.is_empty() {
                    family.help = help.chars().filter(|letter| !letter.is_control()).take(MAX_HELP).collect();
                }
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                let Some(name) = renamed(name).filter(|_| matches!(kind, "counter" | "gauge")) else {
                    continue;
                };
                let family = self.0.entry(name).or_default();
                if family.kind.is_empty() {
                    kind.clone_into(&mut family.kind);
                }
            } else if let Some((name, own, value)) = sample(line)
                && let Some(family) = renamed(name).and_then(|name| self.0.get_mut(&name))
            {
                let comma = if own.is_empty() { "" } else { "," };
                family.samples.insert(format!("{labels}{comma}{own}"), value.to_owned());
            }
        }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        let whole = |family: &&Family| !(family.kind.is_empty() || family.samples.is_empty());
        for (name, family) in self.0.iter().filter(|(_, family)| whole(family)) {
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {}\n", family.help, family.kind);
            for (labels, value) in &family.samples {
                let _ = match labels.as_str() {
                    "" => writeln!(text, "{name} {value}"),
                    labels => writeln!(text, "{name}{{{labels}}} {value}"),
                };
            }
        }
        text
    }
}

/// A VMM's metric by the name that it has here.
fn renamed(name: &str) -> Option<String> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let short = is_name && name.len() <= 128;
    PREFIXES
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs).filter(|_| short)?)))
}

/// `name{labels} value` in its parts; nothing where it is no such line.
fn sample(line: &str) -> Option<(&str, &str, &str)> {
    let (head, value) = line.rsplit_once(' ')?;
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    value.parse::<f64>().ok().filter(|_| is_number)?;
    match head.split_once('{') {
        None => Some((head, "", value)),
        Some((name, labels)) => {
            let labels = labels.strip_suffix('}')?;
            are_labels(labels).then_some((name, labels, value))
        }
    }
}

/// `name="value",…`, and none that is given here.
fn are_labels(mut text: &str) -> bool {
    loop {
        let Some((name, rest)) = text.split_once("=\"") else { return false };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !is_name || matches!(name, "machine" | "name") {
            return false;
        }
        let mut escaped = false;
        let end = rest.char_indices().find(|(_, letter)| {
            let ends = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return false };
        let value = rest.get(..end).unwrap_or_default();
        if value.chars().any(char::is_control) {
            return false;
        }
        match rest.get(end + 1..) {
            Some("") => return true,
            Some(more) => match more.strip_prefix(',') {
                Some(more) => text = more,
                None => return false,
            },
            None => return false,
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
