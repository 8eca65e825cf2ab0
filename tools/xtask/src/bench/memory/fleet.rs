//! Many machines of one VMM at once, with the same files and nobody between them and us.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::super::boot::plan::{MARKER, last_words};
use super::super::guest::Guest;
use super::super::process::{Machine, now};
use super::super::subject::Subject;
use super::super::{carry, smaps};
use super::left::Left;
use super::report::Figures;

/// How long a guest may say nothing while all of them start.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long guests are left alone before they are looked at, so that their first processes wait.
const SETTLE: Duration = Duration::from_millis(100);

/// First one alone, then `count` at once.
pub fn measure(subject: &Subject, guest: &Guest, count: u16) -> Result<Figures> {
    let before = Left::take(&[]);
    let (alone, _) = start(subject, guest, 1)?;
    let one =
        alone.iter().map(Machine::id).map(|id| smaps::of(id, guest.memory)).collect::<Result<Vec<_>>>()?;
    end(alone, subject)?;

    // Nothing is said while guests run: an interrupt of the lab's own console may be lost meanwhile.
    let (all, up) = start(subject, guest, count)?;
    let footprints =
        all.iter().map(|machine| smaps::of(machine.id(), guest.memory)).collect::<Result<Vec<_>>>()?;
    end(all, subject)?;
    let left_over = Left::take(&[]).added_since(&before);
    Ok(Figures::new(one.first().copied().unwrap_or_default(), &footprints, &up, left_over))
}

/// Starts so many and waits until each has said that its init is there; gives them, and when each was.
fn start(subject: &Subject, guest: &Guest, count: u16) -> Result<(Vec<Machine>, Vec<f64>)> {
    let begin = now();
    let mut machines = Vec::new();
    for number in 0..count {
        // A file each: one machine reads its own while that of the next is written.
        let config = Path::new(carry::FOLDER).join(format!("config-{number}.json"));
        machines.push(Machine::start(guest.command(subject, &config)?)?.patient(PATIENCE));
    }
    let mut up = Vec::new();
    for machine in &mut machines {
        machine.read_until(MARKER)?;
        // One that was there before its turn came to be read is told with the one that was read before it.
        up.push((now() - begin) * 1000.0);
    }
    thread::sleep(SETTLE);
    Ok((machines, up))
}

fn end(mut machines: Vec<Machine>, subject: &Subject) -> Result<()> {
    machines.iter_mut().try_for_each(|machine| machine.type_line(last_words(subject.kind)))?;
    machines.iter_mut().try_for_each(Machine::read_to_end)
}
