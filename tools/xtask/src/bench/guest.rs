//! The guest that is measured: the same one for every VMM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::subject::{Kind, Subject};
use crate::{cpio, host};

/// A guest, by its files in the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// An uncompressed kernel.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initramfs: PathBuf,
    /// The kernel's command line.
    pub line: String,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub vcpus: u8,
    /// Drives, in the guest's order.
    #[serde(default)]
    pub drives: Vec<Drive>,
}

/// A drive of the guest's: a raw file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// What it is called.
    pub id: String,
    /// The file in the lab.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Firecracker's `io_engine`.
    pub engine: String,
    /// What QEMU is told of its cache and of how it reads and writes.
    pub qemu: String,
}

impl Guest {
    /// The configuration for VMMs of Firecracker's kind.
    pub fn config(&self) -> Value {
        let drive = |drive: &Drive| {
            json!({
                "drive_id": drive.id, "path_on_host": drive.path, "is_root_device": false,
                "is_read_only": drive.read_only, "io_engine": drive.engine,
            })
        };
        json!({
            "boot-source": {
                "kernel_image_path": self.kernel,
                "initrd_path": self.initramfs,
                "boot_args": self.line,
            },
            "drives": self.drives.iter().map(drive).collect::<Vec<_>>(),
            "machine-config": { "vcpu_count": self.vcpus, "mem_size_mib": self.memory },
        })
    }

    /// The command that starts the guest with its console on standard input and output; the configuration
    /// file that the VMM may need is written to `config`.
    pub fn command(&self, subject: &Subject, config: &Path) -> Result<Command> {
        let mut command = Command::new(&subject.program);
        match subject.kind {
            Kind::Bulkhead | Kind::Firecracker => {
                fs::write(config, self.config().to_string())
                    .with_context(|| format!("Cannot write {}", config.display()))?;
                command.arg("--no-api").arg("--config-file").arg(config);
            }
            Kind::QemuMicrovm => {
                command.args("-M microvm,pic=off,pit=off,rtc=on -accel kvm -cpu host".split(' '));
                command.args("-nodefaults -no-user-config -no-reboot -display none -serial stdio".split(' '));
                // Threads are told apart by their names.
                command.args(["-name", "guest,debug-threads=on"]);
                command.args(["-smp", &self.vcpus.to_string(), "-m", &self.memory.to_string()]);
                command.arg("-kernel").arg(&self.kernel).args(["-append", &self.line]);
                command.arg("-initrd").arg(&self.initramfs);
                for drive in &self.drives {
                    // The device of today's drivers, on a thread of its own.
                    let Drive { id, path, read_only, qemu, .. } = drive;
                    let read_only = if *read_only { "on" } else { "off" };
                    let file = path.display();
                    command.args(["-global", "virtio-mmio.force-legacy=false"]);
                    command.args(["-object", &format!("iothread,id=thread-{id}")]);
                    command
                        .arg("-drive")
                        .arg(format!("id={id},file={file},format=raw,if=none,readonly={read_only},{qemu}"));
                    command.args(["-device", &format!("virtio-blk-device,drive={id},iothread=thread-{id}")]);
                }
            }
        }
        Ok(command)
    }
}

/// An initramfs of busybox and its first process's script.
pub fn initramfs(init: &str) -> Result<Vec<u8>> {
    host::ensure(&[host::BUSYBOX])?;
    let busybox = host::find(host::BUSYBOX.program).context("busybox is not installed")?;
    let mut archive = cpio::Archive::default();
    for folder in ["bin", "dev", "sys"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.program(
        "bin/busybox",
        &fs::read(&busybox).with_context(|| format!("Cannot read {}", busybox.display()))?,
    );
    archive.program("init", init.as_bytes());
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_the_same_guest() {
        let guest = Guest {
            kernel: PathBuf::from("/k/vmlinux"),
            initramfs: PathBuf::from("/k/initramfs"),
            line: "console=ttyS0".to_owned(),
            memory: 128,
            vcpus: 2,
            drives: vec![Drive {
                id: "data".to_owned(),
                path: PathBuf::from("/k/disk"),
                read_only: false,
                engine: "Async".to_owned(),
                qemu: "cache=none,aio=native".to_owned(),
            }],
        };
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        let shown = |kind| format!("{:?}", guest.command(&Subject::new("", kind, "vmm"), &config).unwrap());
        let (qemu, firecracker) = (shown(Kind::QemuMicrovm), shown(Kind::Firecracker));
        let written = fs::read_to_string(&config).unwrap();
        for word in ["/k/vmlinux", "/k/initramfs", "console=ttyS0", "128", "2", "/k/disk"] {
            assert!(qemu.contains(word) && written.contains(word), "{word}");
        }
        assert!(firecracker.contains("config.json"));
        assert!(written.contains("Async") && qemu.contains("aio=native"), "{written} {qemu}");
    }
}
