//! `cargo xtask build`: everything that people run, in `target/bulkhead`.
//!
//! Two static programs (profile `sealed`), the rest dynamic (profile `release`), then the guests' kernel
//! and initramfs. What a failing part leaves unbuilt is named at the end; what could be built is in place.

mod guest;
mod sealed;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde::Deserialize;

use crate::workspace;

/// What to build.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Only what a guest needs: the VMM, initd, kernel and initramfs (and the image builder that makes them).
    #[arg(long)]
    guest_only: bool,
}

/// The triple that is named although it is the host's: only so crt-static leaves build scripts alone.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds and gives 0, or says what is missing.
pub fn run(args: &BuildArgs) -> Result<u8> {
    let product = workspace::product_dir()?;
    fs::create_dir_all(&product).with_context(|| format!("Cannot make {}", product.display()))?;
    let mut failures = Vec::new();

    let programs = ["bulkhead-vmm", "bulkhead-initd"];
    let built = compile(&programs, Some(TRIPLE))?;
    for program in programs {
        let placed = found(&built, program).and_then(|file| sealed::place(file, &product.join(program)));
        failures.extend(placed.err().map(|error| (program, error)));
    }

    // initd is also a container runtime, under another name.
    let linked =
        replace(&product.join("bulkhead-oci"), |to| std::os::unix::fs::symlink("bulkhead-initd", to));
    failures.extend(linked.err().map(|error| ("bulkhead-oci", error)));

    let programs: &[&str] =
        if args.guest_only { &["bulkhead-image"] } else { &["bulkhead-image", "bulkhead", "xtask"] };
    let built = compile(programs, None)?;
    for program in programs {
        let placed = found(&built, program)
            .and_then(|file| replace(&product.join(program), |to| fs::copy(file, to).map(drop)));
        failures.extend(placed.err().map(|error| (*program, error)));
    }

    if failures.iter().any(|(program, _)| guest::NEEDS.contains(program)) {
        failures.push(("initramfs", anyhow!("not made, since it needs what failed")));
    } else {
        failures.extend(guest::build(&product).err().map(|error| ("initramfs", error)));
    }
    for (name, failure) in &failures {
        eprintln!("xtask: {name}: {failure:#}");
    }
    show(&product)?;
    Ok(u8::from(!failures.is_empty()))
}

/// A program that cargo has made.
#[derive(Debug)]
struct Built {
    name: String,
    file: PathBuf,
}

/// The part of cargo's messages that names programs.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// Runs cargo for these packages; static ones when a triple is given. A package that fails is not in the list.
fn compile(packages: &[&str], sealed: Option<&str>) -> Result<Vec<Built>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()?).env("CARGO_TARGET_DIR", workspace::target_dir()?);
    cargo.args(["build", "--quiet", "--keep-going", "--message-format=json-render-diagnostics"]);
    if let Some(triple) = sealed {
        cargo.args(["--profile", "sealed", "--target", triple]);
        // Symbols stay until `sealed::place` has looked at them.
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_PROFILE_SEALED_STRIP", "none");
    } else {
        cargo.arg("--release");
    }
    cargo.args(["--bins"]).args(packages.iter().flat_map(|package| ["--package", package]));
    eprintln!("xtask: building {}", packages.join(" "));
    let output =
        cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("Cannot start cargo")?;
    Ok(programs(&output.stdout))
}

fn programs(messages: &[u8]) -> Vec<Built> {
    let messages =
        messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let artifacts = messages.filter(|message| message.reason == "compiler-artifact");
    artifacts
        .filter_map(|message| Some(Built { name: message.target?.name, file: message.executable? }))
        .collect()
}

fn found<'a>(built: &'a [Built], program: &str) -> Result<&'a Path> {
    let program_built = built.iter().find(|built| built.name == program).map(|built| built.file.as_path());
    program_built.with_context(|| format!("{program} was not built: cargo says why above"))
}

/// Puts a new file in the place of an old one, which may be running.
fn replace(place: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let name = place.file_name().unwrap_or_default().display();
    let new = place.with_file_name(format!(".{name}.{}", std::process::id()));
    let done = write(&new).and_then(|()| fs::rename(&new, place));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done.with_context(|| format!("Cannot write {}", place.display()))
}

fn show(product: &Path) -> Result<()> {
    for name in [
        "bulkhead-vmm",
        "bulkhead-initd",
        "bulkhead-oci",
        "bulkhead-image",
        "bulkhead",
        "xtask",
        "vmlinux",
        "initramfs",
        "vmlinux-small",
        "initramfs-small",
    ] {
        match File::open(product.join(name)) {
            Ok(file) => println!("{:>12} {name}", file.metadata()?.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => println!("{:>12} {name}", "absent"),
            Err(error) => bail!("Cannot open {name}: {error}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_names_the_programs() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"bulkhead"},"executable":"/t/bulkhead"}
{"reason":"build-finished","success":true}"#;
        let built = programs(messages);
        assert_eq!(found(&built, "bulkhead").unwrap(), Path::new("/t/bulkhead"));
        assert!(found(&built, "serde").is_err());
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("program");
        fs::write(&place, "old").unwrap();
        assert!(replace(&place, |new| fs::write(new, "half").and(Err(io::Error::other("full")))).is_err());
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
