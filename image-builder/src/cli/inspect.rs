//! `bulkhead-image inspect`: what an image says of itself; of a built one, what is in its root too.

use std::fmt::Write as _;
use std::path::Path;

use bulkhead_image::Source;
use bulkhead_image::limits::Limits;
use bulkhead_image::oci::{self, ImageSummary};
use bulkhead_image::root_reader::{RootInode, RootReadError, RootReader, SYMLINK};
use bulkhead_image::store::Quiet;
use clap::Args;

use super::registry::RegistryFlags;
use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Inspect {
    /// A built image, or one of layers: docker://REF of a registry, of which no layer is fetched, store:REF that was
    /// pulled, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF]
    image: String,
    /// Hold every part of a built image against its digest too
    #[arg(long)]
    verify: bool,
    /// List what is in a built image's root: mode, owner, size, path and a link's target, with names escaped
    #[arg(long, conflicts_with = "json")]
    files: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Inspect {
    pub fn execute(self, json: bool) -> Outcome {
        let path = Path::new(&self.image);
        match self.image.parse() {
            // What is there under this name is a file, whatever its name begins with.
            Ok(source) if !path.exists() => self.layered(&source, json),
            _ => self.built(path, json),
        }
    }

    /// An image of layers.
    fn layered(&self, source: &Source, json: bool) -> Outcome {
        if self.verify || self.files {
            return Err("--verify and --files are for built images".into());
        }
        let limits = Limits::default();
        let publication = match source {
            Source::Registry(reference) => {
                let looked = self.registry.store()?.look(&self.registry.registry()?, reference, &Quiet)?;
                return output::summary(&looked, json);
            }
            Source::Store(reference) => self.registry.store()?.publication(reference)?,
            source => {
                let opened = oci::publication(source, &std::env::temp_dir(), &limits)?;
                opened.ok_or("Only a built image can be inspected, or one of layers")?
            }
        };
        output::summary(&ImageSummary::of(&publication, &limits)?, json)
    }

    fn built(&self, path: &Path, json: bool) -> Outcome {
        let manifest = bulkhead_image::read_manifest(path)?;
        if self.verify {
            bulkhead_image::verify(path, &manifest)?;
        }
        if !self.files {
            return output::manifest(&manifest, json);
        }
        let root = manifest.parts.get("root").ok_or("The image has no root")?;
        let reader = RootReader::open(std::fs::File::open(path)?, root.offset, root.size)?;
        let mut lines = String::new();
        reader.walk(&Limits::default(), |path, inode| {
            line(&reader, &mut lines, path, inode)?;
            match lines.len() > 64 << 10 {
                true => output::print(&std::mem::take(&mut lines)),
                false => Ok::<(), Stop>(()),
            }
        })?;
        output::print(&lines)
    }
}

/// Whatever ends a list early.
type Stop = Box<dyn std::error::Error>;

fn line(reader: &RootReader, out: &mut String, path: &[u8], inode: &RootInode) -> Result<(), Stop> {
    const KINDS: [char; 16] =
        ['?', 'p', 'c', '?', 'd', '?', 'b', '?', '-', '?', 'l', '?', 's', '?', '?', '?'];
    let kind = KINDS[usize::from(inode.mode >> 12)];
    let permissions = inode.mode & 0o7777;
    write!(
        out,
        "{kind} {permissions:04o} {}:{} {} /{}",
        inode.uid,
        inode.gid,
        inode.size,
        path.escape_ascii()
    )?;
    if inode.is(SYMLINK) {
        let target = reader.content(inode, 4096)?.ok_or(RootReadError::Damaged("a link is too long"))?;
        write!(out, " -> {}", target.escape_ascii())?;
    }
    out.push('\n');
    Ok(())
}
