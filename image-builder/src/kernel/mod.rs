//! Takes Debian's kernel package apart: the uncompressed kernel, and an initramfs with `initd` and just
//! the modules that a guest needs, in the order in which to insert them. Or takes a kernel that needs none.

mod bzimage;
pub mod configuration;
mod initramfs;
mod modinfo;
mod package;
mod resolve;
mod vmlinux;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use configuration::Report;

use crate::digest::Sha256;
use crate::output::write_file;

/// What every guest needs. One that the kernel has built in is left out.
pub const REQUIRED_MODULES: &[&str] = &[
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "vsock",
    "vmw_vsock_virtio_transport",
    "erofs",
    "overlay",
    "ext4",
    // The power button.
    "button",
];

/// What some guests need, and insert when they do: left out where the kernel has it built in or not at all.
pub const LATER_MODULES: &[&str] = &[
    // The root of an image that is compressed.
    "squashfs",
];

/// How much of a configuration is read, in bytes.
const MAX_CONFIGURATION: u64 = 16 << 20;

/// The largest `initd` that is taken, in bytes.
const MAX_INITD: u64 = 64 << 20;

/// What to take apart and where to put it.
#[derive(Debug, Clone)]
pub struct KernelSpec {
    /// Where the kernel is taken from.
    pub source: KernelSource,
    /// The `initd` that becomes `/init`.
    pub initd: PathBuf,
    /// The folder for `vmlinux`, `initramfs` and `kernel.json`; made when missing.
    pub output: PathBuf,
    /// Modules besides [`REQUIRED_MODULES`].
    pub extra_modules: Vec<String>,
}

/// Where a kernel is taken from.
#[derive(Debug, Clone)]
pub enum KernelSource {
    /// A Debian package, `linux-image-….deb`.
    Package(PathBuf),
    /// An uncompressed kernel that has everything built in.
    Vmlinux(PathBuf),
}

/// `kernel.json`: what came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelRecord {
    /// The kernel's release, as `uname -r` prints it.
    pub version: String,
    /// The uncompressed kernel, `vmlinux`.
    pub vmlinux: Digested,
    /// The `initramfs`.
    pub initramfs: Digested,
    /// The `initd` in it.
    pub initd: Digested,
    /// Its kernel modules in the order of their insertion.
    pub modules: Vec<ModuleRecord>,
    /// Those that are inserted when something needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<ModuleRecord>,
}

/// The size and the digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digested {
    /// In bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// A kernel module in the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRecord {
    /// Its name, with underscores.
    pub name: String,
    /// The size and the digest of its file.
    #[serde(flatten)]
    pub file: Digested,
}

