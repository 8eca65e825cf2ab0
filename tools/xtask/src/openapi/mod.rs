//! `cargo xtask openapi`: the VMM's API in OpenAPI, from the code, and what Firecracker's description says.

mod allowed;
mod compare;
mod schema;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::workspace;

/// What to do with the description.
#[derive(Debug, Args)]
pub struct OpenapiArgs {
    /// Write nothing: fail when `vmm/openapi.yaml` is stale, or differs from Firecracker's description in what
    /// `differences.list` does not give a reason for.
    #[arg(long)]
    check: bool,
}

/// Where Firecracker's description is when the environment does not say: beside the checkout.
const THEIRS: &str = "../shared/firecracker-api.yaml";
/// The environment's word for that place.
const PLACE: &str = "BULKHEAD_FIRECRACKER_API";

/// The first lines of the file.
const HEAD: &str = "# Made by `cargo xtask openapi` from the code of vmm; do not edit.\n";

/// Describes the API, or checks its description.
pub fn run(args: &OpenapiArgs) -> Result<u8> {
    let root = workspace::root()?;
    let place = root.join("vmm/openapi.yaml");
    let document = describe()?;
    let yaml = serde_saphyr::to_string(&document).context("Cannot write YAML")?;
    let text = format!("{HEAD}{yaml}");
    if !args.check {
        fs::write(&place, text).with_context(|| format!("Cannot write {}", place.display()))?;
        return Ok(0);
    }
    let mut findings = Vec::new();
    if fs::read_to_string(&place).unwrap_or_default() != text {
        findings.push("vmm/openapi.yaml is stale: run `cargo xtask openapi`".to_owned());
    }
    let theirs = std::env::var_os(PLACE).map_or_else(|| root.join(THEIRS), PathBuf::from);
    if theirs.exists() {
        let text =
            fs::read_to_string(&theirs).with_context(|| format!("Cannot read {}", theirs.display()))?;
        // YAML 1.2, in which `Off` is a word.
        let options = serde_saphyr::options! { strict_booleans: true };
        let theirs: Value = serde_saphyr::from_str_with_options(&text, options)
            .context("Cannot read Firecracker's description")?;
        findings.extend(allowed::unexplained(&compare::differences(&document, &theirs))?);
    } else {
        println!(
            "xtask openapi: {} is not there: not compared with Firecracker's description ({PLACE} names another place)",
            theirs.display()
        );
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    if findings.is_empty() {
        println!("xtask openapi: nothing found");
    }
    Ok(u8::from(!findings.is_empty()))
}

/// Asks the program itself.
fn describe() -> Result<Value> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()?).env("CARGO_TARGET_DIR", workspace::target_dir()?);
    cargo.args(["run", "--quiet", "--package", "bulkhead-vmm", "--features", "openapi", "--", "--openapi"]);
    let output =
        cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("Cannot start cargo")?;
    if !output.status.success() {
        bail!("The API cannot be described: see above");
    }
    serde_json::from_slice(&output.stdout).context("The description is no JSON")
}
