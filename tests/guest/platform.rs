//! What a guest finds out about its machine: who it is, its keyboard, what its processor can do.

use std::time::Duration;

use bulkhead_tests::asset;
use bulkhead_tests::bare::{Bare, QUIET, boot, initramfs};
use serde_json::{Value, json};

/// Firecracker's words about the keyboard.
const FIRECRACKERS: &str = "i8042.noaux i8042.nomux i8042.dumbkbd";

fn run(kernel: &str, words: &str, script: &str, sections: Value) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = initramfs(folder.path(), &format!("{script}\npoweroff -f"));
    let config = boot(&asset(kernel), &initramfs, &format!("{QUIET} {words}"), sections);
    let (status, console) = Bare::start(&config).wait();
    assert_eq!(status, Some(0), "{console}");
    console
}

#[test]
fn a_guest_reads_its_identity() {
    let script = "cd /sys/class/dmi/id\nfor f in sys_vendor product_name product_serial product_uuid; do echo $f=$(cat $f); done";
    let console = run("vmlinux", "", script, json!({}));
    // Made from the machine's id, which the harness always gives.
    let expected = ["sys_vendor=Bulkhead", "product_name=Bulkhead machine", "product_serial=\n"];
    assert!(expected.iter().all(|line| console.contains(line)), "{console}");
    let uuid = |console: &str| {
        let line = console.lines().find_map(|line| line.strip_prefix("product_uuid=")).map(str::to_owned);
        line.expect("a UUID")
    };
    assert_eq!((uuid(&console).len(), &uuid(&console)[14..15]), (36, "8"));

    let given = json!({"smbios": {"serial": "ds=nocloud;s=http://10.0.0.1/", "manufacturer": "Harbour",
                                  "uuid": "00112233-4455-6677-8899-AABBCCDDEEFF"}});
    let console = run("vmlinux", "", script, given);
    assert!(console.contains("product_serial=ds=nocloud;s=http://10.0.0.1/\n"), "{console}");
    assert!(console.contains("sys_vendor=Harbour\n"), "{console}");
    assert_eq!(uuid(&console), "00112233-4455-6677-8899-aabbccddeeff");
}

#[test]
fn a_keyboard_is_there_unless_it_is_left_out() {
    let script = "for d in /sys/bus/serio/devices/*; do echo serio: $(cat $d/description); done; grep -i keyboard /proc/bus/input/devices";
    for words in ["", FIRECRACKERS, "i8042.noaux"] {
        let console = run("vmlinux", words, script, json!({}));
        assert!(console.contains("serio: i8042 KBD port"), "{words}: {console}");
        assert!(console.contains("AT Raw Set 2 keyboard"), "{words}: {console}");
        assert!(!console.contains("AUX"), "{words}: {console}");
    }
    let machine = json!({"machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "i8042": false}});
    let console = run("vmlinux", "", script, machine);
    assert!(!console.contains("KBD"), "{console}");
}

#[test]
fn a_guest_s_processor_shows_what_is_asked_and_no_virtualization() {
    let script = "grep -m1 ^flags /proc/cpuinfo; echo siblings $(cat /sys/devices/system/cpu/cpu1/topology/thread_siblings_list)";
    let machine = json!({"vcpu_count": 2, "mem_size_mib": 128, "smt": true});
    let plain = run("vmlinux", "", script, json!({"machine-config": machine}));
    let has = |console: &str, flag: &str| console.split_whitespace().any(|word| word == flag);
    assert!(!has(&plain, "svm") && !has(&plain, "vmx"), "{plain}");
    assert!(plain.contains("siblings 0-1"), "{plain}");
    assert!(has(&plain, "sse4_2"), "{plain}");
    // Leaf 1 ECX: SSE4.2 (bit 20) off, and VMX and leaf 0x80000001 ECX's SVM asked for in vain.
    let template = json!({"cpuid_modifiers": [
        {"leaf": "0x1", "subleaf": "0x0", "flags": 0,
         "modifiers": [{"register": "ecx", "bitmap": "0b0xxxxxxxxxxxxxx1xxxxx"}]},
        {"leaf": "0x80000001", "subleaf": "0x0", "flags": 0,
         "modifiers": [{"register": "ecx", "bitmap": "0b1xx"}]},
    ]});
    let machine = json!({"vcpu_count": 2, "mem_size_mib": 128});
    let masked = run("vmlinux", "", script, json!({"machine-config": machine, "cpu-config": template}));
    assert!(!has(&masked, "sse4_2") && !has(&masked, "svm") && !has(&masked, "vmx"), "{masked}");
    assert!(masked.contains("siblings 1\n"), "{masked}");
    // The lab's processor calls itself one of AMD's, and no Milan.
    for (name, sentence) in [("T2", "for processors of Intel"), ("T2A", "not for this model of processor")] {
        let machine = Bare::start(&Value::Null);
        machine.ask("PUT", "/boot-source", &json!({"kernel_image_path": asset("vmlinux")}));
        machine.ask("PATCH", "/machine-config", &json!({"cpu_template": name}));
        let (status, answer) = machine.api("PUT", "/actions", &json!({"action_type": "InstanceStart"}));
        let message = answer["fault_message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(sentence), "{answer}");
    }
}

#[test]
fn a_guest_that_stood_still_does_not_take_it_for_a_lock_up_and_keeps_its_connections() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "echo up\nwhile :; do read a b < /proc/uptime; echo at $a $(date +%s); sleep 1; done";
    let initramfs = initramfs(folder.path(), script);
    let words = format!("{QUIET} watchdog_thresh=1");
    let machine = json!({"machine-config": {"vcpu_count": 2, "mem_size_mib": 128}});
    let mut machine = Bare::start(&boot(&asset("vmlinux"), &initramfs, &words, machine));
    machine.await_console("\nat ");
    machine.ask("PATCH", "/vm", &json!({"state": "Paused"}));
    let before = machine.console();
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(machine.console(), before);
    machine.ask("PATCH", "/vm", &json!({"state": "Resumed"}));
    let lines = before.matches("\nat ").count();
    while machine.console().matches("\nat ").count() < lines + 4 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let console = machine.console();
    assert!(!console.contains("lockup") && !console.contains("stall"), "{console}");
    // Its clocks have gone on, both alike.
    let times: Vec<(f64, f64)> = console
        .lines()
        .filter_map(|line| line.strip_prefix("at ")?.split_once(' '))
        .filter_map(|(uptime, date)| Some((uptime.parse().ok()?, date.parse().ok()?)))
        .collect();
    let (first, last) = (times[0], times[times.len() - 1]);
    let (uptime, date) = (last.0 - first.0, last.1 - first.1);
    assert!(uptime >= 8.0 && (uptime - date).abs() <= 2.0, "{uptime} {date}: {console}");
}
