//! How a machine ended: from the VMM's exit record and what the agent said, never from a bare status.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bulkhead_protocol::agent::ExitStatus;
use bulkhead_protocol::exit::ExitRecord;

use crate::service::model::{Exit, ExitReason};

/// The longest exit record that is read. It holds up to 4 KiB of console, escaped.
const MAX_RECORD: u64 = 64 << 10;
/// The code of a machine that ended by a fault of its own or the host's, as Docker's.
const FAULT: u8 = 125;
/// The code of a machine whose VMM was killed: 128 + SIGKILL.
const KILLED: u8 = 137;

/// How a machine ended, a sentence when something went wrong, and what its console said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// For the machine's status.
    pub exit: Exit,
    /// What went wrong.
    pub message: Option<String>,
    /// The console of a guest that panicked.
    pub console: Option<String>,
}

/// Reads a VMM's exit record; none where there is none, or where it is torn.
pub fn read_record(path: &Path) -> Option<ExitRecord> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_RECORD).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

/// How it ended. `same_boot`: the host has not been restarted since.
pub fn ending(record: Option<ExitRecord>, container: Option<ExitStatus>, same_boot: bool) -> Ending {
    let plain = |code, reason| Exit { code, reason, signal: None, oom_killed: false };
    let by_container = |status: ExitStatus| Exit {
        code: status.code,
        reason: ExitReason::GuestExit,
        signal: status.signal,
        oom_killed: status.oom_killed,
    };
    let (exit, message, console) = match (record, container) {
        (Some(ExitRecord::Panic { console }), _) => {
            (plain(FAULT, ExitReason::Panic), Some("The guest kernel panicked".to_owned()), Some(console))
        }
        (Some(ExitRecord::VmmError { message }), _) => {
            (plain(FAULT, ExitReason::VmmError), Some(format!("The VMM failed: {message}")), None)
        }
        // What the agent said of the container says more than the byte that the guest wrote.
        (_, Some(status)) => (by_container(status), None, None),
        (Some(ExitRecord::GuestExit { code }), None) => (plain(code, ExitReason::GuestExit), None, None),
        (Some(ExitRecord::PowerOff), None) => {
            (plain(0, ExitReason::PowerOff), Some("The guest powered off without a status".to_owned()), None)
        }
        (Some(ExitRecord::Reset), None) => {
            (plain(FAULT, ExitReason::Reset), Some("The guest reset itself".to_owned()), None)
        }
        (None, None) if same_boot => (
            plain(KILLED, ExitReason::VmmKilled),
            Some("The VMM was killed; it left no exit record".to_owned()),
            None,
        ),
        (None, None) => {
            (plain(KILLED, ExitReason::Lost), Some("The host went down with the machine".to_owned()), None)
        }
    };
    Ending { exit, message, console }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_s_word_counts_unless_guest_or_vmm_failed() {
        let killed = ExitStatus { code: 137, signal: Some(9), oom_killed: true };
        let ended = ending(Some(ExitRecord::GuestExit { code: 137 }), Some(killed), true);
        assert_eq!((ended.exit.signal, ended.exit.oom_killed), (Some(9), true));
        let ended = ending(None, Some(killed), true);
        assert_eq!((ended.exit.code, ended.exit.reason), (137, ExitReason::GuestExit));
        let ended = ending(Some(ExitRecord::Panic { console: "x".into() }), Some(killed), true);
        assert_eq!((ended.exit.code, ended.exit.reason), (125, ExitReason::Panic));
        assert_eq!(ended.console.as_deref(), Some("x"));
    }

    #[test]
    fn without_the_agent_the_record_counts() {
        for (record, code, reason) in [
            (Some(ExitRecord::GuestExit { code: 42 }), 42, ExitReason::GuestExit),
            (Some(ExitRecord::PowerOff), 0, ExitReason::PowerOff),
            (Some(ExitRecord::Reset), 125, ExitReason::Reset),
            (Some(ExitRecord::VmmError { message: "m".into() }), 125, ExitReason::VmmError),
            (None, 137, ExitReason::VmmKilled),
        ] {
            let ended = ending(record, None, true);
            assert_eq!((ended.exit.code, ended.exit.reason), (code, reason));
        }
        assert_eq!(ending(None, None, false).exit.reason, ExitReason::Lost);
    }

    #[test]
    fn torn_and_foreign_records_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.json");
        assert_eq!(read_record(&path), None);
        for text in ["", "{", "{\"reason\":\"guest-exit\"", "{\"reason\":\"other\"}", "\u{0}\u{0}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_record(&path), None, "{text}");
        }
        std::fs::write(&path, "{\"reason\":\"guest-exit\",\"code\":7}\n").unwrap();
        assert_eq!(read_record(&path), Some(ExitRecord::GuestExit { code: 7 }));
    }
}
