//! Roots that are made here and not read from an image: Debian's busybox, and a Debian that mmdebstrap puts
//! together.
//!
//! In a source these are `root:busybox[:FILE]` and `root:debian:SUITE[?...]`. `bulkhead-image build` takes them
//! without `root:` too; where references of registries are understood, `busybox` and `debian:12` are those.

mod busybox;
mod debian;
mod mmdebstrap;

use std::io;
use std::path::PathBuf;

use bulkhead_protocol::image::ImageConfig;
use thiserror::Error;

use crate::cancellation::{Cancellation, Cancelled};
use crate::oci::layer::{Assembly, LayerError};
use crate::tree::{PathError, StoreError};

pub use busybox::BUSYBOX;
pub use debian::{DebianSpec, DebianSpecError};

/// Why a root cannot be made.
#[derive(Debug, Error)]
pub enum RootError {
    /// The program.
    #[error("Cannot read busybox from {0}")]
    Busybox(PathBuf, #[source] io::Error),
    /// A program that cannot be all there is in a root.
    #[error("{0} cannot be the only program of a root: {1}")]
    NotUsable(PathBuf, &'static str),
    /// The tree.
    #[error("Cannot put {0:?} into the root")]
    Place(String, #[source] PathError),
    /// The content of a file.
    #[error("Cannot take busybox into the root")]
    Store(#[source] StoreError),
    /// mmdebstrap cannot be started.
    #[error("Cannot start mmdebstrap, which makes Debian roots (Debian's package mmdebstrap)")]
    Start(#[source] io::Error),
    /// It cannot be waited for.
    #[error("Cannot wait for mmdebstrap")]
    Wait(#[source] io::Error),
    /// It failed.
    #[error("mmdebstrap cannot make {0}: {1}")]
    Failed(DebianSpec, String),
    /// It does not end.
    #[error("mmdebstrap took longer than {1} seconds for {0} and was ended")]
    Late(DebianSpec, u64),
    /// Nobody waits for it any more.
    #[error("mmdebstrap was ended")]
    Cancelled(#[source] Cancelled),
    /// What it wrote cannot be taken.
    #[error("Cannot take the root that mmdebstrap made")]
    Layer(#[source] LayerError),
}

/// A root that is made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSpec {
    /// Busybox and links for its applets.
    Busybox(PathBuf),
    /// A Debian.
    Debian(DebianSpec),
}

impl RootSpec {
    /// What it runs unless something else is asked for.
    pub fn config(&self) -> ImageConfig {
        let shell = match self {
            Self::Busybox(_) => "sh",
            Self::Debian(_) => "bash",
        };
        ImageConfig { cmd: vec![shell.to_owned()], ..ImageConfig::default() }
    }

    /// Makes it. `time` is what its files tell as the time of their last change, in seconds since 1970.
    pub fn assemble(
        &self,
        assembly: &mut Assembly<'_>,
        time: u64,
        cancellation: &Cancellation,
    ) -> Result<(), RootError> {
        match self {
            Self::Busybox(program) => busybox::assemble(program, assembly, time),
            Self::Debian(spec) => mmdebstrap::assemble(spec, assembly, time, cancellation),
        }
    }
}
