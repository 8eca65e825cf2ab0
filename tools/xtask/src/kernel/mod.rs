//! The guests' kernels: Debian's, taken as it is ([`debian`]), and `cargo xtask kernel`: a small one, built from
//! Debian's sources ([`source`]) with the options of `small.list` ([`options`]).
//!
//! It takes a quarter of an hour, so what it builds is kept in the user's cache under the name of all that it was
//! made from, and nothing builds it unasked.

mod debian;
mod options;
mod source;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::{host, workspace};
use options::Options;

pub use debian::KernelPackage;

/// The kernel in its folder of the cache, and the configuration that it was built with.
const VMLINUX: &str = "vmlinux";
const CONFIG: &str = "config";

/// How to build the small kernel.
#[derive(Debug, Args)]
pub struct KernelArgs {
    /// How many compilers run at once.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Build even what is in the cache, and fail unless the same bytes come out.
    #[arg(long)]
    again: bool,
}

/// Builds the small kernel unless the cache has it, and tells of every option; 0 when it holds them all.
pub fn run(args: &KernelArgs) -> Result<u8> {
    let options = Options::parse(options::LIST)?;
    host::ensure(&host::KERNEL_TOOLS)?;
    let version = source::newest()?;
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("Cannot make {}", cache.display()))?;
    let folder = cache.join(format!("{version}-{}", recipe()?));
    if args.again || !folder.join(VMLINUX).is_file() {
        let lock = File::create(cache.join("lock")).context("Cannot open the kernel cache's lock")?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("Cannot lock the kernel cache")?;
        build(&cache, &folder, &version, &options, args)?;
    }
    let config = read(&folder.join(CONFIG))?;
    let (report, missing) = options.report(&config);
    print!("{report}");
    let kernel = folder.join(VMLINUX);
    let bytes = fs::read(&kernel).with_context(|| format!("Cannot read {}", kernel.display()))?;
    println!("{} bytes, SHA-256 {}\n{}", bytes.len(), hex::encode(Sha256::digest(&bytes)), kernel.display());
    if missing > 0 {
        bail!("The kernel misses {missing} of its options");
    }
    Ok(0)
}

/// The newest small kernel in the cache that is made as this checkout says, if there is one.
pub fn small() -> Result<Option<PathBuf>> {
    let cache = cache()?;
    if !cache.is_dir() {
        return Ok(None);
    }
    let suffix = format!("-{}", recipe()?);
    let entries = fs::read_dir(&cache).with_context(|| format!("Cannot list {}", cache.display()))?;
    let kernels = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&suffix)));
    let kernels = kernels.map(|folder| folder.join(VMLINUX)).filter(|kernel| kernel.is_file());
    Ok(kernels.max_by_key(|kernel| fs::metadata(kernel).and_then(|data| data.modified()).ok()))
}

fn cache() -> Result<PathBuf> {
    Ok(workspace::cache_dir()?.join("small-kernel"))
}

/// Names what the kernel is made from, its sources apart: the options, how it is built, the compiler, the linker.
fn recipe() -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(options::LIST);
    digest.update(format!("{:?}", source::VARIABLES));
    for program in ["gcc", "ld"] {
        let said = host::output(Command::new(program).arg("--version")).unwrap_or_default();
        digest.update(said.split(|byte| *byte == b'\n').next().unwrap_or_default());
    }
    let digest = hex::encode(digest.finalize());
    Ok(digest.get(..16).unwrap_or(&digest).to_owned())
}

fn build(cache: &Path, folder: &Path, version: &str, options: &Options, args: &KernelArgs) -> Result<()> {
    let known = fs::read(folder.join(VMLINUX)).ok();
    if known.is_some() && !args.again {
        return Ok(());
    }
    let place = tempfile::Builder::new().prefix(".building-").tempdir_in(cache);
    let place = place.context("Cannot make a temporary folder")?;
    eprintln!("xtask: building Linux {version} (a quarter of an hour) in {}", place.path().display());
    let tree = source::unpack(version, place.path())?;
    let config = source::configure(&tree, options)?;
    let (report, missing) = options.report(&config);
    if missing > 0 {
        bail!("{report}These sources cannot give {missing} of the options");
    }
    let kernel = source::compile(&tree, args.jobs)?;
    if let Some(known) = known {
        let same = known == fs::read(&kernel).context("Cannot read what was built")?;
        if !same {
            bail!("The same sources and options gave other bytes than {}", folder.display());
        }
        println!("Built again: the same bytes");
        return Ok(());
    }
    let done = place.path().join("done");
    fs::create_dir(&done).context("Cannot make the kernel's folder")?;
    fs::rename(&kernel, done.join(VMLINUX)).context("Cannot keep the kernel")?;
    fs::write(done.join(CONFIG), config).context("Cannot keep the kernel's configuration")?;
    fs::rename(&done, folder).with_context(|| format!("Cannot keep {}", folder.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("Cannot read {}", path.display()))
}
