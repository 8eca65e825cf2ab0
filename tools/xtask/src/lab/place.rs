//! A lab in place: on a host whose KVM boots stock guests, in fresh mount, network and process namespaces.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::parcel::{self, Job};
use super::{LabArgs, TIMED_OUT, agent, network};
use crate::host;

/// What the inner half is told.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// A folder to build the new root on; it holds the parcel.
    #[arg(long)]
    folder: PathBuf,
}

/// Whether this host's KVM boots stock guests: the processor virtualizes, its module is loaded (another,
/// such as `kvm_pvm`, gives a `/dev/kvm` that does not boot them), and the device opens.
pub fn boots_guests() -> bool {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virtualizes = processor
        .lines()
        .filter(|line| line.starts_with("flags"))
        .take(1)
        .any(|flags| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"));
    let module = ["kvm_intel", "kvm_amd"].iter().any(|name| Path::new("/sys/module").join(name).exists());
    virtualizes && module && OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Runs the command; everything made for it ends with it.
pub fn run(args: &LabArgs) -> Result<u8> {
    host::ensure(&[
        host::Tool { program: "ip", package: "iproute2" },
        host::Tool { program: "nft", package: "nftables" },
    ])?;
    let folder = tempfile::tempdir().context("Cannot make a temporary folder")?;
    let packed = folder.path().join("parcel");
    parcel::write(&File::create(&packed)?, &Job::new(args), &args.carry)?;
    if let Some(out) = &args.out {
        fs::create_dir_all(out).with_context(|| format!("Cannot make {}", out.display()))?;
        let out = fs::canonicalize(out)?;
        std::os::unix::fs::symlink(out, folder.path().join("out"))?;
    }
    let mut command = host::as_root("setpriv");
    command.args("--pdeathsig KILL -- unshare --mount --net --pid --fork --kill-child=KILL --".split(' '));
    command.arg(std::env::current_exe()?).args(["lab-place", "--folder"]).arg(folder.path());
    let mut child = command.spawn().context("Cannot start unshare")?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX));
        }
        if !args.shell && Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            eprintln!("lab: the command did not end within {} s and was killed", args.timeout);
            return Ok(TIMED_OUT);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The inner half: in the new namespaces, makes the new root and runs the command there.
pub fn inside(args: &PlaceArgs) -> Result<u8> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .context("Cannot part from the host's mounts")?;
    let root = args.folder.join("root");
    fs::create_dir(&root)?;
    mount("tmpfs", &root)?;
    for entry in fs::read_dir("/")? {
        mirror(&entry?.path(), &root)?;
    }
    mount("proc", &root.join("proc"))?;
    let place = root.join(parcel::PLACE.trim_start_matches('/'));
    fs::create_dir_all(&place)?;
    tar::Archive::new(File::open(args.folder.join("parcel"))?)
        .unpack(&place)
        .context("Cannot unpack the parcel")?;
    let out = root.join(parcel::OUT.trim_start_matches('/'));
    fs::create_dir_all(&out)?;
    if let Ok(wanted) = fs::canonicalize(args.folder.join("out")) {
        rustix::mount::mount_bind(&wanted, &out).context("Cannot mount /out")?;
    }
    std::os::unix::fs::chroot(&root).context("Cannot enter the new root")?;
    mount("tmpfs", Path::new("/run"))?;
    mount("sysfs", Path::new("/sys")).ok();
    network::set_up()?;
    let job: Job = serde_json::from_slice(&fs::read(Path::new(parcel::PLACE).join(parcel::JOB))?)?;
    carry_out(&job)
}

fn carry_out(job: &Job) -> Result<u8> {
    let Some((program, arguments)) = job.command.split_first() else { bail!("The job names no command") };
    let own = [
        ("PATH", agent::PATH),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("USER", "root"),
        ("BULKHEAD_LAB", "1"),
    ];
    let mut command = Command::new(program);
    command.args(arguments).current_dir(parcel::PLACE).env_clear().envs(own);
    command.envs(job.environment.iter().map(|(name, value): &(OsString, OsString)| (name, value)));
    match command.status() {
        Ok(status) => Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("lab: cannot start {}: {error}", program.display());
            Ok(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

fn mount(kind: &str, place: &Path) -> Result<()> {
    rustix::mount::mount(kind, place, kind, MountFlags::empty(), None)
        .with_context(|| format!("Cannot mount {kind} on {}", place.display()))
}

/// Shows one entry of the host's root in the new one.
fn mirror(entry: &Path, root: &Path) -> Result<()> {
    let Some(name) = entry.file_name() else { return Ok(()) };
    let place = root.join(name);
    let kind = fs::symlink_metadata(entry)?.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(entry)?, place)?;
    } else if kind.is_dir() {
        fs::create_dir(&place)?;
        rustix::mount::mount_bind_recursive(entry, &place)
            .with_context(|| format!("Cannot show {}", entry.display()))?;
    }
    Ok(())
}
