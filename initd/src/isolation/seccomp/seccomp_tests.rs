use bulkhead_protocol::oci::{Seccomp, SyscallArgument, SyscallRule};

use super::*;

/// The actions of the rules for `name`, in their order.
fn actions(filter: &Filter, name: &str) -> Vec<u32> {
    let number = names::all().find(|(known, _)| *known == name).unwrap().1;
    filter.rules.get(&number).map_or_else(Vec::new, |rules| rules.iter().map(|rule| rule.action).collect())
}

const EPERM: u32 = ERRNO | 1;

#[test]
fn the_default_profile_refuses_what_reaches_the_kernel() {
    let filter = profile::default_profile(&Sets::default());
    for name in [
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "perf_event_open",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "fsopen",
        "unshare",
        "setns",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "open_by_handle_at",
        "reboot",
        "swapon",
        "swapoff",
        "ioperm",
        "iopl",
        "pivot_root",
        "acct",
        "chroot",
    ] {
        assert_eq!(actions(&filter, name), [EPERM], "{name}");
    }
    assert!(actions(&filter, "clone3").is_empty(), "ENOSYS, so that the C library takes clone");
    assert_eq!(filter.default_action, ERRNO | 38);
    for name in ["read", "execve", "ptrace", "socket", "seccomp", "prctl", "capset", "statx", "futex"] {
        assert_eq!(actions(&filter, name), [ALLOW], "{name}");
    }
}

#[test]
fn capabilities_open_what_they_stand_for() {
    let names = Capabilities { bounding: vec!["CAP_SYS_ADMIN".into()], ..Capabilities::default() };
    let filter = profile::default_profile(&Sets::parse(Some(&names)).unwrap());
    for name in ["mount", "unshare", "setns", "clone", "clone3", "bpf"] {
        assert_eq!(actions(&filter, name), [ALLOW], "{name}");
    }
    assert_eq!(actions(&filter, "keyctl"), [EPERM]);
    assert_eq!(actions(&filter, "init_module"), [EPERM]);
}

use bulkhead_protocol::oci::Capabilities;

fn spec(default: &str, syscalls: Vec<SyscallRule>) -> Seccomp {
    Seccomp { default_action: default.into(), syscalls, ..Seccomp::default() }
}

fn entry(name: &str, action: &str, args: Vec<SyscallArgument>) -> SyscallRule {
    SyscallRule {
        names: vec![name.into(), "no_such_call".into()],
        action: action.into(),
        errno_ret: None,
        args,
    }
}

#[test]
fn vsock_is_refused_whatever_the_specification_allows() {
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"] {
        let mut filter = from_spec(&spec(default, vec![])).unwrap();
        refuse_vsock(&mut filter);
        assert_eq!(actions(&filter, "socket"), [EPERM, filter.default_action]);
    }
}

#[test]
fn particular_rules_come_first() {
    let argument = SyscallArgument { index: 0, value: 3, value_two: 0, op: "SCMP_CMP_EQ".into() };
    let syscalls = vec![
        entry("prctl", "SCMP_ACT_ALLOW", vec![]),
        entry("prctl", "SCMP_ACT_KILL_PROCESS", vec![argument]),
    ];
    let filter = from_spec(&spec("SCMP_ACT_ERRNO", syscalls)).unwrap();
    assert_eq!(actions(&filter, "prctl"), [KILL_PROCESS, ALLOW]);
}

#[test]
fn several_conditions_of_one_argument_are_alternatives() {
    let equals = |value| SyscallArgument { index: 0, value, value_two: 0, op: "SCMP_CMP_EQ".into() };
    let many: Vec<_> = (0..100).map(equals).collect();
    let spec = spec("SCMP_ACT_ERRNO", vec![entry("personality", "SCMP_ACT_ALLOW", many)]);
    let program = Program::exact(&spec).unwrap();
    let number = names::all().find(|(known, _)| *known == "personality").unwrap().1;
    for (value, action) in [(0, ALLOW), (50, ALLOW), (99, ALLOW), (100, EPERM)] {
        let decided = simulator::run(&program.code, number, [value, 0, 0, 0, 0, 0]);
        assert_eq!(decided.map(|(action, _)| action), Some(action), "{value}");
    }
}

#[test]
fn invalid_values_are_errors() {
    assert!(matches!(from_spec(&spec("ALLOW", vec![])), Err(SeccompError::Action(_))));
    let notify = vec![entry("read", "SCMP_ACT_NOTIFY", vec![])];
    let notify = spec("SCMP_ACT_ALLOW", notify);
    assert!(matches!(Program::exact(&notify), Err(SeccompError::Listener)));
    assert!(matches!(Program::build(Some(&notify), &Sets::default()), Err(SeccompError::Action(_))));
    let argument = |index, op: &str| SyscallArgument { index, value: 0, value_two: 0, op: op.into() };
    let with = |argument| spec("SCMP_ACT_ALLOW", vec![entry("read", "SCMP_ACT_LOG", vec![argument])]);
    assert!(matches!(from_spec(&with(argument(6, "SCMP_CMP_EQ"))), Err(SeccompError::Argument(6))));
    assert!(matches!(from_spec(&with(argument(0, "=="))), Err(SeccompError::Operator(_))));
    let mut arm = spec("SCMP_ACT_ALLOW", vec![]);
    arm.architectures = vec!["SCMP_ARCH_AARCH64".into(), "SCMP_ARCH_ROWBOAT".into()];
    assert!(matches!(from_spec(&arm), Err(SeccompError::Architecture(_))));
}

#[test]
fn the_default_program_is_short() {
    let program = Program::build(None, &Sets::default()).unwrap();
    assert!(program.code.len() < 300, "{}", program.code.len());
}
