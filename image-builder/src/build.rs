//! Builds an image: source, layers, file system, manifest, one file.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_protocol::image::{FOOTER_MAGIC, ImageConfig, ImageKind, MAX_MANIFEST, Manifest, VERSION};
use thiserror::Error;

use crate::appliance::{Appliance, ApplianceError, ApplianceOptions};
use crate::digest::Sha256;
use crate::directory::{self, DirectoryError};
use crate::disk::erofs::{self, ErofsError};
use crate::disk::squashfs::{self, SquashfsError};
use crate::disk::{RootFormat, Sink};
use crate::limits::Limits;
use crate::manifest::ManifestError;
use crate::oci::layer::Assembly;
use crate::oci::{self, Image, OciError};
use crate::output::Output;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::roots::RootError;
use crate::sbom::{Inventory, SbomError};
use crate::source::{Source, SourceError};
use crate::store::{Lease, Store, StoreError};
use crate::tree::Bodies;

/// Which bytes a build makes of a source: it is raised when the same source and options give other ones.
pub const BYTES: u32 = 1;

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The time that the file system tells as that of its making, in seconds since 1970.
    pub build_time: u64,
    /// The file system of the root.
    pub format: RootFormat,
    /// How much of an image is taken.
    pub limits: Limits,
    /// Make a whole disk in place of a container root.
    pub appliance: Option<ApplianceOptions>,
    /// The store that has the images which were pulled; where this is none, the default one.
    pub store: Option<PathBuf>,
    /// What the manifest calls the image; the source's own name where this is none.
    pub name: Option<String>,
    /// The digits of a manifest that [`manifest_digest`] told: that one is built, whatever the source's tag has come to
    /// mean since.
    pub manifest: Option<String>,
    /// Is told how far the build is: of an image of layers, [`LAYERS`](crate::progress::LAYERS) as they are stored, and
    /// then [`ROOT`](crate::progress::ROOT).
    pub progress: Option<Arc<dyn Progress>>,
}

