//! What a VMM takes beside its guest's memory (proc(5), `/proc/PID/smaps`).

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Memory outside the guest's, in KiB, but for the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Resident.
    pub rss_kib: u64,
    /// Resident, written to, and nobody else's.
    pub private_dirty_kib: u64,
    /// Resident, each page divided by the number of processes that have it.
    #[serde(default)]
    pub pss_kib: u64,
    /// The same of the guest's memory.
    #[serde(default)]
    pub guest_pss_kib: u64,
}

/// What the process takes whose guest has so much memory.
pub fn of(process: u32, guest_mib: u32) -> Result<Footprint> {
    let smaps =
        fs::read_to_string(format!("/proc/{process}/smaps")).context("Cannot read the VMM's mappings")?;
    Ok(footprint(&smaps, guest_mib))
}

/// Sums up the mappings that are too small to be the guest's memory, which is left out by its size. A
/// mapping of a guest's memory may be a little smaller than that memory when it is split.
pub fn footprint(smaps: &str, guest_mib: u32) -> Footprint {
    let largest = u64::from(guest_mib) * 1024 * 9 / 10;
    let mut sum = Footprint::default();
    let mut counted = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()))
        else {
            continue;
        };
        match key {
            "Size:" => counted = value < largest,
            "Rss:" if counted => sum.rss_kib += value,
            "Private_Dirty:" if counted => sum.private_dirty_kib += value,
            "Pss:" if counted => sum.pss_kib += value,
            "Pss:" => sum.guest_pss_kib += value,
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_left_out() {
        let smaps = "7f00-7f01 rw-p 00000000 00:00 0\nSize:             131072 kB\nRss:               90000 kB\nPss:               90000 kB\nPrivate_Dirty:     90000 kB\n\
                     5500-5501 r-xp 00000000 08:01 12 /bin/vmm\nSize:               2000 kB\nRss:                1500 kB\nPss:                 300 kB\nPrivate_Dirty:         0 kB\n\
                     5600-5601 rw-p 00000000 00:00 0 [heap]\nSize:                132 kB\nRss:                  40 kB\nPrivate_Dirty:        36 kB\n";
        let expected = Footprint { rss_kib: 1540, private_dirty_kib: 36, pss_kib: 300, guest_pss_kib: 90000 };
        assert_eq!(footprint(smaps, 128), expected);
    }
}
