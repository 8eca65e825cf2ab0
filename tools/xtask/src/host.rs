//! The machine that xtask runs on: its programs and its Debian packages.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

use anyhow::{Context, Result, bail};

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The program, as looked up on the search path, or the whole path of a file.
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
/// Builds libFuzzer.
pub const CXX: Tool = Tool { program: "c++", package: "g++" };
/// Static: the initramfs needs no libraries.
pub const BUSYBOX: Tool = Tool { program: "busybox", package: "busybox-static" };

/// What a kernel is built with; the last one is a header.
pub const KERNEL_TOOLS: [Tool; 7] = [
    Tool { program: "make", package: "make" },
    Tool { program: "flex", package: "flex" },
    Tool { program: "bison", package: "bison" },
    Tool { program: "bc", package: "bc" },
    Tool { program: "xz", package: "xz-utils" },
    Tool { program: "gcc", package: "gcc" },
    Tool { program: "/usr/include/libelf.h", package: "libelf-dev" },
];

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

/// Downloads a package's file into a folder that is empty.
pub fn download(package: &str, version: &str, folder: &Path) -> Result<PathBuf> {
    let wanted = format!("{package}={version}");
    let download = || run_quietly(Command::new("apt-get").args(["download", &wanted]).current_dir(folder));
    if download().is_err() {
        apt_update()?;
        download()?;
    }
    let mut found = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let file = found.find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    file.with_context(|| format!("apt-get download {wanted} left no package"))
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
