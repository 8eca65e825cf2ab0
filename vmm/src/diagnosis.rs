//! What a guest's console says of why it does not run.
//!
//! The text is the guest's, who may print what it likes: what is found here ends up in a sentence about that guest
//! and changes nothing else. Sentences of Linux 6.1 and 6.12 are known; what is not known is handed on as it is.

use bulkhead_protocol::console::{PANIC, readable};

/// What it prints when it ends the machine by its own will (`kernel/reboot.c`). Nothing of it follows a panic.
const ENDS: [&str; 3] = ["reboot: Restarting system", "reboot: Power down", "reboot: System halted"];
/// An initramfs that cannot be unpacked (`init/initramfs.c`).
const INITRAMFS: &str = "Initramfs unpacking failed: ";
/// A process that was killed for want of memory (`mm/oom_kill.c`).
const KILLED: &str = "Out of memory: Killed process ";

/// Why the guest's kernel panicked, as a part of a sentence; nothing when it did not.
pub fn panic(console: &str) -> Option<String> {
    let lines = lines(console);
    let at = lines.iter().rposition(|line| line.starts_with(PANIC))?;
    // Somebody printed an old message, perhaps; the kernel itself lived on.
    if lines.iter().skip(at).any(|line| ends(line)) {
        return None;
    }
    let words = lines.get(at)?.strip_prefix(PANIC)?;
    Some(explain(words, lines.get(..at).unwrap_or_default()))
}

/// Why the guest stands still, as a part of a sentence, where its console says so.
pub fn cause(console: &str) -> Option<String> {
    if let Some(cause) = panic(console) {
        return Some(format!("the guest kernel panicked: {cause}"));
    }
    let lines = lines(console);
    let damaged = after(&lines, INITRAMFS).map(|why| format!("its initramfs is damaged ({why})"));
    damaged.or_else(|| victim(&lines).map(|name| format!("it ran out of memory and killed {name}")))
}

/// The kernel said that it restarts the machine or turns it off.
pub fn restarts(console: &str) -> bool {
    lines(console).iter().any(|line| ends(line))
}

fn ends(line: &str) -> bool {
    ENDS.iter().any(|end| line.starts_with(end))
}

/// Lines without the kernel's clock.
fn lines(console: &str) -> Vec<String> {
    console.split('\n').map(|line| without_clock(&readable(line)).to_owned()).collect()
}

/// `[    1.234567] text` without what is in front of the text.
fn without_clock(line: &str) -> &str {
    let Some((clock, text)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else {
        return line;
    };
    let is_clock = clock.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ' ' | '.'));
    if is_clock { text } else { line }
}

/// What the last line that begins so says further.
fn after<'a>(lines: &'a [String], begin: &str) -> Option<&'a str> {
    lines.iter().rev().find_map(|line| line.strip_prefix(begin))
}

/// The process that was killed last for want of memory: `77 (redis) total-vm:…`.
fn victim(lines: &[String]) -> Option<&str> {
    let rest = after(lines, KILLED)?;
    rest.split_once(") ")
        .or_else(|| rest.split_once("),"))
        .map(|(name, _)| name)?
        .split_once(" (")
        .map(|(_, name)| name)
}

/// What a panic means; `before` is what the console said until then.
fn explain(words: &str, before: &[String]) -> String {
    if let Some(status) = words.strip_prefix("Attempted to kill init! exitcode=0x") {
        let cause = init_ended(status).unwrap_or_else(|| words.to_owned());
        return match victim(before) {
            Some(name) => format!("{cause}, after the guest had run out of memory and killed {name}"),
            None => cause,
        };
    }
    let without_root = words.starts_with("VFS: ");
    if let Some(why) = after(before, INITRAMFS).filter(|_| without_root || words.contains("init found")) {
        return format!("its initramfs is damaged ({why}), and it found no other root ({words})");
    }
    if without_root {
        let asked = before.iter().rev().find(|line| line.starts_with("VFS: Cannot open root device"));
        return format!("it found no root file system ({})", asked.map_or(words, String::as_str));
    }
    let no_init = ["No working init found", "No init found", "Requested init "];
    if no_init.iter().any(|begin| words.starts_with(begin)) {
        return format!("it found no init that it could run ({words})");
    }
    if words.starts_with("System is deadlocked on memory") || words.starts_with("Out of memory") {
        return format!("it ran out of memory ({words})");
    }
    words.to_owned()
}

/// The status that wait(2) gives, in hexadecimal digits: what it means.
fn init_ended(digits: &str) -> Option<String> {
    let digits = digits.split(|letter: char| !letter.is_ascii_hexdigit()).next()?;
    let status = u32::from_str_radix(digits, 16).ok()?;
    Some(match status & 0x7f {
        0 => format!("its init exited with status {}", status >> 8 & 0xff),
        signal => format!("its init was killed by signal {signal}"),
    })
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
