//! How the process says why its machine ended: a status, and one line of JSON for whoever asked.

use std::fs::File;
use std::io::Write;

use bulkhead_protocol::exit::ExitRecord;

use crate::machine::Remains;
use crate::vcpu::Ending;

/// What Linux prints when it panics.
const PANIC: &str = "Kernel panic - not syncing";

/// What the record says of a machine that ended.
pub fn record(ending: &Ending, remains: Remains) -> ExitRecord {
    match (ending, remains.guest_status) {
        (Ending::Broken(message), _) => ExitRecord::VmmError { message: message.clone() },
        (Ending::Signal(number), _) => {
            ExitRecord::VmmError { message: format!("The machine was ended by signal {number} to its VMM") }
        }
        (Ending::Reset, _) if remains.console.contains(PANIC) => {
            ExitRecord::Panic { console: remains.console }
        }
        (Ending::PowerOff, Some(code)) => ExitRecord::GuestExit { code },
        (Ending::PowerOff, None) => ExitRecord::PowerOff,
        (Ending::Reset, _) => ExitRecord::Reset,
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
    fn the_record_tells_power_off_reset_and_panic_apart() {
        let record = |ending: Ending, status, console: &str| record(&ending, remains(status, console));
        assert_eq!(record(Ending::PowerOff, None, ""), ExitRecord::PowerOff);
        assert_eq!(record(Ending::PowerOff, Some(42), ""), ExitRecord::GuestExit { code: 42 });
        assert_eq!(record(Ending::Reset, Some(42), "bye"), ExitRecord::Reset);
        let console = "x\nKernel panic - not syncing: Attempted to kill init!\n";
        assert_eq!(record(Ending::Reset, None, console), ExitRecord::Panic { console: console.into() });
        assert_eq!(record(Ending::PowerOff, None, console), ExitRecord::PowerOff);
        let broken = record(Ending::Broken("x".into()), Some(1), "");
        assert_eq!(broken, ExitRecord::VmmError { message: "x".into() });
    }
}
