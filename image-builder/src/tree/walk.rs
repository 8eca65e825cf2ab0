//! Finds paths in a tree. Symbolic links are followed inside the tree, as a kernel would whose root it is:
//! `..` at the root stays there.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Inode, InodeId, Kind, ROOT, Tree, default_attributes};

/// How many symbolic links one path may lead through, as in Linux.
const MAX_LINKS: usize = 40;

/// How many components a path may have, those of the links on the way included.
const MAX_COMPONENTS: usize = 4096;

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// Too many links.
    #[error("its path leads through more than 40 symbolic links")]
    Loop,
    /// The links make an endless path.
    #[error("its path has more than 4096 components")]
    Long,
    /// A file where a directory must be.
    #[error("{0:?} on its path is not a directory")]
    NotADirectory(String),
    /// Nothing there.
    #[error("{0:?} on its path does not exist")]
    Missing(String),
}

/// Where a path leads: a directory and what it calls the last component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The directory.
    pub directory: InodeId,
    /// How deep it is below the root.
    pub depth: usize,
}

impl Tree {
    /// Follows `components` to a directory, through symbolic links within the tree. Missing directories
    /// are made, if `make` names the layer that makes them.
    pub fn directory(&mut self, components: &[&[u8]], make: Option<u32>) -> Result<Resolved, PathError> {
        let mut todo: Vec<Box<[u8]>> = components.iter().rev().map(|name| Box::from(*name)).collect();
        // The way from the root to where the path has led so far, for `..` in links.
        let mut way = vec![ROOT];
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = todo.pop() {
            steps += 1;
            if steps > MAX_COMPONENTS {
                return Err(PathError::Long);
            }
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    if way.len() > 1 {
                        way.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let here = way.last().copied().unwrap_or(ROOT);
            let Some(entry) = self.child(here, &name) else {
                let Some(layer) = make else { return Err(PathError::Missing(lossy(&name))) };
                let directory =
                    Inode { attributes: default_attributes(), kind: Kind::Directory(BTreeMap::new()) };
                way.push(self.add(here, &name, layer, directory));
                continue;
            };
            match &self.inode(entry.inode).kind {
                Kind::Directory(_) => way.push(entry.inode),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(PathError::Loop);
                    }
                    if target.starts_with(b"/") {
                        way.truncate(1);
                    }
                    todo.extend(target.split(|byte| *byte == b'/').rev().map(Box::from));
                }
                _ => return Err(PathError::NotADirectory(lossy(&name))),
            }
        }
        Ok(Resolved { directory: way.last().copied().unwrap_or(ROOT), depth: way.len() - 1 })
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
