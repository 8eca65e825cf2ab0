use std::process::Command;

use super::*;

/// Runs `test` on a thread with a network namespace of its own, which needs root; without it the test fails.
pub fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; only this thread gets the new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        test();
        Ok(())
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{name} needs root: no network namespace of its own: {error}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

impl Tap {
    /// A new tap of this namespace with an address, up.
    pub fn new_for_test(name: &str, address: &str) -> Tap {
        ip(&format!("tuntap add {name} mode tap"));
        ip(&format!("addr add {address} dev {name}"));
        ip(&format!("link set {name} up"));
        Tap::open(name).unwrap()
    }
}

#[test]
fn every_way_to_fail_has_its_sentence() {
    in_own_network("every_way_to_fail_has_its_sentence", || {
        let message = |name: &str| Tap::open(name).unwrap_err().to_string();
        assert_eq!(message("nope"), "There is no network interface nope");
        assert_eq!(message("lo"), "Network interface lo is not a tap with one queue");
        assert_eq!(message("../lo"), "'../lo' is no name of a network interface");
        assert_eq!(message(""), "'' is no name of a network interface");
        assert_eq!(message("sixteen-letters-"), "'sixteen-letters-' is no name of a network interface");
        let tap = Tap::new_for_test("taken0", "10.78.0.1/24");
        assert_eq!(message("taken0"), "Tap taken0 is in use by another process");
        drop(tap);
        Tap::open("taken0").unwrap();
        ip("tuntap add many0 mode tap multi_queue");
        assert_eq!(message("many0"), "Network interface many0 is not a tap with one queue");
    });
}

#[test]
fn queues_are_opened_and_switched() {
    in_own_network("queues_are_opened_and_switched", || {
        ip("tuntap add many0 mode tap multi_queue");
        ip("tuntap add one0 mode tap");
        let queues = Tap::open_queues("many0", 4).unwrap();
        for _ in 0..2 {
            queues.iter().for_each(|queue| queue.switch(true).unwrap());
            queues.iter().skip(1).for_each(|queue| queue.switch(false).unwrap());
        }
        let message = |name: &str| Tap::open_queues(name, 2).unwrap_err().to_string();
        assert_eq!(message("one0"), "Network interface one0 is not a tap for several queues (multi_queue)");
        assert_eq!(message("none0"), "There is no network interface none0");
        assert_eq!(Tap::open_queues("one0", 1).unwrap().len(), 1);
    });
}

#[test]
fn offloads_are_taken() {
    in_own_network("offloads_are_taken", || {
        let tap = Tap::new_for_test("off0", "10.79.0.1/24");
        tap.set_offload(Offload { checksum: true, tso4: true, tso6: true, ufo: true }).unwrap();
        tap.set_offload(Offload::default()).unwrap();
    });
}
