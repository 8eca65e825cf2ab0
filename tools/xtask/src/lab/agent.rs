//! The first process of a lab machine: makes it a machine to work in, runs the command, says how it ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::MountFlags;
use rustix::process::{Pid, WaitOptions};

use super::network;
use super::parcel::{self, Job};
use super::wire::{self, Kind};

/// Modules behind device nodes; the kernel loads what is asked for by name (nftables, bridge, overlay) itself.
const MODULES: [&str; 7] = ["kvm-amd", "tun", "veth", "loop", "dm-mod", "vhost_net", "vhost_vsock"];

/// Mounts in order: kind, place, options.
const MOUNTS: [(&str, &str, &str); 8] = [
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("bpf", "/sys/fs/bpf", ""),
];

/// How long a command's background processes may keep its output open after it has ended.
const LINGER: Duration = Duration::from_millis(200);

/// The search path in the lab.
pub const PATH: &str = "/bulkhead:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs as process 1 and never returns to a caller who could do anything: the host kills the machine.
pub fn run() -> Result<u8> {
    let mut port = open_port()?;
    if let Err(error) = work(&mut port) {
        wire::send(&mut port, Kind::Failure, format!("The lab failed: {error:#}").as_bytes())?;
    }
    loop {
        thread::park();
    }
}

fn work(port: &mut File) -> Result<()> {
    note(port, "agent started")?;
    set_up()?;
    note(port, "lab set up")?;
    let job = fs::read(Path::new(parcel::PLACE).join(parcel::JOB)).context("Cannot read the job")?;
    let job: Job = serde_json::from_slice(&job).context("Cannot understand the job")?;
    let status = carry_out(port, &job)?;
    note(port, "command ended")?;
    if job.out {
        send_out(port)?;
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    wire::send(port, Kind::Exit, &[u8::try_from(code).unwrap_or(u8::MAX)])?;
    Ok(())
}

/// Finds the port by its name; the kernel adds it a moment after the driver.
fn open_port() -> Result<File> {
    for _ in 0..1000 {
        for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == wire::PORT {
                let device = Path::new("/dev").join(entry.file_name());
                let port = OpenOptions::new().read(true).write(true).open(&device);
                return port.with_context(|| format!("Cannot open {}", device.display()));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("The port {} did not appear", wire::PORT)
}

fn note(port: &mut File, what: &str) -> Result<()> {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    wire::send(port, Kind::Note, format!("{what} (lab's uptime {seconds} s)").as_bytes())
        .context("Cannot reach the host")
}

fn set_up() -> Result<()> {
    let modules = Command::new("modprobe").arg("-a").args(MODULES).stdout(Stdio::null()).spawn();
    let mut modules = modules.context("Cannot start modprobe")?;
    for (kind, place, options) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("Cannot make {place}"))?;
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount(kind, place, kind, MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("Cannot mount {kind} on {place}"))?;
    }
    rustix::system::sethostname(b"lab").context("Cannot set the host name")?;
    for (file, text) in [
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n192.0.2.10 lab\n"),
        ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ] {
        fs::write(file, text).with_context(|| format!("Cannot write {file}"))?;
    }
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // A controller that cannot be handed down is one that the kernel keeps to the root.
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", format!("+{controller}"));
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "fd/0"),
        ("/dev/stdout", "fd/1"),
        ("/dev/stderr", "fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    let status = modules.wait().context("Cannot wait for modprobe")?;
    if !status.success() {
        bail!("modprobe failed with {status}");
    }
    network::set_up()
}

fn carry_out(port: &mut File, job: &Job) -> Result<ExitStatus> {
    let mut command = prepare(job)?;
    let started = command.spawn();
    let mut child = match started {
        Ok(child) => child,
        // As a shell has it: 127 not found, 126 found but not to be run.
        Err(error) => {
            let name = job.command.first().map(|name| name.display().to_string()).unwrap_or_default();
            wire::send(port, Kind::Stderr, format!("lab: cannot start {name}: {error}\n").as_bytes())?;
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            return Ok(ExitStatus::from_raw(code << 8));
        }
    };
    drop(command);
    let (sender, frames) = mpsc::channel();
    read(child.stdout.take(), Kind::Stdout, &sender);
    read(child.stderr.take(), Kind::Stderr, &sender);
    thread::spawn(move || reap(&child, &sender));
    pass_on(port, &frames)
}

fn prepare(job: &Job) -> Result<Command> {
    let Some((program, arguments)) = job.command.split_first() else { bail!("The job names no command") };
    let mut command;
    if job.shell {
        let console =
            || OpenOptions::new().read(true).write(true).open("/dev/hvc0").context("Cannot open /dev/hvc0");
        command = Command::new("setsid");
        command.args(["--ctty", "--"]).arg(program).stdin(console()?).stdout(console()?).stderr(console()?);
    } else {
        command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    command.args(arguments).current_dir(parcel::PLACE).env_clear().env("PATH", PATH).env("HOME", "/root");
    command.env("LANG", "C.UTF-8").env("USER", "root").env("BULKHEAD_LAB", "1");
    command.envs(job.environment.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// What the threads that watch the command tell the one that writes to the port.
enum Event {
    Bytes(Kind, Vec<u8>),
    Ended(ExitStatus),
}

fn read(pipe: Option<impl Read + Send + 'static>, kind: Kind, events: &Sender<Event>) {
    let Some(mut pipe) = pipe else { return };
    let events = events.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; wire::MOST];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if events.send(Event::Bytes(kind, bytes)).is_err() {
                return;
            }
        }
    });
}

/// Waits for every process that ends; the command's is told.
fn reap(child: &Child, events: &Sender<Event>) {
    let wanted = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == wanted => {
                let _ = events.send(Event::Ended(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No child is left; the command has been told of.
            Err(_) => return,
        }
    }
}

/// Writes what comes until the command has ended and its output with it, or lingers.
fn pass_on(port: &mut File, events: &Receiver<Event>) -> Result<ExitStatus> {
    let mut ended = None;
    loop {
        let event = match ended {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => events.recv_timeout(LINGER),
        };
        match (event, ended) {
            (Ok(Event::Bytes(kind, bytes)), _) => {
                wire::send(port, kind, &bytes).context("Cannot reach the host")?;
            }
            (Ok(Event::Ended(status)), _) => ended = Some(status),
            (Err(_), Some(status)) => return Ok(status),
            (Err(_), None) => bail!("The command's end was lost"),
        }
    }
}

fn send_out(port: &mut File) -> Result<()> {
    let mut tar = tar::Builder::new(Pieces(port));
    tar.follow_symlinks(false);
    tar.sparse(false);
    tar.append_dir_all(".", PathBuf::from(parcel::OUT))
        .and_then(|()| tar.finish())
        .context("Cannot send /out")
}

/// Cuts what is written into frames.
struct Pieces<'a>(&'a mut File);

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..bytes.len().min(wire::MOST)).unwrap_or_default();
        wire::send(self.0, Kind::Out, piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
