//! How machines end, and what their record says.

use serde_json::json;

use crate::code::Code;
use crate::run::{run, start};

#[test]
fn a_guest_says_its_status_and_powers_off() {
    let code = Code::default().print("hello\n").out(0xbd0, 42).power_off();
    for kernel in [code.pvh(), code.long_mode()] {
        let ended = run(&kernel);
        assert_eq!((ended.status, ended.console.as_str()), (Some(0), "hello\n"), "{ended:?}");
        assert_eq!(ended.record, json!({"reason": "guest-exit", "code": 42}));
        assert_eq!(ended.errors, "");
    }
}

#[test]
fn a_line_without_an_end_is_not_lost() {
    let ended = run(&Code::default().print("login: ").power_off().pvh());
    assert_eq!(ended.console, "login: ");
    assert_eq!(ended.record, json!({"reason": "power-off"}));
}

#[test]
fn every_way_to_reset_is_a_reset() {
    let ways = [
        ("ACPI", Code::default().out(0xbda, 1).halt()),
        ("keyboard controller", Code::default().out(0x64, 0xfe).halt()),
        ("triple fault", Code::default().triple_fault()),
    ];
    for (way, code) in ways {
        let ended = run(&code.pvh());
        assert_eq!((ended.status, ended.record), (Some(0), json!({"reason": "reset"})), "{way}");
    }
}

#[test]
fn a_panic_is_told_from_a_reset_and_brings_the_console() {
    let text = "Kernel panic - not syncing: test\n";
    let ended = run(&Code::default().print(text).out(0x64, 0xfe).halt().pvh());
    assert_eq!(ended.status, Some(0));
    assert_eq!(ended.record, json!({"reason": "panic", "console": text}));
}

#[test]
fn a_signal_ends_the_machine_and_leaves_nothing() {
    for (name, status) in [("TERM", 143), ("INT", 130)] {
        let config = json!({"vsock": {"guest_cid": 3, "uds_path": "v.sock"}});
        let running = start(&Code::default().print("up\n").halt().pvh(), config);
        running.await_console("up");
        assert!(running.path("api.sock").exists() && running.path("v.sock").exists());
        running.signal(name);
        let ended = running.wait();
        assert_eq!((ended.status, &ended.record["reason"]), (Some(status), &json!("vmm-error")));
    }
}

#[test]
fn several_vcpus_end_together() {
    let config = json!({"machine-config": {"vcpu_count": 4, "mem_size_mib": 16}});
    let ended = start(&Code::default().power_off().pvh(), config).wait();
    assert_eq!(ended.status, Some(0));
}

#[test]
fn a_kernel_that_is_none_leaves_a_sentence_and_no_socket() {
    let ended = run(b"not a kernel");
    assert_eq!(ended.status, Some(1));
    assert!(ended.errors.contains("neither an ELF file nor a bzImage"), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1);
    assert_eq!(ended.record["reason"], "vmm-error");
}
