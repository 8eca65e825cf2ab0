//! What a VMM takes beside its guest's memory (proc(5), `/proc/PID/smaps`).

use serde::{Deserialize, Serialize};

/// Memory outside the guest's, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Resident.
    pub rss_kib: u64,
    /// Resident, written to, and nobody else's.
    pub private_dirty_kib: u64,
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
        let smaps = "7f00-7f01 rw-p 00000000 00:00 0\nSize:             131072 kB\nRss:               90000 kB\nPrivate_Dirty:     90000 kB\n\
                     5500-5501 r-xp 00000000 08:01 12 /bin/vmm\nSize:               2000 kB\nRss:                1500 kB\nPrivate_Dirty:         0 kB\n\
                     5600-5601 rw-p 00000000 00:00 0 [heap]\nSize:                132 kB\nRss:                  40 kB\nPrivate_Dirty:        36 kB\n";
        assert_eq!(footprint(smaps, 128), Footprint { rss_kib: 1540, private_dirty_kib: 36 });
    }
}
