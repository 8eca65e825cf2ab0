//! `bulkhead-image ls`, `rm` and `gc`: what the store has, and has no more.

use std::fmt::Write as _;
use std::path::PathBuf;

use bulkhead_image::Reference;
use bulkhead_image::store::{Store, StoreError};
use clap::Args;

use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct StoreFlag {
    /// Where images are kept [default: $BULKHEAD_STORE, /var/lib/bulkhead/store for root, ~/.local/share/bulkhead/store]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreFlag {
    pub fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.store.clone().map_or_else(Store::default_path, Ok)?)
    }
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    store: StoreFlag,
}

impl List {
    pub fn execute(&self, json: bool) -> Outcome {
        let images = self.store.open()?.images()?;
        if json {
            return output::print(&(serde_json::to_string(&images)? + "\n"));
        }
        let mut text = String::new();
        for image in images {
            writeln!(text, "{} sha256:{} {} bytes", image.reference, image.digest, image.size)?;
        }
        output::print(&text)
    }
}

#[derive(Debug, Args)]
pub struct Remove {
    /// The reference by which it was pulled
    reference: Reference,
    #[command(flatten)]
    store: StoreFlag,
}

impl Remove {
    pub fn execute(&self, json: bool) -> Outcome {
        let store = self.store.open()?;
        if !store.forget(&self.reference)? {
            return Err(StoreError::NoImage(store.path().to_owned(), self.reference.to_string()).into());
        }
        collected(&store, json)
    }
}

#[derive(Debug, Args)]
pub struct Collect {
    #[command(flatten)]
    store: StoreFlag,
}

impl Collect {
    pub fn execute(&self, json: bool) -> Outcome {
        collected(&self.store.open()?, json)
    }
}

fn collected(store: &Store, json: bool) -> Outcome {
    let collected = store.collect()?;
    if json {
        return output::print(&(serde_json::to_string(&collected)? + "\n"));
    }
    output::print(&format!("{} blobs with {} bytes removed\n", collected.blobs, collected.bytes))
}
