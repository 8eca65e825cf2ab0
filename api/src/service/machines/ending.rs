//! How a machine ended: from the VMM's exit record and what the agent said, never from a bare status.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bulkhead_protocol::agent::ExitStatus;
use bulkhead_protocol::console::{last_lines, readable, until_panic};
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
    /// What the console of a guest that broke down said last, fit to be shown.
    pub console: Vec<String>,
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
    let console = record.as_ref().map(|record| last_lines(console_of(record))).unwrap_or_default();
    let (exit, message) = match (record, container) {
        (Some(ExitRecord::Panic { cause, .. }), _) => (
            plain(FAULT, ExitReason::Panic),
            Some(format!("The guest kernel panicked: {}", readable(&cause))),
        ),
        (Some(ExitRecord::TripleFault { .. }), _) => {
            let before = if console.is_empty() { " before its kernel printed anything" } else { "" };
            let message = format!("The guest met a triple fault{before}");
            (plain(FAULT, ExitReason::TripleFault), Some(message))
        }
        (Some(ExitRecord::VmmError { message }), _) => {
            (plain(FAULT, ExitReason::VmmError), Some(format!("The VMM failed: {message}")))
        }
        // What the agent said of the container says more than the byte that the guest wrote.
        (_, Some(status)) => {
            let starved = status.oom_killed && status.code != 0;
            let message =
                starved.then(|| "A process of the container was killed for want of memory".to_owned());
            (by_container(status), message)
        }
        (Some(ExitRecord::GuestExit { code }), None) => (plain(code, ExitReason::GuestExit), None),
        (Some(ExitRecord::PowerOff), None) => {
            (plain(0, ExitReason::PowerOff), Some("The guest powered off without a status".to_owned()))
        }
        (Some(ExitRecord::Reset), None) => {
            (plain(FAULT, ExitReason::Reset), Some("The guest reset itself".to_owned()))
        }
        (Some(ExitRecord::Signal { number, .. }), None) => {
            let code = u8::try_from(number).map_or(KILLED, |number| number.saturating_add(128));
            let message = format!("The VMM was ended by signal {number}");
            (plain(code, ExitReason::VmmKilled), Some(message))
        }
        (None, None) if same_boot => {
            let message = "The VMM was killed; it left no exit record".to_owned();
            (plain(KILLED, ExitReason::VmmKilled), Some(message))
        }
        (None, None) => {
            (plain(KILLED, ExitReason::Lost), Some("The host went down with the machine".to_owned()))
        }
    };
    Ending { exit, message, console }
}

/// The console of a guest that broke down.
fn console_of(record: &ExitRecord) -> &str {
    match record {
        ExitRecord::Panic { console, .. } => until_panic(console),
        ExitRecord::TripleFault { console } => console,
        _ => "",
    }
}

/// How a guest ended whose time was up before it had come up; `sentence` says so.
pub fn too_slow(record: Option<&ExitRecord>, sentence: &str, console_file: &str) -> Ending {
    let (cause, console) = match record {
        Some(ExitRecord::Signal { cause: Some(cause), console, .. }) => {
            (Some(cause.as_str()), last_lines(until_panic(console)))
        }
        Some(ExitRecord::Signal { console, .. }) => (None, last_lines(console)),
        // It did not hear the signal: there is only what the console's file has.
        _ => (None, last_lines(console_file)),
    };
    let message = match cause {
        Some(cause) => format!("{sentence}: {}", readable(cause)),
        None if console.is_empty() => format!("{sentence}; its kernel printed nothing"),
        None => sentence.to_owned(),
    };
    let exit = Exit { code: FAULT, reason: ExitReason::StartTimeout, signal: None, oom_killed: false };
    Ending { exit, message: Some(message), console }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(number: i32, cause: Option<&str>, console: &str) -> ExitRecord {
        ExitRecord::Signal { number, cause: cause.map(str::to_owned), console: console.into() }
    }

    #[test]
    fn a_guest_whose_time_was_up_says_what_is_known() {
        let silent = too_slow(Some(&signal(15, None, "\r\n")), "Too slow", "");
        assert_eq!(silent.message.as_deref(), Some("Too slow; its kernel printed nothing"));
        assert_eq!((silent.exit.code, silent.exit.reason), (125, ExitReason::StartTimeout));
        let stuck = too_slow(Some(&signal(15, Some("it is stuck\u{7}"), "a\nb\n")), "Too slow", "");
        assert_eq!(stuck.message.as_deref(), Some("Too slow: it is stuck"));
        assert_eq!(stuck.console, ["a", "b"]);
        let deaf = too_slow(None, "Too slow", "from the file\n");
        assert_eq!((deaf.message.as_deref(), deaf.console.len()), (Some("Too slow"), 1));
    }

    #[test]
    fn the_agent_s_word_counts_unless_guest_or_vmm_failed() {
        let killed = ExitStatus { code: 137, signal: Some(9), oom_killed: true };
        let ended = ending(Some(ExitRecord::GuestExit { code: 137 }), Some(killed), true);
        assert_eq!((ended.exit.signal, ended.exit.oom_killed), (Some(9), true));
        let ended = ending(None, Some(killed), true);
        assert_eq!((ended.exit.code, ended.exit.reason), (137, ExitReason::GuestExit));
        assert!(ended.message.unwrap().contains("want of memory"));
        let panic =
            ExitRecord::Panic { cause: "\u{1b}[2Jit broke".into(), console: "x\r\n\u{1b}[1my\n".into() };
        let ended = ending(Some(panic), Some(killed), true);
        assert_eq!((ended.exit.code, ended.exit.reason), (125, ExitReason::Panic));
        assert_eq!(ended.message.as_deref(), Some("The guest kernel panicked: [2Jit broke"));
        assert_eq!(ended.console, ["x", "[1my"]);
    }

    #[test]
    fn without_the_agent_the_record_counts() {
        for (record, code, reason) in [
            (Some(ExitRecord::GuestExit { code: 42 }), 42, ExitReason::GuestExit),
            (Some(ExitRecord::PowerOff), 0, ExitReason::PowerOff),
            (Some(ExitRecord::Reset), 125, ExitReason::Reset),
            (Some(ExitRecord::VmmError { message: "m".into() }), 125, ExitReason::VmmError),
            (Some(ExitRecord::TripleFault { console: String::new() }), 125, ExitReason::TripleFault),
            (Some(signal(15, None, "x")), 143, ExitReason::VmmKilled),
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
