//! Rules as an eBPF program.

use super::Rule;

/// struct bpf_insn: opcode, registers (destination in the low half), offset, immediate.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const JUMP_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const fn op(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// The program: struct bpf_cgroup_dev_ctx (r1) is access << 16 | type, major, minor, 4 bytes each. They come
/// into r2 (access), r3 (type), r4 and r5; then the rules are tried from the last to the first.
pub fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, 0x12, 0, 0),
        op(COPY, 0x23, 0, 0),
        op(AND, 3, 0, 0xffff),
        op(SHIFT_RIGHT, 2, 0, 16),
        op(LOAD_WORD, 0x14, 4, 0),
        op(LOAD_WORD, 0x15, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(one(*rule));
        if (Rule { allow: true, ..*rule }) == Rule::EVERYTHING {
            // The kernel takes no program with instructions that nothing reaches.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

/// Answers where the rule fits, and else goes on behind its code.
fn one(rule: Rule) -> Vec<Instruction> {
    let kind = rule.block.map(|block| if block { 1 } else { 2 });
    let wanted = [(3, kind), (4, rule.major), (5, rule.minor)];
    let checks = wanted.into_iter().filter_map(|(register, value)| value.map(|value| (register, value)));
    let mut code: Vec<_> =
        checks.map(|(register, value)| op(JUMP_NOT_EQUAL, register, 0, value.cast_signed())).collect();
    let all = 7;
    if rule.access != all {
        // What is allowed must cover all that is asked; what is refused, but a part of it.
        let (mask, leave) =
            if rule.allow { (all & !rule.access, JUMP_NOT_EQUAL) } else { (rule.access, JUMP_EQUAL) };
        code.extend([op(COPY, 0x21, 0, 0), op(AND, 1, 0, mask.into()), op(leave, 1, 0, 0)]);
    }
    let behind = code.len() + 2;
    for (index, instruction) in code.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_NOT_EQUAL | JUMP_EQUAL) {
            instruction.offset = i16::try_from(behind - index - 1).unwrap_or(0);
        }
    }
    code.extend(answer(rule.allow));
    code
}

fn answer(allow: bool) -> [Instruction; 2] {
    [op(MOVE, 0, 0, allow.into()), op(EXIT, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::super::rules::STANDARD;
    use super::*;

    /// Runs the program for one request.
    fn permitted(rules: &[Rule], access: u32, block: bool, major: u32, minor: u32) -> bool {
        let context = [access << 16 | if block { 1 } else { 2 }, major, minor];
        let program = compile(rules);
        let (mut registers, mut at) = ([0_u32; 6], 0);
        loop {
            let op = program[at];
            at += 1;
            let (to, from) = (usize::from(op.registers & 15), usize::from(op.registers >> 4));
            let differs = registers[to] != op.immediate.cast_unsigned();
            match op.code {
                LOAD_WORD => registers[to] = context[usize::try_from(op.offset).unwrap() / 4],
                AND => registers[to] &= op.immediate.cast_unsigned(),
                SHIFT_RIGHT => registers[to] >>= op.immediate,
                COPY => registers[to] = registers[from],
                MOVE => registers[to] = op.immediate.cast_unsigned(),
                JUMP_NOT_EQUAL if differs => at += usize::try_from(op.offset).unwrap(),
                JUMP_EQUAL if !differs => at += usize::try_from(op.offset).unwrap(),
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0] == 1,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    const DISK: Rule = Rule { block: Some(true), major: Some(254), minor: Some(3), ..Rule::EVERYTHING };

    #[test]
    fn only_named_devices_are_opened() {
        let rules: Vec<_> = STANDARD.into_iter().chain([DISK]).collect();
        assert!(permitted(&rules, 2, false, 1, 3), "null");
        assert!(permitted(&rules, 6, false, 136, 77), "a pseudo-terminal");
        assert!(permitted(&rules, 6, true, 254, 3), "what the specification names");
        assert!(!permitted(&rules, 2, true, 254, 0), "the guest's disk");
        assert!(!permitted(&rules, 2, true, 1, 3), "a block device of null's number");
        assert!(!permitted(&rules, 2, false, 1, 1), "memory");
        assert!(permitted(&rules, 1, true, 254, 0), "making a node alone");
        assert!(!permitted(&rules, 3, true, 254, 0), "making and reading");
    }

    #[test]
    fn the_last_rule_that_fits_counts() {
        let deny = Rule { allow: false, ..Rule::EVERYTHING };
        let read = Rule { access: 2, ..DISK };
        assert!(permitted(&[deny, read], 2, true, 254, 3));
        assert!(!permitted(&[deny, read], 6, true, 254, 3));
        assert!(!permitted(&[read, deny], 2, true, 254, 3));
        assert_eq!(compile(&[read, deny]).len(), 8, "nothing behind a rule that always fits");
        let no_writes = Rule { allow: false, access: 4, ..DISK };
        assert!(permitted(&[Rule::EVERYTHING, no_writes], 2, true, 254, 3));
        assert!(!permitted(&[Rule::EVERYTHING, no_writes], 6, true, 254, 3));
        assert!(permitted(&[Rule::EVERYTHING, no_writes], 6, true, 254, 4));
    }
}
