//! The guests' kernels and initramfs, made by `bulkhead-image kernel` when one of its inputs has changed: Debian's,
//! and beside it the small one, when `cargo xtask kernel` has built it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::kernel::{self, KernelPackage};
use crate::{host, workspace};

/// What `bulkhead-image kernel` writes.
const FILES: [&str; 3] = ["vmlinux", "initramfs", "kernel.json"];

/// Ends the names of the small kernel's files.
const SMALL: &str = "-small";

/// The programs that go into it or make it.
pub const NEEDS: [&str; 2] = ["bulkhead-initd", "bulkhead-image"];

/// Puts kernels and initramfs into `product`, which holds initd and the image builder.
pub fn build(product: &Path) -> Result<()> {
    let deb = KernelPackage::newest()?.fetch()?;
    place(product, "", "--deb", &deb)?;
    match kernel::small()? {
        Some(vmlinux) => place(product, SMALL, "--vmlinux", &vmlinux),
        // One that is not what this checkout describes would be used all the same.
        None => FILES.iter().try_for_each(|name| match fs::remove_file(product.join(beside(name, SMALL))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("Cannot remove {name}{SMALL}"))
            }
            _ => Ok(()),
        }),
    }
}

/// `vmlinux-small`, `initramfs-small`, `kernel-small.json`.
fn beside(name: &str, suffix: &str) -> String {
    match name.split_once('.') {
        Some((stem, ending)) => format!("{stem}{suffix}.{ending}"),
        None => format!("{name}{suffix}"),
    }
}

/// Makes a kernel's files from `source` unless they are there.
fn place(product: &Path, suffix: &str, flag: &str, source: &Path) -> Result<()> {
    let initd = product.join("bulkhead-initd");
    let builder = product.join("bulkhead-image");
    let inputs = inputs(source, &[&initd, &builder])?;
    let stamp = workspace::root()?.join(format!("target/.bulkhead-kernel{suffix}"));
    let lock = File::options()
        .append(true)
        .create(true)
        .open(&stamp)
        .with_context(|| format!("Cannot open {}", stamp.display()))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("Cannot lock the stamp")?;
    let whole = FILES.iter().all(|name| product.join(beside(name, suffix)).is_file());
    if whole && fs::read_to_string(&stamp).is_ok_and(|old| old == inputs) {
        return Ok(());
    }
    eprintln!("xtask: making kernel and initramfs from {}", source.display());
    let temporary = tempfile::Builder::new()
        .prefix(".kernel-")
        .tempdir_in(product)
        .context("Cannot make a temporary folder")?;
    let output = temporary.path().join("output");
    fs::create_dir(&output)?;
    let mut command = Command::new(&builder);
    command.arg("kernel").arg(flag).arg(source).arg("--initd").arg(&initd).arg("--output").arg(&output);
    host::run_quietly(&mut command)?;
    for name in FILES {
        fs::rename(output.join(name), product.join(beside(name, suffix)))
            .with_context(|| format!("bulkhead-image kernel left no {name}"))?;
    }
    fs::write(&stamp, inputs).with_context(|| format!("Cannot write {}", stamp.display()))
}

/// Names every input: the package or kernel by its path, which holds the version, the programs by content.
fn inputs(source: &Path, programs: &[&Path]) -> Result<String> {
    let mut inputs = format!("{}\n", source.display());
    for program in programs {
        let content = fs::read(program).with_context(|| format!("Cannot read {}", program.display()))?;
        inputs.push_str(&hex::encode(Sha256::digest(content)));
        inputs.push('\n');
    }
    Ok(inputs)
}
