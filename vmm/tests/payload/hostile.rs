//! Guests and neighbours that do what they should not.

use std::time::Duration;

use serde_json::json;

use crate::code::Code;
use crate::run::{Ended, run, start, start_with};

/// The boot timer's page; each virtio device has one behind it.
const DEVICES: u32 = 0xc000_0000;
const WINDOW: u32 = 0x1000;
/// The registers and more than any configuration space take this much of a page.
const REGISTERS: u32 = 0x200;
/// Drive, file as memory, socket, entropy, balloon; and the page behind the last one.
const PAGES: u32 = 1 + 5 + 1;

const VALUES: [u32; 6] = [0, 1, 2, 0xf, 0x7fff_ffff, u32::MAX];

#[test]
fn every_port_can_be_read_in_every_width() {
    let ended = run(&Code::default().read_all_ports().print("still here\n").power_off().pvh());
    assert_eq!((ended.status, ended.console.as_str()), (Some(0), "still here\n"), "{ended:?}");
}

#[test]
fn every_port_can_be_written_in_every_width() {
    // None of these is a power-off, a reset, or half of one.
    for value in [0x5a5a_5a5a, u32::MAX] {
        let code = Code::default().write_ports(0, 0x1_0000, value);
        // The serial port as it was, and the status.
        let code = code.out(0x3fb, 3).out(0x3fc, 0).out(0x3f9, 0).out(0xbd0, 0);
        let ended = run(&code.print("\nstill here\n").power_off().pvh());
        assert_eq!(ended.status, Some(0), "{value:#x}: {ended:?}");
        assert!(ended.console.contains("\nstill here\n"), "{value:#x}: {ended:?}");
    }
}

/// Runs `kernel` with each device that needs nothing of the host but files.
fn run_with_devices(kernel: &[u8]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        path
    };
    let config = json!({
        "drives": [{"drive_id": "d", "is_root_device": false, "path_on_host": file("disk")}],
        "pmem": [{"id": "p", "path_on_host": file("memory")}],
        "entropy": {},
        "vsock": {"guest_cid": 3, "uds_path": "v.sock"},
        "balloon": {"amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 1,
                    "free_page_hinting": true, "free_page_reporting": true},
    });
    let ended = start_with(kernel, config, &["--boot-timer"]).wait();
    for name in ["disk", "memory"] {
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), vec![0; 1 << 20], "{name}");
    }
    ended
}

#[test]
fn every_device_register_can_be_touched_in_every_width_with_any_value() {
    for value in VALUES {
        let touched = (0..PAGES).map(|page| DEVICES + page * WINDOW).fold(Code::default(), |code, page| {
            let code = code.touch_memory(page, page + REGISTERS, value);
            code.touch_memory(page + WINDOW - 16, page + WINDOW + 1, value)
        });
        // Each device's type tells that the devices are where this test thinks.
        let code = (1..PAGES).fold(touched, |code, page| code.print_type(DEVICES + page * WINDOW));
        let ended = run_with_devices(&code.print("\nstill here\n").power_off().pvh());
        assert_eq!(ended.status, Some(0), "{value:#x}: {ended:?}");
        assert!(ended.console.contains("B[SDE?\nstill here\n"), "{value:#x}: {ended:?}");
    }
}

#[test]
fn every_device_register_can_be_touched_in_eight_bytes() {
    for value in VALUES.map(|value| u64::from(value) << 32 | u64::from(value)) {
        let code = (0..PAGES)
            .map(|page| u64::from(DEVICES + page * WINDOW))
            .fold(Code::default().map(DEVICES.into()), |code, page| {
                code.touch_memory_wide(page, page + u64::from(REGISTERS), value)
            });
        let ended = run_with_devices(&code.print("\nstill here\n").power_off().long_mode());
        assert_eq!(ended.status, Some(0), "{value:#x}: {ended:?}");
        assert!(ended.console.contains("\nstill here\n"), "{value:#x}: {ended:?}");
    }
}

#[test]
fn addresses_without_memory_or_device_are_harmless() {
    let code = Code::default().touch_memory(0xc010_0000, 0xc010_0400, 0xdead_beef);
    let ended = run(&code.print("still here\n").power_off().pvh());
    assert_eq!((ended.status, ended.console.as_str()), (Some(0), "still here\n"), "{ended:?}");
}

#[test]
fn a_console_flood_leaves_memory_flat_and_the_machine_can_be_ended() {
    let running = start(&Code::default().flood(b'x').pvh(), json!({}));
    running.await_console("xxxx");
    let before = running.resident();
    std::thread::sleep(Duration::from_secs(2));
    let after = running.resident();
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    running.signal("TERM");
    assert_eq!(running.wait().status, Some(143));
}

#[test]
fn input_that_no_guest_reads_is_not_taken_in() {
    let mut running = start(&Code::default().print("up\n").halt().pvh(), json!({}));
    running.await_console("up");
    let before = running.resident();
    // A pipe holds 64 KiB, the FIFO 64 bytes.
    let fed = running.feed(Duration::from_secs(1), 0);
    assert!(fed <= 72 << 10, "{fed} bytes");
    let after = running.resident();
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    running.signal("TERM");
    running.wait();
}

#[test]
fn input_that_a_guest_reads_leaves_memory_flat() {
    // mov dx, 0x3f8; again: in al, dx; jmp again
    let reader = Code::default().print("up\n").bytes(&[0x66, 0xba, 0xf8, 0x03, 0xec, 0xeb, 0xfd]);
    let mut running = start(&reader.pvh(), json!({}));
    running.await_console("up");
    let before = running.resident();
    let fed = running.feed(Duration::from_secs(3), 132 << 10);
    assert!(fed > 128 << 10, "{fed} bytes");
    let after = running.resident();
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    running.signal("TERM");
    running.wait();
}