/// Why an image cannot be built or read.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The words for the source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// The source, a folder.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The source, a root that is made here.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The source, an image of a store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system.
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    /// The file system, compressed.
    #[error(transparent)]
    Squashfs(#[from] SquashfsError),
    /// What an appliance has besides.
    #[error(transparent)]
    Appliance(#[from] ApplianceError),
    /// The manifest of a built image.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The output.
    #[error("Cannot write the image {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// Builds an image from `source` in one file, `output`, which appears whole or not at all. The same source
/// gives the same bytes.
pub fn build(source: &Source, output: &Path, options: &BuildOptions) -> Result<Manifest, ImageError> {
    build_seen(source, output, options, |_| Ok(()))
}

/// The same, and tells of what software the root consists, from what the image is made of.
pub fn build_with_inventory(
    source: &Source,
    output: &Path,
    options: &BuildOptions,
) -> Result<(Manifest, Inventory), SbomError> {
    let mut inventory = Inventory::default();
    let manifest = build_seen(source, output, options, |assembly| {
        inventory = Inventory::of_assembly(options.name.clone().unwrap_or_else(|| source.name()), assembly)?;
        Ok::<(), SbomError>(())
    })?;
    Ok((manifest, inventory))
}

/// Builds, and shows what the root is made of to `see` before anything is written.
fn build_seen<E: From<ImageError>>(
    source: &Source,
    output: &Path,
    options: &BuildOptions,
    see: impl FnOnce(&Assembly<'_>) -> Result<(), E>,
) -> Result<Manifest, E> {
    let write = |error| ImageError::Write(output.to_owned(), error);
    let limits = &options.limits;
    let folder = crate::output::folder(output);
    let (mut image, config) = opened(source, folder, options)?;
    if let (Some(image), Some(progress)) = (&mut image, &options.progress) {
        image.tell(progress);
    }
    let (appliance, config) = prepared(options, config).map_err(ImageError::from)?;
    let file = Output::begin(output).map_err(write)?;
    let assembly = assemble(image, source, folder, limits, options.build_time)?;
    see(&assembly)?;

    let mut manifest = manifest(options.name.clone().unwrap_or_else(|| source.name()), config);
    let mut sink =
        Sink::new(file.file()).map_err(write)?.until(&limits.cancellation).told(options.progress.clone());
    if let Some(appliance) = &appliance {
        manifest.kind = ImageKind::Appliance;
        manifest.boot_args = Some(appliance.boot_args().to_owned());
        appliance.write_head(&mut sink, &mut manifest).map_err(write)?;
    }
    sink.begin_part().map_err(write)?;
    write_root(&assembly, options, folder, &mut sink)?;
    manifest.parts.insert("root".to_owned(), sink.end_part().map_err(write)?);
    match &appliance {
        Some(appliance) => appliance.write_tail(sink, file.file(), &manifest),
        None => write_footer(sink, &manifest),
    }
    .map_err(write)?;
    file.finish().map_err(write)?;
    Ok(manifest)
}

/// What an appliance has besides its root, and how the image is run.
fn prepared(
    options: &BuildOptions,
    config: ImageConfig,
) -> Result<(Option<Appliance>, ImageConfig), ApplianceError> {
    Ok(match &options.appliance {
        // Whoever runs it by its manifest shall run what it starts by itself.
        Some(wanted) => (Some(Appliance::prepare(wanted, &config)?), wanted.runtime.applied_to(&config)),
        None => (None, config),
    })
}

fn write_root(
    Assembly { tree, bodies, .. }: &Assembly<'_>,
    options: &BuildOptions,
    scratch: &Path,
    sink: &mut Sink<'_>,
) -> Result<(), ImageError> {
    let (time, limits) = (options.build_time, &options.limits);
    match options.format {
        RootFormat::Erofs => erofs::write(tree, bodies, time, limits.data, sink)?,
        RootFormat::Squashfs => squashfs::write(tree, bodies, time, limits, scratch, sink)?,
    }
    Ok(())
}

/// The digits of the digest of the manifest that a source means now, where that is told without reading layers: of an
/// image that was pulled, and of a layout in a folder.
pub fn manifest_digest(source: &Source, options: &BuildOptions) -> Result<Option<String>, ImageError> {
    match source {
        Source::Registry(reference) | Source::Store(reference) => {
            let (store, _lease) = leased(options)?;
            Ok(Some(meant(&store, reference)?))
        }
        _ => Ok(oci::manifest_digest(source, &options.limits)?),
    }
}

/// Opens a source: its image, where it is one, and how to run it.
fn opened(
    source: &Source,
    scratch: &Path,
    options: &BuildOptions,
) -> Result<(Option<Image>, ImageConfig), ImageError> {
    let image = match (source, &options.manifest) {
        (Source::Registry(reference) | Source::Store(reference), manifest) => {
            let (store, _lease) = leased(options)?;
            let digits = manifest.clone().map_or_else(|| meant(&store, reference), Ok)?;
            // Its blobs are open from here on, so that nobody can remove them.
            Some(oci::open_manifest(store.handle()?, store.path(), &digits, &options.limits)?)
        }
        (Source::OciLayout { path, .. }, Some(digits)) => {
            Some(oci::open_manifest(oci::open_folder(path)?, path, digits, &options.limits)?)
        }
        _ => oci::open(source, scratch, &options.limits)?,
    };
    let config = match (&image, source) {
        (Some(image), _) => image.config.clone(),
        (None, Source::Root(root)) => root.config(),
        (None, _) => ImageConfig::default(),
    };
    Ok((image, config))
}

fn assemble<'l>(
    image: Option<Image>,
    source: &Source,
    scratch: &Path,
    limits: &'l Limits,
    time: u64,
) -> Result<Assembly<'l>, ImageError> {
    let bodies = Bodies::new(scratch, limits.data).map_err(OciError::Spill)?;
    let mut assembly = Assembly::new(bodies, limits);
    match (image, source) {
        (Some(image), _) => image.assemble(&mut assembly, limits)?,
        (None, Source::Root(root)) => root.assemble(&mut assembly, time, &limits.cancellation)?,
        (None, _) => directory::assemble(source.path().unwrap_or(Path::new("")), &mut assembly, limits)?,
    }
    assembly.bodies.flush().map_err(OciError::Spill)?;
    Ok(assembly)
}

/// Takes in the root of a source, for whoever wants to look at it. `scratch` is a folder for temporary files
/// without a name.
pub(crate) fn assembled<'l>(
    source: &Source,
    scratch: &Path,
    limits: &'l Limits,
    time: u64,
) -> Result<Assembly<'l>, ImageError> {
    let options = BuildOptions { limits: limits.clone(), ..BuildOptions::default() };
    let (image, _) = opened(source, scratch, &options)?;
    assemble(image, source, scratch, limits, time)
}

/// The store, from which nobody removes anything meanwhile.
fn leased(options: &BuildOptions) -> Result<(Store, Lease), ImageError> {
    let path = options.store.clone().map_or_else(Store::default_path, Ok)?;
    let store = Store::open(&path)?;
    let lease = store.lease()?;
    Ok((store, lease))
}

/// The digits of the manifest that a reference means in a store.
fn meant(store: &Store, reference: &Reference) -> Result<String, StoreError> {
    let image = store.find(reference)?.map(|image| image.manifest);
    image.ok_or_else(|| StoreError::NoImage(store.path().to_owned(), reference.to_string()))
}

fn manifest(name: String, config: ImageConfig) -> Manifest {
    Manifest {
        version: VERSION,
        kind: ImageKind::ContainerRoot,
        name,
        architecture: oci::ARCHITECTURE.to_owned(),
        config,
        parts: BTreeMap::new(),
        boot_args: None,
    }
}

fn write_footer(mut sink: Sink<'_>, manifest: &Manifest) -> io::Result<()> {
    sink.align()?;
    let offset = sink.position();
    let json = serde_json::to_vec(manifest).map_err(io::Error::other)?;
    if json.len() as u64 > MAX_MANIFEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "The manifest is larger than 1 MiB"));
    }
    sink.write_all(&json)?;
    sink.align()?;
    sink.write_all(FOOTER_MAGIC)?;
    sink.write_all(&offset.to_le_bytes())?;
    sink.write_all(&(json.len() as u64).to_le_bytes())?;
    sink.write_all(&Sha256::digest(&json))?;
    sink.align()?;
    sink.flush()
}
