//! A filter that is taken decides as the specification's words do, and the kernel takes it.

use bulkhead_protocol::oci::{Seccomp, SyscallArgument, SyscallRule};

use super::Bytes;
use crate::isolation::seccomp::{ACTIONS, OPERATORS, Program, number_of, simulator};

/// Calls that rules name: near and far numbers, and one that there is not.
const CALLS: [&str; 8] =
    ["read", "write", "personality", "socket", "clone", "prctl", "statx", "no_such_call"];
/// Numbers that no rule names.
const NUMBERS: [u32; 4] = [449, 1 << 20, 1 << 30, u32::MAX];
const VALUES: [u64; 6] = [0, 1, 40, 1 << 32, (40 << 32) | 1, u64::MAX];

/// Takes a profile as JSON, or as bytes that choose one.
pub fn seccomp(bytes: &[u8]) {
    let spec = match serde_json::from_slice::<Seccomp>(bytes) {
        Ok(spec) => spec,
        Err(_) => chosen(&mut Bytes(bytes)),
    };
    let Ok(program) = Program::exact(&spec) else { return };
    let values: Vec<_> =
        spec.syscalls.iter().flat_map(|rule| &rule.args).map(|argument| argument.value).collect();
    for value in VALUES.into_iter().chain(values.into_iter().take(16)) {
        for arguments in [[value; 6], [value, 0, u64::MAX, 1, value ^ 1, value.wrapping_add(1)]] {
            for name in CALLS {
                let Some(number) = number_of(name) else { continue };
                let (action, errno) = match decides(&spec, name, arguments) {
                    Some(rule) => (&rule.action, rule.errno_ret),
                    None => (&spec.default_action, spec.default_errno_ret),
                };
                let decided = simulator::run(program.code(), number, arguments).map(|(action, _)| action);
                assert_eq!(decided, meaning(action, errno), "{name} {arguments:x?} of {spec:?}");
            }
            for number in NUMBERS {
                assert!(simulator::run(program.code(), number, arguments).is_some(), "{number} of {spec:?}");
            }
        }
    }
}

fn chosen(bytes: &mut Bytes<'_>) -> Seccomp {
    let mut spec = Seccomp { default_action: bytes.choose(&ACTIONS).to_owned(), ..Seccomp::default() };
    spec.listener_path = Some("/run/listener".to_owned());
    spec.default_errno_ret = bytes.flag().then(|| bytes.number() as u32);
    while !bytes.0.is_empty() {
        let names = (0..bytes.small()).map(|_| bytes.choose(&CALLS).to_owned()).collect();
        let action = bytes.choose(&ACTIONS).to_owned();
        let errno_ret = bytes.flag().then(|| bytes.number() as u32);
        let args = (0..bytes.small() * bytes.small()).map(|_| argument(bytes)).collect();
        spec.syscalls.push(SyscallRule { names, action, errno_ret, args });
    }
    spec
}

fn argument(bytes: &mut Bytes<'_>) -> SyscallArgument {
    let mut value = || if bytes.flag() { bytes.number() } else { bytes.choose(&VALUES) };
    let (value, value_two) = (value(), value());
    SyscallArgument { index: bytes.small().into(), value, value_two, op: bytes.choose(&OPERATORS).to_owned() }
}

/// `SECCOMP_RET_*` for the specification's word.
fn meaning(action: &str, errno: Option<u32>) -> Option<u32> {
    let errno = errno.unwrap_or(1).min(4095);
    Some(match action {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        _ => return None,
    })
}

/// The rule of `spec` that decides on a call: none is the default. A rule with conditions goes before one without.
fn decides<'a>(spec: &'a Seccomp, name: &str, arguments: [u64; 6]) -> Option<&'a SyscallRule> {
    let named = || spec.syscalls.iter().filter(|rule| rule.names.iter().any(|known| known == name));
    let particular = named().find(|rule| !rule.args.is_empty() && holds(&rule.args, arguments));
    particular.or_else(|| named().find(|rule| rule.args.is_empty()))
}

fn holds(conditions: &[SyscallArgument], arguments: [u64; 6]) -> bool {
    let compare = |condition: &SyscallArgument| {
        let argument = arguments.get(condition.index as usize).copied().unwrap_or_default();
        match condition.op.as_str() {
            "SCMP_CMP_NE" => argument != condition.value,
            "SCMP_CMP_LT" => argument < condition.value,
            "SCMP_CMP_LE" => argument <= condition.value,
            "SCMP_CMP_EQ" => argument == condition.value,
            "SCMP_CMP_GE" => argument >= condition.value,
            "SCMP_CMP_GT" => argument > condition.value,
            "SCMP_CMP_MASKED_EQ" => argument & condition.value == condition.value_two,
            _ => false,
        }
    };
    let times = |index| conditions.iter().filter(|condition| condition.index == index).count();
    match conditions.iter().any(|condition| times(condition.index) > 1) {
        true => conditions.iter().any(compare),
        false => conditions.iter().all(compare),
    }
}
