//! Ctrl+Alt+Del and the power button, as a guest hears them.

use bulkhead_tests::bare::{Bare, QUIET, boot, initramfs};
use bulkhead_tests::{Daemon, asset};
use serde_json::json;

/// busybox's init, which says what it was told.
const INIT: &str = "printf '::sysinit:/bin/echo up\\n::ctrlaltdel:/bin/sh -c \"echo told; reboot -f\"\\n' > /etc/inittab\n\
                    exec /bin/init > /dev/console 2>&1";

#[test]
fn ctrl_alt_del_reaches_init_which_reboots() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = initramfs(folder.path(), INIT);
    for words in ["", "i8042.noaux i8042.nomux i8042.dumbkbd"] {
        let words = format!("{QUIET} {words}");
        let mut machine = Bare::start(&boot(&asset("vmlinux"), &initramfs, &words, json!({})));
        machine.await_console("up\n");
        machine.ask("PUT", "/actions", &json!({"action_type": "SendCtrlAltDel"}));
        let (status, console) = machine.wait();
        assert!(console.contains("told"), "{words}: {console}");
        assert_eq!(status, Some(0));
    }
}

#[test]
fn without_a_keyboard_nothing_is_typed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = initramfs(folder.path(), INIT);
    let machine = json!({"machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "i8042": false}});
    let mut machine = Bare::start(&boot(&asset("vmlinux"), &initramfs, QUIET, machine));
    machine.await_console("up\n");
    let (status, body) = machine.api("PUT", "/actions", &json!({"action_type": "SendCtrlAltDel"}));
    assert_eq!(status, 400);
    assert!(
        body["fault_message"].as_str().is_some_and(|text| text.contains("no keyboard controller")),
        "{body}"
    );
}

#[test]
fn the_power_button_ends_the_container_and_then_the_machine() {
    let daemon = Daemon::start();
    let program = "trap 'echo bye; exit 3' TERM; echo here; while :; do sleep 1; done";
    let image = asset("busybox.img");
    let _ = daemon.bulkhead(&["run", "-d", "--name", "pressed", &image, "sh", "-c", program]).ok();
    let deaf = "trap '' TERM; echo here; while :; do sleep 1; done";
    let _ = daemon.bulkhead(&["run", "-d", "--name", "deaf", &image, "sh", "-c", deaf]).ok();
    for name in ["pressed", "deaf"] {
        let answer = daemon.vmm_put(name, "/actions", &json!({"action_type": "PowerButton"}));
        assert!(answer.contains("204"), "{answer}");
    }
    assert_eq!(daemon.bulkhead(&["wait", "pressed"]).ok().text(), "3");
    assert!(daemon.bulkhead(&["logs", "pressed"]).ok().stdout.ends_with("bye\n"));
    assert_eq!(daemon.bulkhead(&["wait", "deaf"]).ok().text(), "137");
}
