use super::*;

fn panicked(before: &str, words: &str) -> String {
    let console =
        format!("{before}[    1.234567] {PANIC}{words}\r\n[    1.3] CPU: 0 PID: 1 Comm: swapper/0\r\n");
    panic(&console).unwrap()
}

#[test]
fn panics_are_explained() {
    for (words, cause) in [
        ("Attempted to kill init! exitcode=0x00000300", "its init exited with status 3"),
        ("Attempted to kill init! exitcode=0x00007f00", "its init exited with status 127"),
        ("Attempted to kill init! exitcode=0x0000000b", "its init was killed by signal 11"),
        ("Attempted to kill init! exitcode=0x", "Attempted to kill init! exitcode=0x"),
        (
            "Requested init /sbin/none failed (error -2).",
            "it found no init that it could run (Requested init /sbin/none failed (error -2).)",
        ),
        ("System is deadlocked on memory", "it ran out of memory (System is deadlocked on memory)"),
        ("Fatal exception in interrupt", "Fatal exception in interrupt"),
    ] {
        assert_eq!(panicked("", words), cause);
    }
}

#[test]
fn a_missing_root_and_a_damaged_initramfs_are_told_apart() {
    let vfs = "VFS: Unable to mount root fs on unknown-block(0,0)";
    assert_eq!(panicked("", vfs), format!("it found no root file system ({vfs})"));
    let asked = "VFS: Cannot open root device \"vda\" or unknown-block(0,0): error -6";
    let before = format!("[    1.0] {asked}\r\n[    1.0] Please append a correct \"root=\" boot option\r\n");
    assert_eq!(panicked(&before, vfs), format!("it found no root file system ({asked})"));
    let damaged = panicked("[    0.5] Initramfs unpacking failed: write error\r\n", vfs);
    assert!(damaged.starts_with("its initramfs is damaged (write error)"), "{damaged}");
}

#[test]
fn whoever_was_killed_for_memory_is_named() {
    let killed = "[   3.0] Out of memory: Killed process 88 (dd) total-vm:1kB, anon-rss:1kB\r\n";
    let cause_of = panicked(killed, "Attempted to kill init! exitcode=0x00000100");
    assert_eq!(
        cause_of,
        "its init exited with status 1, after the guest had run out of memory and killed dd"
    );
    assert_eq!(cause(killed).unwrap(), "it ran out of memory and killed dd");
    assert_eq!(cause("Out of memory: Killed process "), None);
}

#[test]
fn a_guest_that_restarts_by_its_own_will_has_not_panicked() {
    let old = format!("{PANIC}an old one\n");
    assert_eq!(panic(&old).unwrap(), "an old one");
    assert_eq!(panic(&format!("{old}[    9.000000] reboot: Restarting system\r\n")), None);
    assert_eq!(panic("it said: Kernel panic - not syncing: x\n"), None);
    assert_eq!(panic(""), None);
    assert_eq!(cause("[    0.1] all is well\r\n"), None);
    assert!(restarts("[    9.0] reboot: Power down") && !restarts("reboot"));
}

#[test]
fn what_a_guest_prints_ends_in_a_short_line_without_controls() {
    let cause = panic(&format!("{PANIC}\u{1b}[31m{}", "x".repeat(5000))).unwrap();
    assert!(cause.len() <= 200 && !cause.chars().any(char::is_control), "{cause}");
    for text in ["[", "[]", "[] ", "[1] ", "[  x] y"] {
        assert!(panic(text).is_none());
    }
}
