//! The machine that xtask runs on: its programs and its Debian packages.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fmt};

use anyhow::{Context, Result, bail};

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The program, as looked up on the search path.
    pub program: &'static str,
    /// The package to install when the program is missing.
    pub package: &'static str,
}

/// Emulates the lab's machine.
pub const QEMU: Tool = Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" };
/// Makes the lab's root.
pub const MMDEBSTRAP: Tool = Tool { program: "mmdebstrap", package: "mmdebstrap" };
/// Turns a folder into a disk.
pub const MKE2FS: Tool = Tool { program: "mke2fs", package: "e2fsprogs" };
/// Writes module dependencies.
pub const DEPMOD: Tool = Tool { program: "depmod", package: "kmod" };
/// Static: the initramfs needs no libraries.
pub const BUSYBOX: Tool = Tool { program: "busybox", package: "busybox-static" };

/// Finds a program on the search path, the administrator's folders included.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Installs the packages of those tools that are absent.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| find(tool.program).is_none()).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: installing {}", missing.join(" "));
    apt_update()?;
    let mut install = as_root("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "--"])
        .args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_quietly(&mut install)
}

/// Reads the package lists anew.
pub fn apt_update() -> Result<()> {
    run_quietly(as_root("apt-get").arg("update"))
}

/// A command that runs as root: directly, or through `sudo` without a password.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--non-interactive").arg("--").arg(program);
    command
}

/// Runs a command; what it says is shown only when it fails.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command and gives what it writes to its standard output; failure shows the end of what it says.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("Cannot start {}", Shown(command)))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
    bail!("{} failed with {}:\n{tail}", Shown(command), output.status)
}

/// A command as it is shown to people.
struct Shown<'a>(&'a Command);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.get_program().display())?;
        self.0.get_args().take(6).try_for_each(|arg| write!(out, " {}", arg.display()))
    }
}
