//! What both halves of the bench agree on: the guest, and how each VMM is told to start it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// Where the bench's files are in the lab.
pub const FOLDER: &str = "/bulkhead/bench";
/// The [`Plan`].
pub const PLAN: &str = "plan.json";
/// A Firecracker configuration.
pub const CONFIG: &str = "config.json";
/// The guest's initramfs.
pub const INITRAMFS: &str = "initramfs";
/// The figures, in the folder that comes back.
pub const FIGURES: &str = "bench.json";
/// The line that the guest's first process prints.
pub const MARKER: &str = "bench: init is up";
/// The guest's memory in MiB.
pub const MEMORY: u32 = 128;

/// The guest's command line, as `lab.md`'s baselines have it.
pub const KERNEL_LINE: &str = "console=ttyS0 panic=1 quiet loglevel=1 i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd \
    8250.nr_uarts=1 cryptomgr.notests";

const KERNEL: &str = "/bulkhead/vmlinux";

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who is measured.
    pub subjects: Vec<Subject>,
    /// How many starts are timed after the first.
    pub runs: u8,
}

/// A VMM.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What it is called in the table.
    pub name: String,
    /// How it is spoken to.
    pub kind: Kind,
    /// Its program in the lab.
    pub program: PathBuf,
}

/// How a VMM is told what to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `--no-api --config-file FILE`, and a power-off that ends it.
    Bulkhead,
    /// `--no-api --config-file FILE`.
    Firecracker,
    /// `-M microvm`, configured as its users would.
    QemuMicrovm,
}

impl Subject {
    /// What the guest is told to end the machine. Firecracker's knows no power-off, and its kernel's own
    /// way to a reset is long; QEMU's microvm has no keyboard controller to ask for one.
    pub fn last_words(&self) -> &'static str {
        match self.kind {
            Kind::Firecracker => "reset\n",
            Kind::Bulkhead | Kind::QemuMicrovm => "poweroff\n",
        }
    }

    /// The command that starts the guest with its console on standard input and output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let folder = Path::new(FOLDER);
        match self.kind {
            Kind::Bulkhead | Kind::Firecracker => {
                command.arg("--no-api").arg("--config-file").arg(folder.join(CONFIG));
            }
            Kind::QemuMicrovm => {
                command.args("-M microvm,pic=off,pit=off,rtc=on -accel kvm -cpu host -smp 1".split(' '));
                command.args("-nodefaults -no-user-config -no-reboot -display none -serial stdio".split(' '));
                command.args(["-m", &MEMORY.to_string(), "-kernel", KERNEL, "-append", KERNEL_LINE]);
                command.arg("-initrd").arg(folder.join(INITRAMFS));
            }
        }
        command
    }
}

/// The configuration for VMMs of Firecracker's kind.
pub fn firecracker_config() -> serde_json::Value {
    json!({
        "boot-source": {
            "kernel_image_path": KERNEL,
            "initrd_path": Path::new(FOLDER).join(INITRAMFS),
            "boot_args": KERNEL_LINE,
        },
        "drives": [],
        "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY },
    })
}

/// The guest's first process: says that it is there, waits for a line, and ends the machine in the way that
/// the line names: by a power-off, or by a reset that goes straight to the keyboard controller.
pub fn init_script() -> String {
    format!(
        "#!/bin/busybox sh\n\
         echo '{MARKER}'\n\
         read line\n\
         [ \"$line\" != poweroff ] || /bin/busybox poweroff -f\n\
         /bin/busybox mount -t sysfs sysfs /sys\n\
         echo kbd >/sys/kernel/reboot/type\n\
         /bin/busybox reboot -f\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_the_same_guest() {
        let subject = |kind| Subject { name: String::new(), kind, program: PathBuf::from("vmm") };
        let shown = format!("{:?}", subject(Kind::QemuMicrovm).command());
        let config = firecracker_config().to_string();
        for word in [KERNEL, KERNEL_LINE, INITRAMFS, "128"] {
            assert!(shown.contains(word) && config.contains(word), "{word}");
        }
        assert!(format!("{:?}", subject(Kind::Firecracker).command()).contains(CONFIG));
    }
}
