//! `bulkhead-image inspect`: what a built image says of itself, and what is in its root.

use std::fmt::Write as _;
use std::path::PathBuf;

use bulkhead_image::limits::Limits;
use bulkhead_image::root_reader::{RootInode, RootReadError, RootReader, SYMLINK};
use clap::Args;

use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Inspect {
    /// The image
    file: PathBuf,
    /// Hold every part against its digest too
    #[arg(long)]
    verify: bool,
    /// List what is in its root: mode, owner, size, path and a link's target, with names escaped
    #[arg(long, conflicts_with = "json")]
    files: bool,
}

impl Inspect {
    pub fn execute(self, json: bool) -> Outcome {
        let manifest = bulkhead_image::read_manifest(&self.file)?;
        if self.verify {
            bulkhead_image::verify(&self.file, &manifest)?;
        }
        if !self.files {
            return output::manifest(&manifest, json);
        }
        let root = manifest.parts.get("root").ok_or("The image has no root")?;
        let reader = RootReader::open(std::fs::File::open(&self.file)?, root.offset, root.size)?;
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
