//! `cp`
//!
//! Where a copy ends up is docker cp's rule: into a folder that is there, by the source's name; otherwise under the
//! target's own name, in a folder that is there; and with `/.` what is in a folder instead of the folder.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write, stdin, stdout};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use bulkhead_archive::{ArchiveError, Budget, Limits, Reader, Rules, Top, Writer, pack, unpack};
use bulkhead_protocol::copy::{PathKind, PathStat};
use clap::Args;
use rustix::fs::{CWD, ResolveFlags};

use super::CliError;
use super::client::{Client, segment};
use super::copy_stream::CopyStream;
use super::run::mebibytes;
use crate::service::chain;
use crate::service::model::{CopyAction, CopySpec};

/// The most entries of a copy.
const MAX_ENTRIES: u64 = 1 << 20;
/// What stands for a tar archive on standard input or output.
const STREAM: &str = "-";

/// Copy files between a machine that runs and here.
#[derive(Debug, Args)]
pub struct Cp {
    /// Keep owners: files get the user and group ids that they have on the other side.
    #[arg(short, long)]
    archive: bool,
    /// Where SOURCE is a symbolic link, copy what it leads to.
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// How much a copy from a machine may be: 512, 512m or 20g; MiB without a unit.
    #[arg(long, value_name = "SIZE", default_value = "10g", value_parser = mebibytes)]
    max_size: u32,
    /// MACHINE:PATH, a path, or - for a tar archive on standard input.
    source: String,
    /// MACHINE:PATH, a path, or - for a tar archive on standard output.
    target: String,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End<'a> {
    Machine(&'a str, &'a str),
    Path(&'a str),
    Stream,
}

impl<'a> End<'a> {
    /// A name before a colon is a machine's; a path that begins with `.` or `/` is one, whatever colons it has.
    fn of(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == STREAM => Self::Stream,
            _ if text.starts_with(['.', '/']) => Self::Path(text),
            Some((machine, path)) if !machine.is_empty() && !machine.contains('/') => {
                Self::Machine(machine, if path.is_empty() { "/" } else { path })
            }
            _ => Self::Path(text),
        }
    }
}

fn wrong(message: impl Into<String>) -> CliError {
    CliError::Copy { message: message.into() }
}

fn failed(error: &ArchiveError) -> CliError {
    wrong(chain(error))
}

/// The last component of a path, and whether the path says that it is a folder's content (`/.`), or a folder (`/`).
fn leaf(path: &str) -> (&str, bool, bool) {
    let content = path == "." || path.ends_with("/.");
    let bare = if content { &path[..path.len() - 1] } else { path };
    let trimmed = bare.trim_end_matches('/');
    let name = trimmed.rsplit('/').next().unwrap_or_default();
    (name, content, content || path.ends_with('/'))
}

/// The path above the last component.
fn parent(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    }
}

/// Where a copy goes: the folder that is there, and the name that the source gets in it; none is what it contains.
fn place<'a>(
    (source, is_folder): (&'a str, bool),
    target: &'a str,
    found: PathKind,
) -> Result<(Option<&'a str>, bool), CliError> {
    let (name, content, _) = leaf(source);
    let (own_name, _, must_be_folder) = leaf(target);
    let into = |name: &'a str| (Some(name).filter(|name| !matches!(*name, "" | "." | "..")), true);
    match found {
        PathKind::Folder if content && is_folder => Ok((None, true)),
        PathKind::Folder => Ok(into(name)),
        PathKind::Missing if must_be_folder && !is_folder => {
            Err(wrong(format!("There is no folder {target}")))
        }
        PathKind::Missing => Ok((Some(own_name), false)),
        _ if is_folder => Err(wrong(format!("A folder cannot replace {target}, which is none"))),
        _ if must_be_folder => Err(wrong(format!("{target} is no folder"))),
        _ => Ok((Some(own_name), false)),
    }
}

