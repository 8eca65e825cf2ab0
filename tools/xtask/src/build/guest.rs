//! The guests' kernel and initramfs, made by `bulkhead-image kernel` when one of its inputs has changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::kernel::KernelPackage;
use crate::{host, workspace};

/// What `bulkhead-image kernel` writes.
const FILES: [&str; 3] = ["vmlinux", "initramfs", "kernel.json"];

/// The programs that go into it or make it.
pub const NEEDS: [&str; 2] = ["bulkhead-initd", "bulkhead-image"];

/// Puts kernel and initramfs into `product`, which holds initd and the image builder.
pub fn build(product: &Path) -> Result<()> {
    let deb = KernelPackage::newest()?.fetch()?;
    let initd = product.join("bulkhead-initd");
    let builder = product.join("bulkhead-image");
    let inputs = inputs(&deb, &[&initd, &builder])?;
    let stamp = stamp()?;
    let lock = File::options()
        .append(true)
        .create(true)
        .open(&stamp)
        .with_context(|| format!("Cannot open {}", stamp.display()))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("Cannot lock the stamp")?;
    let whole = FILES.iter().all(|name| product.join(name).is_file());
    if whole && fs::read_to_string(&stamp).is_ok_and(|old| old == inputs) {
        return Ok(());
    }
    eprintln!("xtask: making kernel and initramfs from {}", deb.file_name().unwrap_or_default().display());
    let temporary = tempfile::Builder::new()
        .prefix(".kernel-")
        .tempdir_in(product)
        .context("Cannot make a temporary folder")?;
    let output = temporary.path().join("output");
    fs::create_dir(&output)?;
    host::run_quietly(
        Command::new(&builder)
            .arg("kernel")
            .arg("--deb")
            .arg(&deb)
            .arg("--initd")
            .arg(&initd)
            .arg("--output")
            .arg(&output),
    )?;
    for name in FILES {
        fs::rename(output.join(name), product.join(name))
            .with_context(|| format!("bulkhead-image kernel left no {name}"))?;
    }
    fs::write(&stamp, inputs).with_context(|| format!("Cannot write {}", stamp.display()))
}

fn stamp() -> Result<PathBuf> {
    Ok(workspace::root()?.join("target/.bulkhead-kernel"))
}

/// Names every input: the package by its file name, which holds the version, the programs by content.
fn inputs(deb: &Path, programs: &[&Path]) -> Result<String> {
    let mut inputs = format!("{}\n", deb.file_name().unwrap_or_default().display());
    for program in programs {
        let content = fs::read(program).with_context(|| format!("Cannot read {}", program.display()))?;
        inputs.push_str(&hex::encode(Sha256::digest(content)));
        inputs.push('\n');
    }
    Ok(inputs)
}
