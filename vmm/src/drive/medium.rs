//! What a drive's sectors are in.

use super::{Overlay, RawDrive};

/// What a drive's sectors are in.
#[derive(Debug)]
pub enum Medium {
    /// The bytes of a file.
    Raw(RawDrive),
    /// Those of a file, but for what was written since.
    Overlay(Box<Overlay>),
}

impl From<RawDrive> for Medium {
    fn from(raw: RawDrive) -> Medium {
        Medium::Raw(raw)
    }
}

impl From<Overlay> for Medium {
    fn from(overlay: Overlay) -> Medium {
        Medium::Overlay(Box::new(overlay))
    }
}

impl Medium {
    /// The size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Medium::Raw(raw) => raw.size(),
            Medium::Overlay(overlay) => overlay.size(),
        }
    }

    /// The file whose bytes are the sectors, if there is one.
    pub fn raw(&self) -> Option<&RawDrive> {
        match self {
            Medium::Raw(raw) => Some(raw),
            Medium::Overlay(_) => None,
        }
    }

    /// The smallest part that can be given back, in bytes.
    pub fn granularity(&self) -> u64 {
        match self {
            Medium::Raw(_) => 4096,
            Medium::Overlay(overlay) => overlay.cluster_size(),
        }
    }
}
