//! The host's half of an emulated lab: QEMU, its disks, and the frames that come out of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::FdFlags;

use super::image::Image;
use super::parcel::{self, Job};
use super::wire::{self, Kind};
use super::{Clock, LabArgs, TIMED_OUT};
use crate::host;

/// The kernel's words: quiet, no self-tests, KVM that ignores registers it does not know, and timers that tick. QEMU
/// 7.2 loses an interrupt now and then, on the instruction clock too: its SVM helpers change a processor's pending
/// interrupts without a lock. A one-shot timer that is lost stops the machine for good; one that ticks makes the next
/// tick look again at what is pending.
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=3 panic=-1 cryptomgr.notests kvm.ignore_msrs=1 \
    kvm.report_ignored_msrs=0 nohz=off highres=off";

/// Builds what is missing, starts the machine and stays with it until the command has ended.
pub fn run(args: &LabArgs, clock: Clock) -> Result<u8> {
    let deadline = (!args.shell).then(|| Instant::now() + Duration::from_secs(args.timeout));
    host::ensure(&[host::QEMU])?;
    let image = Image::obtain(&args.with, clock)?;
    clock.mark("lab image found");
    let lab =
        Lab { parcel: tempfile::tempfile()?, console: tempfile::tempfile()?, out: tempfile::tempfile()? };
    parcel::write(&lab.parcel, &Job::new(args), &args.carry)?;
    clock.mark("parcel packed");
    let (ours, theirs) = UnixStream::pair().context("Cannot make a pair of sockets")?;
    for file in [lab.parcel.as_fd(), lab.console.as_fd(), theirs.as_fd()] {
        rustix::io::fcntl_setfd(file, FdFlags::empty()).context("Cannot hand a file to the emulator")?;
    }
    let mut emulator =
        Emulator(command(args, &image, &lab, &theirs).spawn().context("Cannot start the emulator")?);
    drop(theirs);
    let ended = lab.stay(&ours, deadline, clock);
    emulator.end();
    clock.mark("machine ended");
    let code = match ended? {
        End::Exit(code) => code,
        End::TimedOut => {
            eprintln!(
                "lab: the command did not end within {} s and was killed with its machine",
                args.timeout
            );
            return Ok(TIMED_OUT);
        }
    };
    if let Some(folder) = &args.out {
        let mut out = &lab.out;
        out.seek(SeekFrom::Start(0))?;
        parcel::unpack_out(out, folder)?;
        clock.mark("/out unpacked");
    }
    Ok(code)
}

/// A running emulator, killed when dropped. If we are killed, the kernel kills it (`setpriv --pdeathsig`).
struct Emulator(Child);

impl Emulator {
    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.end();
    }
}

/// How the lab ended.
enum End {
    Exit(u8),
    TimedOut,
}

/// The lab's files; none has a name.
struct Lab {
    parcel: File,
    console: File,
    out: File,
}

impl Lab {
    /// Takes frames until the last one.
    fn stay(&self, port: &UnixStream, deadline: Option<Instant>, clock: Clock) -> Result<End> {
        let mut port = Port { socket: port, deadline };
        loop {
            let (kind, bytes) = match wire::receive(&mut port) {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(End::TimedOut),
                Err(error) => bail!(
                    "The lab ended before the command did ({error}); its console says:\n{}",
                    self.console_tail()
                ),
            };
            match kind {
                Kind::Stdout => write(&mut io::stdout().lock(), &bytes)?,
                Kind::Stderr => write(&mut io::stderr().lock(), &bytes)?,
                Kind::Out => (&self.out).write_all(&bytes).context("Cannot keep what the lab gives back")?,
                Kind::Note => clock.mark(&String::from_utf8_lossy(&bytes)),
                Kind::Exit => return Ok(End::Exit(bytes.first().copied().unwrap_or(1))),
                Kind::Failure => bail!("{}", String::from_utf8_lossy(&bytes)),
            }
        }
    }

    fn console_tail(&self) -> String {
        let mut console = &self.console;
        let length = self.console.metadata().map_or(0, |data| data.len());
        let mut tail = Vec::new();
        let read = console
            .seek(SeekFrom::Start(length.saturating_sub(4096)))
            .and_then(|_| console.read_to_end(&mut tail));
        match read {
            Ok(_) => String::from_utf8_lossy(&tail).into_owned(),
            Err(error) => format!("(its console cannot be read: {error})"),
        }
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes).and_then(|()| to.flush()).context("Cannot pass on what the command writes")
}

/// The socket, read with a deadline over all.
struct Port<'a> {
    socket: &'a UnixStream,
    deadline: Option<Instant>,
}

impl Read for Port<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
        }
        match self.socket.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }
}

fn command(args: &LabArgs, image: &Image, lab: &Lab, port: &UnixStream) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", host::QEMU.program]);
    command
        .args("-M q35 -cpu max,-erms,-fsrm -nodefaults -no-user-config -no-reboot -display none".split(' '));
    if args.icount {
        command.args("-smp 1 -accel tcg,thread=single -icount shift=1,sleep=off".split(' '));
    } else {
        command.args(["-accel", "tcg,thread=multi", "-smp", &args.smp.to_string()]);
    }
    command.args(["-m", &args.memory.to_string()]);
    command
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(image.initramfs())
        .args(["-append", KERNEL_LINE]);
    let root = format!("file={},snapshot=on", image.root().display().to_string().replace(',', ",,"));
    let parcel = format!("file=/proc/self/fd/{},readonly=on", lab.parcel.as_raw_fd());
    for drive in [root, parcel] {
        command.args(["-drive", &format!("if=virtio,format=raw,{drive}")]);
    }
    command.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
    command.args(["-chardev", &format!("socket,id=lab,fd={}", port.as_raw_fd())]);
    command.args(["-device", &format!("virtserialport,nr=1,chardev=lab,name={}", wire::PORT)]);
    command.args(["-serial", &format!("file:/proc/self/fd/{}", lab.console.as_raw_fd())]);
    if args.shell {
        command.args(["-chardev", "stdio,id=shell,signal=off", "-device", "virtconsole,nr=0,chardev=shell"]);
    } else {
        command.stdin(Stdio::null());
    }
    // The emulator's own complaints are ours; nothing of it belongs on standard output.
    if !args.shell {
        command.stdout(Stdio::null());
    }
    command
}
