//! Reads the files of a Debian package through `dpkg-deb --fsys-tarfile`. Nothing is unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::KernelError;
use super::modinfo::{self, ModInfo, normal};

const MAX_ENTRIES: usize = 100_000;
const MAX_VMLINUZ: u64 = 256 << 20;
const MAX_MODULE: u64 = 64 << 20;
const MAX_LIST: u64 = 16 << 20;
/// In KiB.
const MAX_XZ_MEMORY: u32 = 64 << 10;

/// How the name of a configuration begins.
const CONFIGURATION: &str = "boot/config-";

/// What is in a kernel package.
#[derive(Debug)]
pub(super) struct Survey {
    /// The kernel's release.
    pub version: String,
    /// The kernel as it is in the package.
    pub vmlinuz: Vec<u8>,
    /// Every module by its name.
    pub modules: BTreeMap<String, Module>,
    /// The names of what would be modules, were it not built in.
    pub built_in: BTreeSet<String>,
    /// The kernel's configuration, where the package has it.
    pub configuration: Option<String>,
}

/// A module in a package.
#[derive(Debug)]
pub(super) struct Module {
    /// Its path in the package.
    pub path: String,
    /// What it says of itself.
    pub info: ModInfo,
}

/// Reads a package once, for everything but the modules' bodies.
pub(super) fn survey(deb: &Path) -> Result<Survey, KernelError> {
    let mut kernels: Vec<(String, Vec<u8>)> = Vec::new();
    let (mut modules, mut built_in, mut configuration) = (BTreeMap::new(), BTreeSet::new(), None);
    each_file(deb, |path, body| {
        if let Some(version) = path.strip_prefix("boot/vmlinuz-") {
            kernels.push((version.to_owned(), body.read(MAX_VMLINUZ)?));
        } else if path.starts_with(CONFIGURATION) {
            configuration = Some(String::from_utf8_lossy(&body.read(MAX_LIST)?).into_owned());
        } else if module_name(path).is_some() {
            let info = modinfo::read(path, &unpacked(path, body.read(MAX_MODULE)?)?)?;
            modules.insert(info.name.clone(), Module { path: path.to_owned(), info });
        } else if path.starts_with("lib/modules/") && path.ends_with("/modules.builtin") {
            let list = body.read(MAX_LIST)?;
            built_in = String::from_utf8_lossy(&list).lines().filter_map(module_name).collect();
        }
        Ok(())
    })?;
    match <[_; 1]>::try_from(kernels) {
        Ok([(version, vmlinuz)]) => Ok(Survey { version, vmlinuz, modules, built_in, configuration }),
        Err(kernels) => Err(KernelError::NoKernel(deb.to_owned(), kernels.len())),
    }
}

/// Reads a package for nothing but its kernel's configuration.
pub(super) fn configuration(deb: &Path) -> Result<Option<String>, KernelError> {
    let mut configuration = None;
    each_file(deb, |path, body| {
        if path.starts_with(CONFIGURATION) {
            configuration = Some(String::from_utf8_lossy(&body.read(MAX_LIST)?).into_owned());
        }
        Ok(())
    })?;
    Ok(configuration)
}

/// Reads a package again for the bodies of the modules `order`, and returns them in that order.
pub(super) fn modules(
    deb: &Path,
    survey: &Survey,
    order: &[String],
) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
    let mut bodies = BTreeMap::new();
    each_file(deb, |path, body| {
        let found =
            order.iter().find(|name| survey.modules.get(*name).is_some_and(|module| module.path == path));
        if let Some(name) = found {
            bodies.insert(name.clone(), unpacked(path, body.read(MAX_MODULE)?)?);
        }
        Ok(())
    })?;
    let body = |name: &String| match bodies.remove(name) {
        Some(body) => Ok((name.clone(), body)),
        None => Err(KernelError::MissingModule(name.clone(), "the second reading of the package".to_owned())),
    };
    order.iter().map(body).collect()
}

/// The name of the module in a file of that path, if it is one.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(normal(stem))
}

/// The module in a file, which newer kernels compress.
fn unpacked(path: &str, body: Vec<u8>) -> Result<Vec<u8>, KernelError> {
    if !path.ends_with(".xz") {
        return Ok(body);
    }
    let mut module = Vec::new();
    let mut reader =
        lzma_rust2::XzReader::new_mem_limit(&body[..], false, MAX_XZ_MEMORY).take(MAX_MODULE + 1);
    match reader.read_to_end(&mut module) {
        Ok(size) if size as u64 <= MAX_MODULE => Ok(module),
        Ok(_) => Err(KernelError::Module(path.to_owned(), "it is larger than 64 MiB uncompressed")),
        Err(_) => Err(KernelError::Module(path.to_owned(), "it cannot be decompressed")),
    }
}

/// The body of one file of the package.
struct Body<'a> {
    reader: &'a mut dyn Read,
    path: &'a str,
    deb: &'a Path,
}

impl Body<'_> {
    fn read(self, limit: u64) -> Result<Vec<u8>, KernelError> {
        let mut bytes = Vec::new();
        let read = self.reader.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| KernelError::Archive(self.deb.to_owned(), error))?;
        if bytes.len() as u64 > limit {
            return Err(KernelError::TooMuch {
                what: self.path.to_owned(),
                package: self.deb.to_owned(),
                limit: format!("{} MiB", limit >> 20),
            });
        }
        Ok(bytes)
    }
}

/// Ends the program on every path out of the function.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn each_file(
    deb: &Path,
    mut visit: impl FnMut(&str, Body<'_>) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb.canonicalize().map_err(|error| KernelError::Archive(deb.to_owned(), error))?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| KernelError::StartDpkg(deb.to_owned(), error))?;
    let mut running = Running(child);
    let mut result = Ok(());
    if let Some(stdout) = running.0.stdout.take() {
        let mut reader = io::BufReader::new(stdout);
        result = each_entry(deb, &mut reader, &mut visit);
        // Read to the end, so that dpkg-deb ends by itself and tells whether all was well.
        let _ = io::copy(&mut reader, &mut io::sink());
    }
    // What dpkg-deb says explains a damaged archive better than the archive's own error.
    let mut said = String::new();
    if let Some(stderr) = running.0.stderr.take() {
        let _ = stderr.take(1024).read_to_string(&mut said);
    }
    let status = running.0.wait().map_err(|error| KernelError::StartDpkg(deb.to_owned(), error))?;
    if !status.success() {
        return Err(KernelError::Dpkg(deb.to_owned(), said.lines().next().unwrap_or("it failed").to_owned()));
    }
    result
}

fn each_entry(
    deb: &Path,
    reader: impl Read,
    visit: &mut impl FnMut(&str, Body<'_>) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let failed = |error| KernelError::Archive(deb.to_owned(), error);
    let mut archive = tar::Archive::new(reader);
    for (index, entry) in archive.entries().map_err(failed)?.enumerate() {
        if index >= MAX_ENTRIES {
            return Err(KernelError::TooMuch {
                what: "The number of files".to_owned(),
                package: deb.to_owned(),
                limit: MAX_ENTRIES.to_string(),
            });
        }
        let mut entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        visit(&path, Body { reader: &mut entry, path: &path, deb })?;
    }
    Ok(())
}
