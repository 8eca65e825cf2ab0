//! How the process says why its machine ended: a status, and one line of JSON for whoever asked.

use std::fs::File;
use std::io::Write;

use bulkhead_protocol::console::until_panic;
use bulkhead_protocol::exit::ExitRecord;

use crate::diagnosis;
use crate::machine::Remains;
use crate::vcpu::Ending;

/// What the record says of a machine that ended.
pub fn record(ending: &Ending, remains: Remains) -> ExitRecord {
    let Remains { guest_status, console } = remains;
    match (ending, guest_status) {
        (Ending::Broken(message), _) => ExitRecord::VmmError { message: message.clone() },
        (Ending::Signal(number), _) => {
            ExitRecord::Signal { number: *number, cause: diagnosis::cause(&console), console }
        }
        (Ending::PowerOff, Some(code)) => ExitRecord::GuestExit { code },
        (Ending::PowerOff, None) => ExitRecord::PowerOff,
        (Ending::Reset | Ending::TripleFault, _) => match diagnosis::panic(&console) {
            Some(cause) => ExitRecord::Panic { cause, console },
            // With `reboot=t` a triple fault is how Linux restarts.
            None if *ending == Ending::TripleFault && !diagnosis::restarts(&console) => {
                ExitRecord::TripleFault { console }
            }
            None => ExitRecord::Reset,
        },
    }
}

/// What went wrong with the guest, in a sentence, and its console; nothing for a guest that ended by its own will
/// or its host's.
pub fn failure(record: &ExitRecord) -> Option<(String, &str)> {
    match record {
        ExitRecord::Panic { cause, console } => {
            Some((format!("The guest kernel panicked: {cause}"), until_panic(console)))
        }
        ExitRecord::TripleFault { console } if console.trim().is_empty() => {
            let sentence = "The guest met a triple fault before its kernel printed anything: \
                            is the kernel whole, and one for this machine?";
            Some((sentence.to_owned(), console))
        }
        ExitRecord::TripleFault { console } => Some(("The guest met a triple fault".to_owned(), console)),
        _ => None,
    }
}

/// Writes the record as one line. A reader that went away changes nothing.
pub fn write(to: Option<File>, record: &ExitRecord) {
    let (Some(mut to), Ok(mut line)) = (to, serde_json::to_vec(record)) else { return };
    line.push(b'\n');
    let _ = to.write_all(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remains(guest_status: Option<u8>, console: &str) -> Remains {
        Remains { guest_status, console: console.into() }
    }

    #[test]
    fn the_record_tells_the_ends_apart() {
        let record = |ending: Ending, status, console: &str| record(&ending, remains(status, console));
        assert_eq!(record(Ending::PowerOff, None, ""), ExitRecord::PowerOff);
        assert_eq!(record(Ending::PowerOff, Some(42), ""), ExitRecord::GuestExit { code: 42 });
        assert_eq!(record(Ending::Reset, Some(42), "bye"), ExitRecord::Reset);
        assert_eq!(record(Ending::TripleFault, None, "x"), ExitRecord::TripleFault { console: "x".into() });
        assert_eq!(record(Ending::TripleFault, None, "reboot: Restarting system\r\n"), ExitRecord::Reset);
        let console = "x\nKernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n";
        let cause = "its init exited with status 3".to_owned();
        let panic = ExitRecord::Panic { cause: cause.clone(), console: console.into() };
        assert_eq!(record(Ending::Reset, None, console), panic);
        assert_eq!(record(Ending::TripleFault, None, console), panic);
        assert_eq!(record(Ending::PowerOff, None, console), ExitRecord::PowerOff);
        let signal = record(Ending::Signal(15), None, console);
        let cause = Some(format!("the guest kernel panicked: {cause}"));
        assert_eq!(signal, ExitRecord::Signal { number: 15, cause, console: console.into() });
        let broken = record(Ending::Broken("x".into()), Some(1), "");
        assert_eq!(broken, ExitRecord::VmmError { message: "x".into() });
    }

    #[test]
    fn only_a_guest_that_broke_down_has_failed() {
        let sentence = |record: &ExitRecord| failure(record).map(|(sentence, _)| sentence);
        assert_eq!(sentence(&ExitRecord::Reset), None);
        assert_eq!(sentence(&ExitRecord::GuestExit { code: 1 }), None);
        let silent = sentence(&ExitRecord::TripleFault { console: "\r\n".into() });
        assert!(silent.unwrap().contains("before its kernel printed anything"));
        let loud = sentence(&ExitRecord::TripleFault { console: "a".into() });
        assert_eq!(loud.unwrap(), "The guest met a triple fault");
    }
}
