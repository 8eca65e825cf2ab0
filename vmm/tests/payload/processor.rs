//! What a guest's processor says of itself.

use serde_json::json;

use crate::code::Code;
use crate::run::start;

/// Prints 0 or 1: whether a bit of `ecx` is set in a leaf of CPUID.
fn print_bit(code: Code, leaf: u32, bit: u32) -> Code {
    // mov eax, leaf; xor ecx, ecx; cpuid; test ecx, 1 << bit
    let code = code.bytes(&[0xb8]).bytes(&leaf.to_le_bytes()).bytes(&[0x31, 0xc9, 0x0f, 0xa2, 0xf7, 0xc1]);
    // setnz al; add al, '0'; mov dx, 0x3f8; out dx, al
    code.bytes(&(1u32 << bit).to_le_bytes()).bytes(&[0x0f, 0x95, 0xc0, 0x04, b'0', 0x66, 0xba, 0xf8, 3, 0xee])
}

#[test]
fn no_template_brings_back_nested_virtualization() {
    // SSE3, VMX, a hypervisor; SVM.
    let code = print_bit(print_bit(print_bit(Code::default(), 1, 0), 1, 5), 1, 31);
    let kernel = print_bit(code, 0x8000_0001, 2).print("\n").power_off().pvh();
    let leaf = |leaf: &str, bits: String| {
        json!({"leaf": leaf, "subleaf": "0x0", "flags": 0,
               "modifiers": [{"register": "ecx", "bitmap": format!("0b{bits}")}]})
    };
    let set = |bit: usize| format!("1{}", "x".repeat(bit));
    // Sets what nests and takes the rest away.
    let first = leaf("0x1", format!("0{}1{}0", "x".repeat(25), "x".repeat(4)));
    let template = json!({"cpu-config": {"cpuid_modifiers": [first, leaf("0x80000001", set(2))]}});
    for (sections, expected) in [(json!({}), "1010\n"), (template, "0010\n")] {
        let ended = start(&kernel, sections).wait();
        assert_eq!((ended.status, ended.console.as_str()), (Some(0), expected), "{ended:?}");
    }
}
