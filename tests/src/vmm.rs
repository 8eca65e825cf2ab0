//! A bare `bulkhead-vmm`, started from a configuration file as `firecracker` is.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use bulkhead_protocol::exit::ExitRecord;
use serde_json::{Value, json};

use crate::{Finished, asset, timed};

/// Words for the kernel that keep it quiet and its end quick.
pub const BOOT_ARGS: &str = "console=ttyS0 reboot=k panic=-1 quiet loglevel=1 8250.nr_uarts=1 i8042.noaux \
                             i8042.nomux i8042.nopnp i8042.dumbkbd cryptomgr.notests";

/// A machine with our kernel and initramfs and nothing else.
#[must_use]
pub fn config() -> Value {
    json!({
        "boot-source": {
            "kernel_image_path": asset("vmlinux"),
            "initrd_path": asset("initramfs"),
            "boot_args": BOOT_ARGS,
        },
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 },
    })
}

/// How a machine ended.
#[derive(Debug)]
pub struct Ended {
    /// The process's own end and the guest's console.
    pub process: Finished,
    /// The record that it left; none when it left none.
    pub record: Option<ExitRecord>,
}

/// Runs a machine to its end.
///
/// # Panics
/// When it cannot be started, is not done in its time, or writes a record that is none.
#[must_use]
pub fn boot(config: &Value) -> Ended {
    let folder = tempfile::Builder::new().prefix("bulkhead-vmm-").tempdir().expect("a temporary folder");
    let file = folder.path().join("config.json");
    fs::write(&file, config.to_string()).expect("a configuration file");
    let record = folder.path().join("exit.json");
    let descriptor = File::create(&record).expect("a record file");
    let mut command = Command::new(asset("bulkhead-vmm"));
    command.arg("--config-file").arg(&file).args(["--no-api", "--exit-record-fd", "9"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    hand_over(&mut command, &descriptor);
    let child = command.spawn().expect("bulkhead-vmm");
    let process = timed::finish(child, Duration::from_secs(90), "bulkhead-vmm");
    let text = fs::read_to_string(&record).expect("the record");
    let record = (!text.is_empty()).then(|| serde_json::from_str(&text).expect("an exit record"));
    Ended { process, record }
}

/// Gives the child `file` as its descriptor 9.
#[allow(unsafe_code, reason = "a descriptor is handed to a child between fork and exec")]
fn hand_over(command: &mut Command, file: &File) {
    let from = file.as_raw_fd();
    let duplicate = move || {
        // SAFETY: dup2 takes two numbers; `from` stays open in the parent until the child is spawned.
        let to = unsafe { libc::dup2(from, 9) };
        if to == 9 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure runs in the child between fork and exec and calls only dup2, which is
    // async-signal-safe.
    unsafe { command.pre_exec(duplicate) };
}
