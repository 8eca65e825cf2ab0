//! What is taken away behind a case.

use std::fs;
use std::path::Path;

use rustix::mount::UnmountFlags;

/// Unmounts whatever is mounted beneath a folder, and removes it. It stays when something cannot be unmounted.
pub fn remove(folder: &Path) {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return };
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut beneath: Vec<&str> = places.filter(|place| Path::new(place).starts_with(folder)).collect();
    beneath.sort_unstable();
    let held =
        |place: &&str| rustix::mount::unmount(*place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_err();
    if beneath.iter().rev().filter(|place| held(place)).count() == 0 {
        let _ = fs::remove_dir_all(folder);
    }
}