/// Why a kernel package could not be taken apart.
#[derive(Debug, Error)]
pub enum KernelError {
    /// `dpkg-deb` cannot be run.
    #[error("Cannot start dpkg-deb to read {0}")]
    StartDpkg(PathBuf, #[source] io::Error),
    /// `dpkg-deb` failed.
    #[error("{0} is not a Debian package that dpkg-deb can read: {1}")]
    Dpkg(PathBuf, String),
    /// The package's file archive is damaged.
    #[error("Cannot read the file archive in {0}")]
    Archive(PathBuf, #[source] io::Error),
    /// Something in the package is larger than any kernel has it.
    #[error("{what} in {package} is over the limit of {limit}")]
    TooMuch {
        /// The thing.
        what: String,
        /// The package.
        package: PathBuf,
        /// The limit, with its unit.
        limit: String,
    },
    /// The package holds no kernel, or several.
    #[error("{0} must hold one file boot/vmlinuz-VERSION but holds {1}")]
    NoKernel(PathBuf, usize),
    /// The kernel image is not what the x86 boot protocol describes.
    #[error("The kernel image is not a usable bzImage: {0}")]
    BzImage(&'static str),
    /// The kernel's payload cannot be decompressed.
    #[error("Cannot decompress the kernel's {0} payload")]
    Payload(&'static str, #[source] io::Error),
    /// A module is damaged.
    #[error("The kernel module {0} is not a usable ELF object: {1}")]
    Module(String, &'static str),
    /// A needed module is missing.
    #[error("The kernel has no module {0} (needed by {1}), nor is it built in")]
    MissingModule(String, String),
    /// Modules need one another in a circle.
    #[error("The kernel module {0} depends on itself through its dependencies")]
    Circle(String),
    /// A required feature is missing.
    #[error("The kernel {0} lacks what containers need: {1}")]
    Lacks(String, String),
    /// A configuration cannot be read.
    #[error("Cannot read the kernel's configuration {0}")]
    Configuration(PathBuf, #[source] io::Error),
    /// A package without one.
    #[error("{0} has no file boot/config-VERSION")]
    NoConfiguration(PathBuf),
    /// An uncompressed kernel cannot be read.
    #[error("Cannot read the kernel {0}")]
    Vmlinux(PathBuf, #[source] io::Error),
    /// It is not a kernel for the guest.
    #[error("{0} is not an uncompressed Linux for 64-bit x86 of at most 256 MiB: {1}")]
    NotVmlinux(PathBuf, &'static str),
    /// `initd` cannot be read.
    #[error("Cannot read initd from {0}")]
    Initd(PathBuf, #[source] io::Error),
    /// `initd` is not a program for the guest.
    #[error("{0} is not a 64-bit x86 ELF program of at most 64 MiB")]
    NotInitd(PathBuf),
    /// A result cannot be written.
    #[error("Cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// Takes a kernel's package apart, or a kernel without modules, and writes `vmlinux`, `initramfs` and `kernel.json`. Same input, same bytes.
pub fn take_apart(spec: &KernelSpec) -> Result<KernelRecord, KernelError> {
    let initd = read_initd(&spec.initd)?;
    let Parts { version, vmlinux, modules } = match &spec.source {
        KernelSource::Package(deb) => from_package(deb, &spec.extra_modules)?,
        KernelSource::Vmlinux(file) => {
            let (version, vmlinux) = vmlinux::read(file)?;
            Parts { version, vmlinux, modules: Vec::new() }
        }
    };
    let initramfs = initramfs::write(&initd, &modules);
    let records = |later: bool| {
        let chosen = modules.iter().filter(move |module| module.need.is_some() == later);
        chosen.map(|module| ModuleRecord { name: module.name.clone(), file: digest(&module.body) }).collect()
    };

    let record = KernelRecord {
        version,
        vmlinux: digest(&vmlinux),
        initramfs: digest(&initramfs),
        initd: digest(&initd),
        modules: records(false),
        later: records(true),
    };
    std::fs::create_dir_all(&spec.output).map_err(|error| KernelError::Write(spec.output.clone(), error))?;
    let json = serde_json::to_vec_pretty(&record).unwrap_or_default();
    for (name, bytes) in [("vmlinux", &vmlinux), ("initramfs", &initramfs), ("kernel.json", &json)] {
        let path = spec.output.join(name);
        write_file(&path, bytes).map_err(|error| KernelError::Write(path, error))?;
    }
    Ok(record)
}

/// What a package's kernel has of what containers need.
pub fn report_of_package(deb: &Path) -> Result<Report, KernelError> {
    let text = package::configuration(deb)?.ok_or_else(|| KernelError::NoConfiguration(deb.to_owned()))?;
    Ok(Report::of(&text))
}

/// What a kernel with the configuration in `file` has of it. Of a file 16 MiB are read.
pub fn report_of_configuration(file: &Path) -> Result<Report, KernelError> {
    let failed = |error| KernelError::Configuration(file.to_owned(), error);
    let mut bytes = Vec::new();
    let opened = crate::oci::open_file(file).map_err(failed)?;
    opened.take(MAX_CONFIGURATION).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Report::of(&String::from_utf8_lossy(&bytes)))
}

/// What is taken from a kernel.
struct Parts {
    /// Its release.
    version: String,
    vmlinux: Vec<u8>,
    /// In the order of their insertion.
    modules: Vec<Module>,
}

/// A kernel module for the initramfs.
struct Module {
    name: String,
    body: Vec<u8>,
    /// What it is inserted for, where that is not every start.
    need: Option<&'static str>,
}

fn from_package(deb: &Path, extra: &[String]) -> Result<Parts, KernelError> {
    let survey = package::survey(deb)?;
    if let Some(lacks) = survey.configuration.as_deref().and_then(|text| Report::of(text).lacks()) {
        return Err(KernelError::Lacks(survey.version, lacks));
    }
    let vmlinux = bzimage::uncompress(&survey.vmlinuz)?;
    let wanted = REQUIRED_MODULES.iter().copied().chain(extra.iter().map(String::as_str));
    let mut order = resolve::insertion_order(&survey, wanted)?;
    let mut needs = vec![None; order.len()];
    for need in LATER_MODULES.iter().copied().filter(|need| survey.modules.contains_key(*need)) {
        let all = resolve::insertion_order(&survey, [need].into_iter())?;
        let more: Vec<_> = all.into_iter().filter(|name| !order.contains(name)).collect();
        needs.resize(order.len() + more.len(), Some(need));
        order.extend(more);
    }
    let modules = package::modules(deb, &survey, &order)?;
    let modules =
        modules.into_iter().zip(needs).map(|((name, body), need)| Module { name, body, need }).collect();
    Ok(Parts { version: survey.version, vmlinux, modules })
}

fn read_initd(path: &Path) -> Result<Vec<u8>, KernelError> {
    let failed = |error| KernelError::Initd(path.to_owned(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_INITD + 1).read_to_end(&mut bytes).map_err(failed)?;
    if !is_x86_64(&bytes) || bytes.len() as u64 > MAX_INITD {
        return Err(KernelError::NotInitd(path.to_owned()));
    }
    Ok(bytes)
}

/// ELF header: magic, class 64-bit, little endian; `e_machine` at 18 is `EM_X86_64` (62).
fn is_x86_64(elf: &[u8]) -> bool {
    elf.starts_with(b"\x7fELF\x02\x01") && elf.get(18..20) == Some(&[62, 0])
}

fn digest(bytes: &[u8]) -> Digested {
    Digested { size: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
}
