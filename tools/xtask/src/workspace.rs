//! Where things lie: the checkout, what was built, the user's cache.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the checkout that `cargo xtask` was called in.
pub fn root() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.ancestors().nth(2).map(Path::to_path_buf);
    root.with_context(|| format!("Cannot find the workspace above {}", manifest.display()))
}

/// `target/bulkhead`: everything that is built, in one place.
pub fn product_dir() -> Result<PathBuf> {
    Ok(root()?.join("target/bulkhead"))
}

/// Cargo's folder for intermediates: `$CARGO_TARGET_DIR` or `target`.
pub fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(env::current_dir().context("Cannot find the current folder")?.join(dir)),
        None => Ok(root()?.join("target")),
    }
}

/// `$XDG_CACHE_HOME/bulkhead` or `~/.cache/bulkhead`: what outlives a clone.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("bulkhead"))
}
