//! Compiles rules to a classic BPF program, as `seccomp(2)` takes it.
//!
//! The program finds a system call by halving ranges of numbers that are treated alike. The kernel runs the
//! filter once for each of its 450 numbers when it is installed, so a chain of comparisons, which common
//! libraries write, costs a start a hundred times as many steps as this tree.

use std::collections::BTreeMap;

/// `SECCOMP_RET_KILL_PROCESS`.
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// `SECCOMP_RET_KILL_THREAD`.
pub const KILL_THREAD: u32 = 0;
/// `SECCOMP_RET_TRAP`.
pub const TRAP: u32 = 0x0003_0000;
/// `SECCOMP_RET_ERRNO`; the error number is in the low 16 bits.
pub const ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_USER_NOTIF`.
pub const NOTIFY: u32 = 0x7fc0_0000;
/// `SECCOMP_RET_TRACE`; what a tracer is told is in the low 16 bits.
pub const TRACE: u32 = 0x7ff0_0000;
/// `SECCOMP_RET_LOG`.
pub const LOG: u32 = 0x7ffc_0000;
/// `SECCOMP_RET_ALLOW`.
pub const ALLOW: u32 = 0x7fff_0000;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_GT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const JUMP_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64`.
pub(super) const X86_64: u32 = 0xc000_003e;

/// `__X32_SYSCALL_BIT`: the 32-bit pointer variants, which no rule here means.
const X32: u32 = 0x4000_0000;

/// A jump to where the rule does not hold; put right once that place is known.
const FAIL: u8 = 0xff;

/// How an argument is compared, as 64 bits without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Equal where this mask has bits.
    Masked(u64),
}

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// What happens when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// All must hold; none is always.
    pub conditions: Vec<Condition>,
    /// `SECCOMP_RET_*`.
    pub action: u32,
}

/// Rules by system call number, tried in their order, and what happens when none holds.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What happens to all other calls.
    pub default_action: u32,
    /// Rules.
    pub rules: BTreeMap<u32, Vec<Rule>>,
}

impl Filter {
    /// Whether somebody is to be notified of a call.
    pub fn notifies(&self) -> bool {
        let mut actions = self.rules.values().flatten().map(|rule| rule.action);
        self.default_action == NOTIFY || actions.any(|action| action == NOTIFY)
    }

    /// The program. It may be longer than [`MAX_INSTRUCTIONS`]; the caller looks.
    pub fn compile(&self) -> Vec<libc::sock_filter> {
        let mut program = vec![
            load(ARCHITECTURE),
            jump(JUMP_EQ, X86_64, 1, 0),
            give(KILL_PROCESS),
            load(NUMBER),
            jump(JUMP_GE, X32, 0, 1),
            give(ERRNO | libc::ENOSYS.unsigned_abs()),
        ];
        program.extend(search(&self.ranges()));
        program
    }

    /// Ranges of numbers with the code that decides on them, in order, from 0 on, without gaps.
    fn ranges(&self) -> Vec<(u32, Vec<libc::sock_filter>)> {
        let mut ranges: Vec<(u32, &[Rule])> = Vec::new();
        let mut add = |start, rules| match ranges.last() {
            Some((_, last)) if *last == rules => {}
            _ => ranges.push((start, rules)),
        };
        let mut next = 0;
        for (number, rules) in &self.rules {
            if *number > next {
                add(next, &[]);
            }
            add(*number, rules.as_slice());
            next = number.saturating_add(1);
        }
        add(next, &[]);
        ranges.into_iter().map(|(start, rules)| (start, self.decide(rules))).collect()
    }

    fn decide(&self, rules: &[Rule]) -> Vec<libc::sock_filter> {
        let mut code = Vec::new();
        for rule in rules {
            let mut block: Vec<_> = rule.conditions.iter().flat_map(|condition| condition.check()).collect();
            block.push(give(rule.action));
            link_failures(&mut block);
            code.extend(block);
            if rule.conditions.is_empty() {
                return code;
            }
        }
        code.push(give(self.default_action));
        code
    }
}

/// Points the jumps marked [`FAIL`] behind the block.
fn link_failures(block: &mut [libc::sock_filter]) {
    let length = block.len();
    for (index, instruction) in block.iter_mut().enumerate() {
        let behind = u8::try_from(length - index - 1).unwrap_or(FAIL);
        for target in [&mut instruction.jt, &mut instruction.jf] {
            if *target == FAIL {
                *target = behind;
            }
        }
    }
}

/// Finds the range of the number in the accumulator and runs its code.
fn search(ranges: &[(u32, Vec<libc::sock_filter>)]) -> Vec<libc::sock_filter> {
    match ranges {
        [] => Vec::new(),
        [(_, code)] => code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (low, start) = (search(low), high[0].0);
            let mut code = Vec::new();
            if let Some(near) = u8::try_from(low.len()).ok().filter(|length| *length < FAIL) {
                code.push(jump(JUMP_GE, start, near, 0));
            } else {
                code.push(jump(JUMP_GE, start, 0, 1));
                code.push(jump(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX), 0, 0));
            }
            code.extend(low);
            code.extend(search(high));
            code
        }
    }
}

impl Condition {
    /// Falls through where the condition holds and jumps to [`FAIL`] where it does not.
    fn check(&self) -> Vec<libc::sock_filter> {
        let low_half = load(ARGUMENTS + 8 * u32::from(self.argument));
        let high_half = load(ARGUMENTS + 8 * u32::from(self.argument) + 4);
        let (high, low) = halves(self.value);
        match self.comparison {
            Comparison::Equal => {
                vec![high_half, jump(JUMP_EQ, high, 0, FAIL), low_half, jump(JUMP_EQ, low, 0, FAIL)]
            }
            Comparison::NotEqual => {
                vec![high_half, jump(JUMP_EQ, high, 0, 2), low_half, jump(JUMP_EQ, low, FAIL, 0)]
            }
            Comparison::Greater | Comparison::GreaterOrEqual => {
                let last = if self.comparison == Comparison::Greater { JUMP_GT } else { JUMP_GE };
                vec![
                    high_half,
                    jump(JUMP_GT, high, 3, 0),
                    jump(JUMP_EQ, high, 0, FAIL),
                    low_half,
                    jump(last, low, 0, FAIL),
                ]
            }
            Comparison::Less | Comparison::LessOrEqual => {
                let last = if self.comparison == Comparison::Less { JUMP_GE } else { JUMP_GT };
                vec![
                    high_half,
                    jump(JUMP_GT, high, FAIL, 0),
                    jump(JUMP_EQ, high, 0, 2),
                    low_half,
                    jump(last, low, FAIL, 0),
                ]
            }
            Comparison::Masked(mask) => {
                let (high_mask, low_mask) = halves(mask);
                vec![
                    high_half,
                    statement(AND, high_mask),
                    jump(JUMP_EQ, high, 0, FAIL),
                    low_half,
                    statement(AND, low_mask),
                    jump(JUMP_EQ, low, 0, FAIL),
                ]
            }
        }
    }
}

fn halves(value: u64) -> (u32, u32) {
    let bytes = value.to_be_bytes();
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn load(offset: u32) -> libc::sock_filter {
    statement(LOAD, offset)
}

fn give(action: u32) -> libc::sock_filter {
    statement(RETURN, action)
}

fn statement(code: u16, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
