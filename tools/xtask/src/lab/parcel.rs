//! What goes into the lab: one tar with everything that was built, what `--carry` names, this program and
//! the job; and what comes out of it: the tar of `/out`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// Where the parcel is unpacked.
pub const PLACE: &str = "/bulkhead";
/// The folder whose content comes back with `--out`.
pub const OUT: &str = "/out";
/// This program, inside the parcel.
pub const AGENT: &str = ".lab/xtask";
/// The [`Job`], inside the parcel.
pub const JOB: &str = ".lab/job.json";

/// What the agent is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Variables beside those the lab sets itself.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the command gets the terminal instead of pipes.
    pub shell: bool,
    /// Whether `/out` is sent back.
    pub out: bool,
}

impl Job {
    /// The job that the arguments ask for.
    pub fn new(args: &super::LabArgs) -> Self {
        let mut command = args.command.clone();
        if command.is_empty() {
            command = ["/bin/bash", "-l"].map(OsString::from).to_vec();
        }
        let kept = ["TERM", "RUST_BACKTRACE", "RUST_LOG", "COLUMNS", "LINES"];
        let environment =
            kept.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        Self { command, environment: environment.collect(), shell: args.shell, out: args.out.is_some() }
    }
}

/// Writes the parcel, padded to whole sectors so that it can be a disk.
pub fn write(file: &File, job: &Job, carry: &[PathBuf]) -> Result<()> {
    let mut tar = tar::Builder::new(file);
    tar.follow_symlinks(false);
    tar.sparse(false);
    let product = workspace::product_dir()?;
    if product.is_dir() {
        for entry in fs::read_dir(&product).with_context(|| format!("Cannot list {}", product.display()))? {
            let entry = entry?;
            // Hidden: not finished.
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                add(&mut tar, &entry.path())?;
            }
        }
    }
    for path in carry {
        add(&mut tar, path)?;
    }
    let agent = std::env::current_exe().context("Cannot find this program")?;
    tar.append_path_with_name(&agent, AGENT).context("Cannot pack the lab's agent")?;
    let job = serde_json::to_vec(job).context("Cannot write the job down")?;
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(u64::try_from(job.len())?);
    tar.append_data(&mut header, JOB, job.as_slice()).context("Cannot pack the job")?;
    let mut file = tar.into_inner().context("Cannot end the parcel")?;
    let length = file.metadata()?.len();
    file.write_all(&vec![0; usize::try_from(length.next_multiple_of(4096) - length)?])?;
    Ok(())
}

fn add(tar: &mut tar::Builder<&File>, path: &Path) -> Result<()> {
    let found = fs::canonicalize(path).with_context(|| format!("Cannot carry {}", path.display()))?;
    // The name as it was given: a link is carried as the file it stands for.
    let name = path.file_name().or(found.file_name());
    let Some(name) = name else { bail!("Cannot carry {}: it has no name", path.display()) };
    if found.is_dir() { tar.append_dir_all(name, &found) } else { tar.append_path_with_name(&found, name) }
        .with_context(|| format!("Cannot carry {}", path.display()))
}

/// Unpacks the tar of `/out` into a folder, which is made.
pub fn unpack_out(tar: impl Read, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("Cannot make {}", folder.display()))?;
    let mut archive = tar::Archive::new(tar);
    archive.set_preserve_permissions(true);
    archive.unpack(folder).with_context(|| format!("Cannot unpack the lab's {OUT} into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_its_arguments() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"a b'\"$\n\xff".to_vec());
        let job = Job { command: vec![odd.clone()], environment: Vec::new(), shell: false, out: true };
        let text = serde_json::to_vec(&job).unwrap();
        assert_eq!(serde_json::from_slice::<Job>(&text).unwrap().command, vec![odd]);
    }

    #[test]
    fn a_parcel_is_whole_sectors_and_names_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"x").unwrap();
        let job = Job { command: Vec::new(), environment: Vec::new(), shell: false, out: false };
        let file = tempfile::tempfile().unwrap();
        write(&file, &job, &[folder.path().join("file")]).unwrap();
        assert_eq!(file.metadata().unwrap().len() % 4096, 0);
        let error = write(&file, &job, &[folder.path().join("absent")]).unwrap_err();
        assert!(format!("{error:#}").contains("absent"), "{error:#}");
    }
}
