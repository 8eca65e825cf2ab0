//! What commands print.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use bulkhead_image::oci::ImageSummary;
use bulkhead_protocol::image::{ImageConfig, Manifest};

use super::Outcome;

/// Prints a manifest.
pub fn manifest(manifest: &Manifest, json: bool) -> Outcome {
    let text = if json { serde_json::to_string(manifest)? + "\n" } else { describe(manifest)? };
    print(&text)
}

/// Prints; whoever stopped reading has seen enough.
pub fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A manifest for people.
fn describe(manifest: &Manifest) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    let kind = serde_json::to_value(manifest.kind)?;
    writeln!(out, "{:<13} {:?}", "name", manifest.name)?;
    writeln!(out, "{:<13} {}", "kind", kind.as_str().unwrap_or_default())?;
    writeln!(out, "{:<13} {}", "architecture", manifest.architecture)?;
    describe_config(&mut out, &manifest.config)?;
    if let Some(boot_args) = &manifest.boot_args {
        writeln!(out, "{:<13} {boot_args:?}", "boot args")?;
    }
    for (name, part) in &manifest.parts {
        writeln!(
            out,
            "{:<13} {name}: {} bytes at {}, sha256 {}",
            "part", part.size, part.offset, part.sha256
        )?;
    }
    Ok(out)
}

/// How an image is run. Its words are quoted: they may hold anything, control characters included.
fn describe_config(out: &mut String, config: &ImageConfig) -> fmt::Result {
    let words = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
    for (name, text) in [
        ("entrypoint", words(&config.entrypoint)),
        ("cmd", words(&config.cmd)),
        ("env", words(&config.env)),
        ("working dir", words(std::slice::from_ref(&config.working_dir))),
        ("user", words(std::slice::from_ref(&config.user))),
        ("ports", words(&config.exposed_ports)),
        ("volumes", words(&config.volumes)),
        ("stop signal", words(std::slice::from_ref(&config.stop_signal))),
    ] {
        if !matches!(text.as_str(), "" | "\"\"") {
            writeln!(out, "{name:<13} {text}")?;
        }
    }
    config.labels.iter().try_for_each(|(name, value)| writeln!(out, "{:<13} {name:?} {value:?}", "label"))
}

/// Prints what an image's documents say of it.
pub fn summary(summary: &ImageSummary, json: bool) -> Outcome {
    if json {
        return print(&(serde_json::to_string(summary)? + "\n"));
    }
    let mut out = String::new();
    writeln!(out, "{:<13} {}", "digest", summary.digest)?;
    writeln!(out, "{:<13} {}", "architecture", summary.architecture)?;
    describe_config(&mut out, &summary.config)?;
    for layer in &summary.layers {
        let media_type = layer.media_type.as_deref().unwrap_or_default();
        writeln!(out, "{:<13} {} {} bytes {media_type:?}", "layer", layer.digest, layer.size)?;
    }
    print(&out)
}