impl Cp {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let left_out = match (End::of(&self.source), End::of(&self.target)) {
            (End::Machine(machine, path), End::Stream) => self.print(client, machine, path).await?,
            (End::Machine(machine, path), End::Path(target)) => {
                self.out(client, machine, path, target).await?
            }
            (End::Stream, End::Machine(machine, path)) => self.send_stdin(client, machine, path).await?,
            (End::Path(source), End::Machine(machine, path)) => {
                self.bring(client, source, machine, path).await?
            }
            (End::Machine(..), End::Machine(..)) => {
                return Err(wrong("Copies between two machines go by way of a folder here"));
            }
            _ => return Err(wrong("One of SOURCE and TARGET is MACHINE:PATH")),
        };
        left_out.iter().for_each(|sentence| eprintln!("bulkhead: {sentence}"));
        Ok(0)
    }

    fn limits(&self) -> Limits {
        Limits { bytes: u64::from(self.max_size) << 20, entries: MAX_ENTRIES }
    }

    fn spec(&self, path: &str, action: CopyAction) -> CopySpec {
        CopySpec { path: path.to_owned(), action, name: None, follow: false, owners: self.archive }
    }

    async fn open(&self, client: &Client, machine: &str, spec: &CopySpec) -> Result<CopyStream, CliError> {
        CopyStream::open(client, &format!("/api/v1/machines/{}/copy", segment(machine)), spec).await
    }

    /// What is at a path of the machine.
    async fn stat(
        &self,
        client: &Client,
        machine: &str,
        path: &str,
        follow: bool,
    ) -> Result<PathStat, CliError> {
        let spec = CopySpec { follow, ..self.spec(path, CopyAction::Stat) };
        let mut stream = self.open(client, machine, &spec).await?;
        let mut text = Vec::new();
        let read = (&mut stream).take(64 << 10).read_to_end(&mut text);
        stream.finish()?;
        read.map_err(|error| wrong(format!("Cannot look at {path}: {error}")))?;
        serde_json::from_slice(&text).map_err(|error| wrong(format!("Cannot look at {path}: {error}")))
    }

    /// The source in the machine, and whether it is a folder.
    async fn source(&self, client: &Client, machine: &str, path: &str) -> Result<bool, CliError> {
        let follow = self.follow_link || leaf(path).2;
        match self.stat(client, machine, path, follow).await?.kind {
            PathKind::Folder => Ok(true),
            PathKind::Missing => Err(wrong(format!("There is no {path} in machine {machine}"))),
            _ if leaf(path).2 => Err(wrong(format!("{path} in machine {machine} is no folder"))),
            _ => Ok(false),
        }
    }

    async fn print(&self, client: &Client, machine: &str, path: &str) -> Result<Vec<String>, CliError> {
        if stdout().is_terminal() {
            return Err(wrong("An archive is not for a terminal; redirect it"));
        }
        let (name, content, _) = leaf(path);
        let name = Some(name).filter(|name| !content && !matches!(*name, "" | "." | ".."));
        let mut stream = self.read(client, machine, path, name).await?;
        let copied = io::copy(&mut stream, &mut stdout().lock()).and_then(|_| stdout().flush());
        let left_out = stream.finish()?;
        copied.map_err(CliError::print)?;
        Ok(left_out)
    }

    async fn read(
        &self,
        client: &Client,
        machine: &str,
        path: &str,
        name: Option<&str>,
    ) -> Result<CopyStream, CliError> {
        let spec = CopySpec {
            name: Some(name.unwrap_or(".").to_owned()),
            follow: self.follow_link || leaf(path).2,
            ..self.spec(path, CopyAction::Read)
        };
        self.open(client, machine, &spec).await
    }

    async fn out(
        &self,
        client: &Client,
        machine: &str,
        path: &str,
        target: &str,
    ) -> Result<Vec<String>, CliError> {
        let is_folder = self.source(client, machine, path).await?;
        let (name, inside) = place((path, is_folder), target, kind(target)?)?;
        let folder = if inside { target } else { parent(target) };
        let handle = File::open(folder).map_err(|error| wrong(format!("Cannot open {folder}: {error}")))?;
        let stream = self.read(client, machine, path, name).await?;
        let rules = Rules {
            only: name.map(|name| name.as_bytes().to_vec()),
            owners: self.archive,
            // What comes from a guest gets no privilege here.
            modes: 0o777,
            hard_links: false,
            limits: self.limits(),
        };
        let mut reader = Reader::new(stream);
        let taken = unpack(&mut reader, OwnedFd::from(handle), &rules);
        match taken {
            Ok(mut left_out) => {
                left_out.extend(reader.into_inner().finish()?);
                Ok(left_out)
            }
            // The guest says best what it could not send.
            Err(ArchiveError::Short) => {
                reader.into_inner().finish()?;
                Err(failed(&ArchiveError::Short))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    async fn send_stdin(&self, client: &Client, machine: &str, path: &str) -> Result<Vec<String>, CliError> {
        if stdin().is_terminal() {
            return Err(wrong("Standard input is a terminal, and no archive"));
        }
        let stream = self.open(client, machine, &self.spec(path, CopyAction::Write)).await?;
        let sent = stream.sink().and_then(|mut sink| {
            io::copy(&mut stdin().lock(), &mut sink)?;
            sink.into_inner().map_err(io::IntoInnerError::into_error)?.end()
        });
        // Where the guest takes no more, it says why.
        let left_out = stream.finish()?;
        sent.map_err(|error| wrong(format!("Cannot send the archive: {error}")))?;
        Ok(left_out)
    }

    async fn bring(
        &self,
        client: &Client,
        source: &str,
        machine: &str,
        path: &str,
    ) -> Result<Vec<String>, CliError> {
        let top = Top::open(CWD, source.as_bytes(), ResolveFlags::empty(), self.follow_link);
        let top = top.map_err(|error| failed(&error))?;
        let is_folder = matches!(top, Top::Folder(_));
        let found = self.stat(client, machine, path, true).await?;
        let real = if found.kind == PathKind::Missing { path } else { found.path.as_str() };
        let named = absolute(source);
        let ends = if leaf(path).2 && found.kind == PathKind::Missing { path } else { real };
        let (name, inside) = place((&named, is_folder), ends, found.kind)?;
        let folder = if inside { real } else { parent(real) };
        let name = name.unwrap_or(".").to_owned();
        let stream = self.open(client, machine, &self.spec(folder, CopyAction::Write)).await?;
        let sent = self.send(&stream, top, &name);
        let mut left_out = stream.finish()?;
        let omitted = sent?;
        if omitted > 0 {
            left_out
                .push(format!("{omitted} of its entries are no files, folders or links, and are left out"));
        }
        Ok(left_out)
    }

    fn send(&self, stream: &CopyStream, top: Top, name: &str) -> Result<u64, CliError> {
        let sink = stream.sink().map_err(|error| wrong(format!("Cannot copy: {error}")))?;
        let mut writer = Writer::new(sink);
        let mut budget = Budget::new(Limits { bytes: u64::MAX, entries: u64::MAX });
        let packed = pack(&mut writer, top, name.as_bytes(), &mut budget);
        let omitted = packed.map_err(|error| failed(&error))?;
        let sink = writer.finish().map_err(|error| failed(&error))?;
        let ended = sink.into_inner().map_err(io::IntoInnerError::into_error).and_then(|sink| sink.end());
        ended.map_err(|error| failed(&ArchiveError::Write(error)))?;
        Ok(omitted)
    }
}

/// What is at a path here; links are followed.
fn kind(path: &str) -> Result<PathKind, CliError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(PathKind::Folder),
        Ok(found) if found.is_file() => Ok(PathKind::File),
        Ok(_) => Ok(PathKind::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PathKind::Missing),
        Err(error) => Err(wrong(format!("Cannot look at {path}: {error}"))),
    }
}

