//! A machine that did not come up: why, and an end to what there is of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::console::last_lines;

use super::connect;
use super::ending::{Ending, ending, read_record, too_slow};
use super::live::Live;
use super::output::end_of;
use crate::host::HostError;
use crate::service::Service;
use crate::service::error::ServiceError;
use crate::service::model::{Exit, ExitReason, Machine, Phase};

/// How much of a console's end is looked at when its guest did not come up.
const SHOWN_CONSOLE: u64 = 4 << 10;
/// How long a VMM has to say why its guest did not come up.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Service {
    /// Clears up after a machine that did not come up.
    pub(super) async fn give_up(self: &Arc<Self>, machine: &Machine, live: &Arc<Live>, error: &ServiceError) {
        let id = &machine.metadata.id;
        if let Some(output) = live.take_output() {
            output.abort();
        }
        if let Some(process) = live.process() {
            if matches!(error, ServiceError::Silent { .. }) && process.terminate().is_ok() {
                // It says what its guest's console said last.
                let _ = tokio::time::timeout(LAST_WORD, process.ended()).await;
            }
            let _ = process.kill();
            process.ended().await;
        }
        connect::end_passt(live).await;
        let record = read_record(&self.layout.exit_record(id));
        let ended = match error {
            ServiceError::Silent { .. } => {
                let console = console_end(&self.layout.console(id));
                too_slow(record.as_ref(), &error.chain(), &console)
            }
            ServiceError::EndedEarly { .. } => {
                let ended = ending(record, None, true);
                let console = match ended.exit.reason {
                    ExitReason::Panic | ExitReason::TripleFault => ended.console,
                    _ => last_lines(&console_end(&self.layout.console(id))),
                };
                Ending { message: Some(error.chain()), console, ..ended }
            }
            _ => {
                let (code, reason) = (start_failure(error), ExitReason::StartFailed);
                let exit = Exit { code, reason, signal: None, oom_killed: false };
                Ending { exit, message: Some(error.chain()), console: Vec::new() }
            }
        };
        self.finish(id, Some(live), Phase::Failed, ended).await;
    }
}

/// What the console's file ends with.
fn console_end(path: &Path) -> String {
    String::from_utf8_lossy(&end_of(path, SHOWN_CONSOLE).unwrap_or_default()).into_owned()
}

/// The status of a container that could not be started, as Docker tells them apart.
fn start_failure(error: &ServiceError) -> u8 {
    let ServiceError::Guest { source: HostError::AgentRefused { message, .. }, .. } = error else {
        return 125;
    };
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["no such file", "not found", "enoent"]) {
        127
    } else if says(&["permission denied", "exec format", "is a directory", "not executable", "eacces"]) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unfit_programs_are_told_apart() {
        let refused = |message: &str| ServiceError::Guest {
            name: "m".into(),
            operation: "start the container",
            source: HostError::AgentRefused { status: 422, message: message.into(), code: None },
        };
        assert_eq!(start_failure(&refused("Cannot execute /x: No such file or directory (os error 2)")), 127);
        assert_eq!(start_failure(&refused("Cannot execute /x: Permission denied (os error 13)")), 126);
        assert_eq!(start_failure(&refused("Cannot mount the root")), 125);
    }

    #[test]
    fn of_a_long_console_only_the_end_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        assert_eq!(console_end(&path), "");
        std::fs::write(&path, format!("{}the end", "a".repeat(SHOWN_CONSOLE as usize))).unwrap();
        let end = console_end(&path);
        assert_eq!((end.len() as u64, &end[end.len() - 7..]), (SHOWN_CONSOLE, "the end"));
    }
}
