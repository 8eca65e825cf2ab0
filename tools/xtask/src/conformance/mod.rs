//! `cargo xtask conformance`: the suite of container runtimes (`tests/runtime`) in the lab, and its table in
//! `initd/CONFORMANCE.md`.

mod exceptions;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::lab::{self, LabArgs};
use crate::workspace;
use table::Table;

/// Ours, as it is called in the table.
pub const OURS: &str = "bulkhead-oci";
/// The others, with where Debian has them.
const PEERS: [(&str, &str); 2] = [("crun", "/usr/bin/crun"), ("runc", "/usr/sbin/runc")];
/// Where the table is.
const TABLE: &str = "initd/CONFORMANCE.md";
/// The report in the folder that comes back.
const REPORT: &str = "conformance.json";

/// Which runtimes, which cases, and what is done with the verdicts.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// Write into the table what was tried; the rest of it stays.
    #[arg(long)]
    write: bool,
    /// Take these verdicts, which `--json` wrote, and try nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ours", "peers", "deaf"])]
    report: Option<PathBuf>,
    /// Try bulkhead-oci alone, and hold it against what the table says of the others.
    #[arg(long, conflicts_with = "peers")]
    ours: bool,
    /// Try crun and runc alone.
    #[arg(long)]
    peers: bool,
    /// Only cases whose name has this in it. May be repeated.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Fail when bulkhead-oci fails what both others pass and `exceptions.list` has no reason for it, or the table is
    /// not true any more.
    #[arg(long)]
    gate: bool,
    /// Tell the runtimes of no change: a case that passes then does not look. A proof of the suite, with crun.
    #[arg(long, conflicts_with_all = ["write", "gate", "ours"])]
    deaf: bool,
    /// Do not show that what has to be refused is accepted without its fault: for a run that is repeated all day.
    #[arg(long, conflicts_with_all = ["write", "deaf"])]
    quick: bool,
    /// How many cases run at a time.
    #[arg(long, value_name = "N", default_value_t = 3)]
    jobs: u8,
    /// A file for the verdicts as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// After how many seconds all of it is ended.
    #[arg(long, value_name = "S", default_value_t = 900)]
    timeout: u64,
}

/// Runs the suite; 0 when every case was tried and the gate, if there is one, holds.
pub fn run(args: &ConformanceArgs) -> Result<u8> {
    let place = workspace::root()?.join(TABLE);
    let tried = match &args.report {
        Some(file) => {
            let text = fs::read(file).with_context(|| format!("Cannot read {}", file.display()))?;
            Ok(serde_json::from_slice(&text).context("Cannot understand the verdicts")?)
        }
        None => try_cases(args)?,
    };
    let report = match tried {
        Ok(report) => report,
        Err(code) => {
            println!("conformance: the suite ended with status {code}");
            return Ok(code);
        }
    };
    if args.deaf {
        return Ok(0);
    }
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("Cannot write {}", file.display()))?;
    }
    let found = Table::from_report(&report)?;
    let known = Table::parse(&fs::read_to_string(&place).unwrap_or_default());
    let whole = args.only.is_empty();
    if args.write {
        fs::write(&place, found.over(&known, whole).text())
            .with_context(|| format!("Cannot write {}", place.display()))?;
        println!("xtask conformance: {TABLE} is written");
    }
    let mut findings = Vec::new();
    if args.gate {
        findings.extend(exceptions::findings(&found.with_peers_of(&known), whole)?);
        if !args.write {
            findings.extend(found.differences(&known, whole));
        }
    }
    findings.iter().for_each(|finding| println!("conformance: {finding}"));
    Ok(u8::from(!findings.is_empty()))
}

/// The verdicts of the suite in the lab, or the status that it ended with instead.
fn try_cases(args: &ConformanceArgs) -> Result<Result<Value, u8>> {
    let temporary = tempfile::tempdir().context("Cannot make a temporary folder")?;
    let suite = temporary.path().join("runtime-suite");
    fs::copy(build_suite()?, &suite).context("Cannot copy the suite")?;
    let out = temporary.path().join("out");
    let mut command = format!("exec ./runtime-suite --jobs {}", args.jobs);
    if !args.peers {
        ensure!(
            workspace::product_dir()?.join(OURS).is_file(),
            "There is no {OURS}; run `cargo xtask build`"
        );
        command.push_str(&format!(" --runtime {OURS}={}/{OURS}", lab::PLACE));
    }
    let peers = PEERS.iter().filter(|(name, _)| !args.ours && (!args.deaf || *name == "crun"));
    command.extend(peers.map(|(name, path)| format!(" --runtime {name}={path}")));
    command.extend(args.deaf.then_some(" --deaf"));
    command.extend(args.quick.then_some(" --quick"));
    command.push_str(&format!(" --json {}/{REPORT} \"$@\"", lab::OUT));
    let mut words: Vec<OsString> = ["sh", "-c", &command, "sh"].map(OsString::from).to_vec();
    words.extend(args.only.iter().flat_map(|part| [OsString::from("--only"), OsString::from(part)]));
    let code = lab::run(&LabArgs {
        icount: false,
        smp: 2,
        memory: 4096,
        timeout: args.timeout,
        carry: vec![suite],
        out: Some(out.clone()),
        with: Vec::new(),
        shell: false,
        in_place: false,
        verbose: false,
        command: words,
    })?;
    if code != 0 {
        return Ok(Err(code));
    }
    let text = fs::read(out.join(REPORT)).context("The suite gave no verdicts")?;
    serde_json::from_slice(&text).map(Ok).context("Cannot understand the suite's verdicts")
}

/// Builds the suite; gives its program.
fn build_suite() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()?).env("CARGO_TARGET_DIR", workspace::target_dir()?);
    cargo.args(["test", "--quiet", "--package", "bulkhead-tests", "--test", "runtime", "--no-run"]);
    cargo.arg("--message-format=json");
    let output =
        cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("Cannot start cargo")?;
    if !output.status.success() {
        bail!("The suite cannot be built: see above");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs =
        messages.filter(|message| message.pointer("/target/name") == Some(&Value::from("runtime")));
    let path =
        programs.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from)).next_back();
    path.filter(|path| Path::new(path).is_file()).context("cargo built no suite")
}