/// A source whose last component is no name has its folder's.
fn absolute(source: &str) -> String {
    let (name, content, _) = leaf(source);
    if content || !matches!(name, "" | "." | "..") {
        return source.to_owned();
    }
    let path: PathBuf = std::fs::canonicalize(source).unwrap_or_else(|_| Path::new(source).to_owned());
    String::from_utf8_lossy(&path.into_os_string().into_vec()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_paths_are_told_apart() {
        assert_eq!(End::of("web:/etc"), End::Machine("web", "/etc"));
        assert_eq!(End::of("web:"), End::Machine("web", "/"));
        for path in ["./web:/etc", "/web:x", "web", "a/b:c", ":x"] {
            assert_eq!(End::of(path), End::Path(path));
        }
        assert_eq!(End::of("-"), End::Stream);
    }

    #[test]
    fn copies_end_up_where_docker_s_do() {
        use PathKind::{File, Folder, Missing};
        for (source, is_folder, target, found, expected) in [
            ("/a/f", false, "t", Missing, Some((Some("t"), false))),
            ("/a/f", false, "t/", Missing, None),
            ("/a/f", false, "t", File, Some((Some("t"), false))),
            ("/a/f", false, "t/", File, None),
            ("/a/f", false, "t", Folder, Some((Some("f"), true))),
            ("/a/d", true, "t", Missing, Some((Some("t"), false))),
            ("/a/d", true, "t/", Missing, Some((Some("t"), false))),
            ("/a/d/.", true, "t", Missing, Some((Some("t"), false))),
            ("/a/d", true, "t", File, None),
            ("/a/d", true, "t", Folder, Some((Some("d"), true))),
            ("/a/d/", true, "t/", Folder, Some((Some("d"), true))),
            ("/a/d/.", true, "t", Folder, Some((None, true))),
            ("/", true, "t", Folder, Some((None, true))),
        ] {
            let placed = place((source, is_folder), target, found).ok();
            assert_eq!(placed, expected, "{source} {target} {found:?}");
        }
        assert_eq!((parent("/a/b/"), parent("/a"), parent("a")), ("/a", "/", "."));
    }
}
