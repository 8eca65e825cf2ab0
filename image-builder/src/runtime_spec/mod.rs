//! Turns an image's configuration, and what the user asks for on top, into an OCI runtime specification
//! with the defaults that users of Docker expect.
//!
//! The configuration is data: whatever it says becomes words in the specification, obeyed inside a
//! machine; nothing in it names a file or a command on the host.

mod capabilities;
mod seccomp;

use std::collections::BTreeMap;

use bulkhead_protocol::image::ImageConfig;
use bulkhead_protocol::oci::{
    Capabilities, CpuLimit, INIT, IdMapping, Linux, MemoryLimit, Mount, Namespace, NamespaceKind, PidsLimit,
    Process, Resources, Rlimit, Root, Seccomp, Spec, User, defaults,
};
use thiserror::Error;

pub use capabilities::granted as granted_capabilities;
pub use seccomp::{SeccompError, profile as seccomp_profile};

/// The version of the runtime specification that is written.
const OCI_VERSION: &str = "1.2.0";

/// The length of a CPU period in microseconds, the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// The ids of a container with users of its own: as many as people have by convention (0 to 65534, and 65535
/// for none), and above all of the guest's.
const PRIVATE_IDS: IdMapping = IdMapping { container_id: 0, host_id: 65_536, size: 65_536 };

/// What a file system in memory has before its own options.
const TMPFS_OPTIONS: &[&str] = &["nosuid", "nodev", "noexec"];

/// What a user asks for on top of an image's configuration; the default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuntimeOptions {
    /// In place of the image's entry point; its `cmd` is then not used either.
    pub entrypoint: Option<Vec<String>>,
    /// In place of the image's `cmd`; none or an empty list keeps it.
    pub command: Option<Vec<String>>,
    /// `NAME=VALUE` each; replaces the image's word of that name.
    pub env: Vec<String>,
    /// In place of the image's working folder; absolute.
    pub working_dir: Option<String>,
    /// In place of the image's user, in the same words.
    pub user: Option<String>,
    /// The host name inside; it is put into the environment as `HOSTNAME` too.
    pub hostname: Option<String>,
    /// Give the process a terminal.
    pub terminal: bool,
    /// Mount the root read-only.
    pub read_only: bool,
    /// Give the container users of its own, of which the guest knows nothing: its root is nobody there.
    pub private_users: bool,
    /// The limit of the container's memory, in bytes.
    pub memory: Option<u64>,
    /// The limit of its processor time, in thousandths of a processor.
    pub milli_cpus: Option<u64>,
    /// The limit of its processes.
    pub pids: Option<u32>,
    /// Capabilities besides Docker's default set, or instead of what `cap_drop` names, in any case, with or without
    /// `CAP_`; `ALL` is every one.
    pub cap_add: Vec<String>,
    /// Capabilities of the default set that it has not got.
    pub cap_drop: Vec<String>,
    /// No program of it gains privileges by being run.
    pub no_new_privileges: bool,
    /// Instead of the default filter of system calls.
    pub seccomp: Option<Seccomp>,
    /// Kernel parameters of its own.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of each process.
    pub rlimits: Vec<Rlimit>,
    /// The program's parent is an init, which hands signals on and reaps whoever is left to it.
    pub init: bool,
    /// Empty file systems in memory: absolute paths, with their mount options.
    pub tmpfs: Vec<(String, Vec<String>)>,
}

/// Why an image cannot be run as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuntimeSpecError {
    /// Nothing to run.
    #[error("The image names no command and none was given")]
    NoCommand,
    /// A word of the environment without a name.
    #[error("The word {0:?} of the environment is not NAME=VALUE")]
    Environment(String),
    /// A relative working folder.
    #[error("The working folder {0:?} is not absolute")]
    WorkingDir(String),
    /// A NUL where the kernel would end the word.
    #[error("The {0} contains a NUL character")]
    Nul(&'static str),
    /// A capability that Linux does not know.
    #[error("There is no capability {0:?}")]
    Capability(String),
    /// A limit that the kernel would refuse.
    #[error("A limit of {0} is out of range")]
    Limit(String),
}

/// Makes the runtime specification of a container. It has no network namespace of its own: the machine is
/// its compartment, and it shares the machine's network.
pub fn runtime_spec(config: &ImageConfig, options: &RuntimeOptions) -> Result<Spec, RuntimeSpecError> {
    let tmpfs = options.tmpfs.iter().map(|(destination, options)| Mount {
        destination: destination.clone(),
        kind: Some("tmpfs".to_owned()),
        source: Some("tmpfs".to_owned()),
        options: owned(TMPFS_OPTIONS).into_iter().chain(options.iter().cloned()).collect(),
        ..Mount::default()
    });
    let namespaces = [
        NamespaceKind::Pid,
        NamespaceKind::Mount,
        NamespaceKind::Uts,
        NamespaceKind::Ipc,
        NamespaceKind::Cgroup,
    ];
    let users = options.private_users.then_some(NamespaceKind::User);
    let ids: Vec<IdMapping> = users.iter().map(|_| PRIVATE_IDS).collect();
    Ok(Spec {
        oci_version: OCI_VERSION.to_owned(),
        process: process(config, options)?,
        root: Some(Root { path: "rootfs".to_owned(), readonly: options.read_only }),
        hostname: options.hostname.clone(),
        mounts: defaults::mounts().into_iter().chain(tmpfs).collect(),
        linux: Linux {
            namespaces: namespaces
                .into_iter()
                .chain(users)
                .map(|kind| Namespace { kind, path: None })
                .collect(),
            uid_mappings: ids.clone(),
            gid_mappings: ids,
            resources: resources(options)?,
            seccomp: options.seccomp.clone(),
            sysctl: options.sysctls.clone(),
            masked_paths: owned(&defaults::MASKED_PATHS),
            readonly_paths: owned(&defaults::READONLY_PATHS),
            ..Linux::default()
        },
        annotations: options.init.then(|| (INIT.to_owned(), "true".to_owned())).into_iter().collect(),
        ..Spec::default()
    })
}

