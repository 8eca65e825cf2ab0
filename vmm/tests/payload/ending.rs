//! How machines end, and what their record says.

use serde_json::json;

use crate::code::Code;
use crate::run::{run, start};

/// What Linux prints before it restarts the machine.
const RESTART: &str = "[    1.000000] reboot: Restarting system\n";

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
        ("triple fault of a kernel that restarts so", Code::default().print(RESTART).triple_fault()),
    ];
    for (way, code) in ways {
        let ended = run(&code.pvh());
        assert_eq!((ended.status, ended.record), (Some(0), json!({"reason": "reset"})), "{way}");
        assert_eq!(ended.errors, "", "{way}");
    }
}

#[test]
fn a_triple_fault_is_none() {
    let ended = run(&Code::default().triple_fault().pvh());
    assert_eq!((ended.status, ended.record), (Some(0), json!({"reason": "triple-fault", "console": ""})));
    assert!(ended.errors.contains("before its kernel printed anything"), "{}", ended.errors);
    let ended = run(&Code::default().print("\x1b[2Jhalf a word").triple_fault().pvh());
    assert_eq!(ended.record["console"], "\u{1b}[2Jhalf a word");
    let lines: Vec<&str> = ended.errors.lines().collect();
    assert!(
        matches!(lines[..], [sentence, "    [2Jhalf a word"] if sentence.contains("triple fault")),
        "{lines:?}"
    );
}

#[test]
fn a_panic_is_told_from_a_reset_and_brings_the_console() {
    let text = "Kernel panic - not syncing: test\n";
    let ended = run(&Code::default().print(text).out(0x64, 0xfe).halt().pvh());
    assert_eq!(ended.status, Some(0));
    assert_eq!(ended.record, json!({"reason": "panic", "cause": "test", "console": text}));
    assert_eq!(ended.errors, format!("The guest kernel panicked: test\n    {text}"));
    // A kernel that goes on and restarts has not panicked, whatever was printed.
    let ended = run(&Code::default().print(text).print(RESTART).out(0x64, 0xfe).halt().pvh());
    assert_eq!(ended.record, json!({"reason": "reset"}));
    assert_eq!(ended.errors, "");
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
        assert_eq!((ended.status, &ended.record["reason"]), (Some(status), &json!("signal")));
        assert_eq!(ended.record["console"], "up\n");
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

#[test]
fn what_cannot_be_used_is_named() {
    let boot = |path: &str| json!({"boot-source": {"kernel_image_path": path}});
    let drive = json!({"drives": [{"drive_id": "d", "is_root_device": false, "path_on_host": "/"}]});
    let tap = json!({"network-interfaces": [{"iface_id": "n", "host_dev_name": "no-such-tap"}]});
    let vsock = json!({"vsock": {"guest_cid": 3, "uds_path": "/nonexistent/v.sock"}});
    let initramfs = json!({"boot-source": {"kernel_image_path": "kernel", "initrd_path": "/nonexistent"}});
    let leaf = json!({"leaf": "0x1234", "subleaf": "0x5", "flags": 0, "modifiers": []});
    let msr = json!({"addr": "0xbadc0de", "bitmap": "0b1"});
    let cases = [
        (boot("/nonexistent"), 1, "Cannot open kernel image /nonexistent"),
        (boot("/"), 1, "Cannot open kernel image /: it is not a regular file"),
        (boot("/dev/zero"), 1, "/dev/zero: it is not a regular file"),
        (initramfs, 1, "Cannot open initramfs /nonexistent"),
        (drive, 1, "Drive / is a directory"),
        (tap, 1, "no-such-tap"),
        (vsock, 1, "/nonexistent/v.sock"),
        (json!({"cpu-config": {"kvm_capabilities": ["9999"]}}), 1, "no capability 9999"),
        (json!({"cpu-config": {"cpuid_modifiers": [leaf]}}), 1, "CPUID leaf 0x1234, subleaf 0x5"),
        (json!({"cpu-config": {"msr_modifiers": [msr]}}), 1, "MSR 0xbadc0de"),
        (json!({"colour": "red"}), 152, "unknown field `colour`"),
        (json!({"machine-config": {"vcpu_count": 33, "mem_size_mib": 1}}), 152, "vcpu_count is 33"),
    ];
    for (sections, status, expected) in cases {
        let ended = start(&Code::default().power_off().pvh(), sections).wait();
        assert_eq!(ended.status, Some(status), "{ended:?}");
        assert!(ended.errors.contains(expected), "{expected}: {ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
        assert_eq!(ended.record["message"].as_str(), Some(ended.errors.trim_end()));
    }
}
