//! Guests and neighbours that do what they should not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::code::Code;
use crate::run::{run, start};

/// Where virtio devices start, and the size of each one's window.
const VIRTIO: u32 = 0xc000_0000;
const WINDOW: u32 = 0x1000;

#[test]
fn every_port_can_be_read_in_every_width() {
    let ended = run(&Code::default().read_all_ports().print("still here\n").power_off().pvh());
    assert_eq!((ended.status, ended.console.as_str()), (Some(0), "still here\n"), "{ended:?}");
}

fn devices() -> Value {
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    // The machine opens it before this test ends; the name may go then.
    let (_, path) = disk.keep().unwrap();
    json!({
        "drives": [{"drive_id": "d", "is_root_device": false, "path_on_host": path}],
        "entropy": {},
        "vsock": {"guest_cid": 3, "uds_path": "v.sock"},
    })
}

#[test]
fn every_device_register_can_be_touched_in_every_width_with_any_value() {
    for value in [0, 1, 2, 0xf, 0x7fff_ffff, u32::MAX] {
        let code = Code::default().touch_memory(VIRTIO, VIRTIO + 3 * WINDOW, value);
        let config = devices();
        let disk = config["drives"][0]["path_on_host"].as_str().unwrap().to_owned();
        let ended = start(&code.print("still here\n").power_off().pvh(), config).wait();
        std::fs::remove_file(disk).unwrap();
        assert_eq!(
            (ended.status, ended.console.as_str()),
            (Some(0), "still here\n"),
            "{value:#x}: {ended:?}"
        );
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
    let fed = running.feed(Duration::from_secs(1));
    assert!(fed <= 72 << 10, "{fed} bytes");
    let after = running.resident();
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    running.signal("TERM");
    running.wait();
}