impl RuntimeOptions {
    /// An image's configuration with what is asked for in its place: run without options, it runs the same.
    pub fn applied_to(&self, config: &ImageConfig) -> ImageConfig {
        let command = self.command.clone().filter(|command| !command.is_empty());
        let cmd = match &self.entrypoint {
            Some(_) => command.unwrap_or_default(),
            None => command.unwrap_or_else(|| config.cmd.clone()),
        };
        let mut env = config.env.clone();
        self.env.iter().for_each(|word| set_variable(&mut env, word));
        ImageConfig {
            entrypoint: self.entrypoint.clone().unwrap_or_else(|| config.entrypoint.clone()),
            cmd,
            env,
            working_dir: self.working_dir.clone().unwrap_or_else(|| config.working_dir.clone()),
            user: self.user.clone().unwrap_or_else(|| config.user.clone()),
            ..config.clone()
        }
    }
}

fn process(config: &ImageConfig, options: &RuntimeOptions) -> Result<Process, RuntimeSpecError> {
    let config = options.applied_to(config);
    let args: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    if args.first().is_none_or(String::is_empty) {
        return Err(RuntimeSpecError::NoCommand);
    }
    let mut cwd = config.working_dir.clone();
    if cwd.is_empty() {
        cwd = "/".to_owned();
    }
    if !cwd.starts_with('/') {
        return Err(RuntimeSpecError::WorkingDir(cwd));
    }
    let env = environment(&config, options)?;
    let user = user(&config.user);
    let nul = |words: &[String]| words.iter().any(|word| word.contains('\0'));
    for (what, found) in [
        ("command", nul(&args)),
        ("environment", nul(&env)),
        ("working folder", cwd.contains('\0')),
        ("user", user.username.as_ref().is_some_and(|name| name.contains('\0'))),
    ] {
        if found {
            return Err(RuntimeSpecError::Nul(what));
        }
    }
    let set = granted_capabilities(&options.cap_add, &options.cap_drop)?;
    Ok(Process {
        terminal: options.terminal,
        user,
        args,
        env,
        cwd,
        capabilities: Some(Capabilities {
            bounding: set.clone(),
            effective: set.clone(),
            permitted: set,
            ..Capabilities::default()
        }),
        no_new_privileges: options.no_new_privileges,
        rlimits: options.rlimits.clone(),
        ..Process::default()
    })
}

/// The default path, the host name, the image's words: the last one of a name counts.
fn environment(config: &ImageConfig, options: &RuntimeOptions) -> Result<Vec<String>, RuntimeSpecError> {
    let unnamed = |word: &&String| variable(word).is_none_or(str::is_empty);
    if let Some(word) = config.env.iter().find(unnamed) {
        return Err(RuntimeSpecError::Environment(word.clone()));
    }
    let hostname = options.hostname.as_ref().map(|name| format!("HOSTNAME={name}"));
    let terminal = options.terminal.then(|| "TERM=xterm".to_owned());
    let given = [Some(defaults::PATH.to_owned()), hostname, terminal].into_iter().flatten();
    let mut words = Vec::new();
    given.chain(config.env.iter().cloned()).for_each(|word| set_variable(&mut words, &word));
    Ok(words)
}

/// Puts a word in the place of the one of its name, or behind all.
fn set_variable(words: &mut Vec<String>, word: &str) {
    match words.iter_mut().find(|known| variable(known) == variable(word)) {
        Some(known) => word.clone_into(known),
        None => words.push(word.to_owned()),
    }
}

/// The name in `NAME=VALUE`.
fn variable(word: &str) -> Option<&str> {
    word.split_once('=').map(|(name, _)| name)
}

/// Numbers are told as such; names only the image's own `/etc/passwd` can explain.
fn user(words: &str) -> User {
    if words.is_empty() {
        return User::default();
    }
    let (name, group) = words.split_once(':').unwrap_or((words, ""));
    User {
        uid: name.parse().unwrap_or(0),
        gid: group.parse().unwrap_or(0),
        username: Some(words.to_owned()),
        ..User::default()
    }
}

fn resources(options: &RuntimeOptions) -> Result<Option<Resources>, RuntimeSpecError> {
    let out_of_range = |what: String| RuntimeSpecError::Limit(what);
    let mut resources = Resources::default();
    if let Some(bytes) = options.memory {
        let limit = i64::try_from(bytes).map_err(|_| out_of_range(format!("{bytes} bytes of memory")))?;
        resources.memory = Some(MemoryLimit { limit: Some(limit), ..MemoryLimit::default() });
    }
    if let Some(milli) = options.milli_cpus {
        let quota = milli.checked_mul(CPU_PERIOD / 1000).and_then(|quota| i64::try_from(quota).ok());
        // The kernel takes no quota below a millisecond.
        let quota = quota.filter(|quota| *quota >= 1000);
        let quota = quota.ok_or_else(|| out_of_range(format!("{milli} thousandths of a processor")))?;
        resources.cpu =
            Some(CpuLimit { quota: Some(quota), period: Some(CPU_PERIOD), ..CpuLimit::default() });
    }
    if let Some(pids) = options.pids {
        if pids == 0 {
            return Err(out_of_range("0 processes".to_owned()));
        }
        resources.pids = Some(PidsLimit { limit: i64::from(pids) });
    }
    Ok((resources != Resources::default()).then_some(resources))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;
