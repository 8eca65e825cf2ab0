//! `linux.seccomp` (`config-linux.md`, "Seccomp").

use serde::{Deserialize, Serialize};

/// `linux.seccomp`. Where a container brings none, `initd` puts its own default on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// `SCMP_ACT_ERRNO` and its like.
    pub default_action: String,
    /// The error number of `SCMP_ACT_ERRNO` as the default action.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_X86_64` and its like.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_LOG` and its like.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub flags: Vec<String>,
    /// The socket that `SCMP_ACT_NOTIFY` hands its descriptor to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listener_path: Option<String>,
    /// What is told along with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listener_metadata: Option<String>,
    /// Rules.
    #[serde(default)]
    pub syscalls: Vec<SyscallRule>,
}

/// `linux.seccomp.syscalls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// System call names; a name that this architecture does not have is ignored.
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// The error number of `SCMP_ACT_ERRNO`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno_ret: Option<u32>,
    /// All must hold; where several are of one argument, one of them.
    #[serde(default)]
    pub args: Vec<SyscallArgument>,
}

/// `linux.seccomp.syscalls.args`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallArgument {
    /// 0 to 5.
    pub index: u32,
    /// What to compare with.
    pub value: u64,
    /// The mask's result for `SCMP_CMP_MASKED_EQ`.
    #[serde(default)]
    pub value_two: u64,
    /// `SCMP_CMP_EQ` and its like.
    pub op: String,
}
