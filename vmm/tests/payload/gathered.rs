//! The serial port's writes, which KVM gathers instead of leaving the guest for each.

use serde_json::{Value, json};

use crate::code::Code;
use crate::run::{Ended, start_with};

/// Switches the FIFOs on, as every driver of a 16550A does.
fn fifos() -> Code {
    Code::default().out(0x3fa, 0xc7)
}

/// Reads a register of the port: mov dx, port; in al, dx.
fn look(code: Code, port: u16) -> Code {
    let [low, high] = port.to_le_bytes();
    code.bytes(&[0x66, 0xba, low, high, 0xec])
}

/// Runs `code` to its end; also gives how many writes of ports left the guest, and how many were gathered.
fn run_counting(code: &Code) -> (Ended, u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics");
    let ended = start_with(&code.pvh(), json!({}), &["--metrics-path", metrics.to_str().unwrap()]).wait();
    let text = std::fs::read_to_string(&metrics).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |name: &str| lines.iter().map(|line| line["vcpu"][name].as_u64().unwrap()).sum();
    let (exits, gathered) = (sum("exit_io_out"), sum("gathered_writes"));
    (ended, exits, gathered)
}

#[test]
fn a_text_longer_than_the_ring_arrives_whole_and_leaves_the_guest_seldom() {
    // The ring has 170 entries; each full one is an exit.
    let text: String = (0..1000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let (ended, exits, gathered) = run_counting(&look(fifos(), 0x3fd).print(&text).power_off());
    assert_eq!((ended.status, ended.console), (Some(0), text));
    assert!(exits <= 8 && gathered >= 990, "{exits} exits, {gathered} gathered");
}

#[test]
fn without_fifos_each_byte_comes_by_itself() {
    let (ended, exits, gathered) = run_counting(&Code::default().print("0123456789").power_off());
    assert_eq!((ended.status, ended.console.as_str()), (Some(0), "0123456789"));
    assert_eq!((exits, gathered), (11, 0));
}

#[test]
fn registers_and_other_devices_see_the_guests_order() {
    // Line control selects the divisor, whose bytes are no output; then a status, which another device takes.
    let code = look(fifos(), 0x3fd).print("a").out(0x3fb, 0x83).print("##").out(0x3fb, 0x03).print("b");
    let (ended, _, gathered) = run_counting(&code.out(0xbd0, 42).print("c").power_off());
    assert_eq!((ended.status, ended.console.as_str()), (Some(0), "abc"));
    assert_eq!(ended.record["code"], 42, "{:?}", ended.record);
    assert!(gathered >= 7, "{gathered}");
}

#[test]
fn what_a_guest_wrote_last_is_seen_while_it_stands_still() {
    // One looks at the line status before it writes, one waits for the transmitter's interrupt; neither ever looks.
    let polls = look(fifos(), 0x3fd).print("polled\n");
    let waits = fifos().out(0x3f9, 2).print("waited\n");
    // And one that writes again when it has been let alone: 2^30 ticks of the processor's clock later.
    // rdtsc; mov ebx, eax; again: rdtsc; sub eax, ebx; cmp eax, 1 << 30; jb again
    let wait = [0x0f, 0x31, 0x89, 0xc3, 0x0f, 0x31, 0x29, 0xd8, 0x3d, 0, 0, 0, 0x40, 0x72, 0xf5];
    let later = fifos().out(0x3f9, 2).print("at once\n").bytes(&wait);
    let later = later.print("later\n");
    for (code, text) in [(polls, "polled\n"), (waits, "waited\n"), (later, "at once\nlater\n")] {
        let machine = start_with(&code.halt().pvh(), json!({}), &[]);
        machine.await_console(text);
        machine.signal("TERM");
        assert_eq!(machine.wait().console, text);
    }
}
