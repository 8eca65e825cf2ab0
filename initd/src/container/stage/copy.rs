//! The process that copies into a container and out of it.
//!
//! It enters the container's mounts (and its users, where it has some), and neither its processes nor its cgroup's
//! view: nobody in there sees it. It loads and runs nothing that is in there. Every path is looked up by `openat2`,
//! with the container's root as its own, and it keeps what it needs to read and write anybody's files there: four
//! capabilities, under the filter that containers have.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use bulkhead_archive::{ArchiveError, Budget, Limits, Reader, Rules, Top, Writer, pack, unpack};
use bulkhead_protocol::copy::{CopyAction, CopyRequest, PathKind, PathStat};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{Gid, ThreadNameSpaceType, Uid};

use super::StageError;
use super::config::Config;
use super::handed::Rest;
use crate::console;
use crate::isolation::capabilities::Sets;
use crate::isolation::seccomp::Program as Filter;
use crate::rootfs::RootfsError;

/// `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`.
const NEEDED: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4;

/// The container's root is this process's own.
const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The most entries of one copy; its bytes are limited by who receives them, and by the container's disk.
const LIMITS: Limits = Limits { bytes: u64::MAX, entries: 16 << 20 };

/// How much is read or written at once.
const CHUNK: usize = 64 << 10;

/// The status of a copy that is not whole.
const FAILED: u8 = 1;

/// A copy that is ready to begin.
pub struct Work {
    input: File,
    output: File,
    errors: File,
    start: Start,
}

enum Start {
    Tell(PathStat),
    Read(Top, String),
    Write(OwnedFd, bool),
}

/// Enters the container and opens what the copy begins with.
pub fn prepare(config: &Config, request: &CopyRequest, mut handed: Rest) -> Result<Work, StageError> {
    let container = handed.next()?;
    let [input, output, errors] = [handed.next()?, handed.next()?, handed.next()?].map(File::from);
    let sets = Sets { bounding: NEEDED, effective: NEEDED, permitted: NEEDED, ..Sets::default() };
    let mut filter = Filter::build(None, &sets)?;
    rustix::process::umask(Mode::empty());
    // Process 1 is spared when memory is short; what it makes is not.
    std::fs::write("/proc/self/oom_score_adj", "0").map_err(RootfsError::step("be like others"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(RootfsError::step("hide from the container"))?;
    let links = open("/proc/self/fd")?;
    let users = if config.own_users { ThreadNameSpaceType::USER } else { ThreadNameSpaceType::empty() };
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), ThreadNameSpaceType::MOUNT | users)
        .map_err(RootfsError::step("enter the container's mounts"))?;
    if config.own_users {
        let become_root = || {
            rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
            rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        };
        become_root().map_err(RootfsError::step("become the container's root"))?;
    }
    sets.bound()?;
    rustix::thread::set_no_new_privs(true).map_err(RootfsError::step("set no_new_privs"))?;
    sets.set()?;
    filter.install()?;
    let root = open("/")?;
    let path = request.path.as_str();
    let start = match request.action {
        CopyAction::Stat => Start::Tell(tell(&root, &links, path, request.follow)?),
        CopyAction::Read => {
            let name = request.name.clone().unwrap_or_else(|| ".".to_owned());
            Start::Read(Top::open(&root, path.as_bytes(), RESOLVE, request.follow)?, name)
        }
        CopyAction::Write => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let folder = look_up(&root, path, flags).map_err(ArchiveError::file("open", path.as_bytes()))?;
            Start::Write(folder, request.owners)
        }
    };
    Ok(Work { input, output, errors, start })
}

fn open(path: &str) -> Result<OwnedFd, RootfsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(RootfsError::path("open", path))
}

fn look_up(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    for _ in 0..64 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
            // A rename elsewhere disturbed it.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// What is at a path, and its path without links.
fn tell(root: &OwnedFd, links: &OwnedFd, path: &str, follow: bool) -> Result<PathStat, ArchiveError> {
    let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let found = match look_up(root, path, OFlags::PATH | last) {
        Err(Errno::NOENT) => return Ok(PathStat { kind: PathKind::Missing, path: String::new() }),
        found => found.map_err(ArchiveError::file("open", path.as_bytes()))?,
    };
    let failed = |error: Errno| ArchiveError::file("look at", path.as_bytes())(error);
    let stat = rustix::fs::fstat(&found).map_err(failed)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => PathKind::File,
        FileType::Directory => PathKind::Folder,
        FileType::Symlink => PathKind::Link,
        _ => PathKind::Other,
    };
    let number = found.as_raw_fd().to_string();
    let real = rustix::fs::readlinkat(links, number, Vec::new()).map_err(failed)?;
    Ok(PathStat { kind, path: real.to_string_lossy().into_owned() })
}

impl Work {
    /// Does it, once whoever asked says so; its exit status is this process's.
    pub fn run(self, control: UnixStream) -> u8 {
        // Its end is how whoever asked knows that the copy has begun.
        drop(control);
        let Self { input, output, mut errors, start } = self;
        let done = match start {
            Start::Tell(stat) => say(output, &stat),
            Start::Read(top, name) => read(output, top, &name),
            Start::Write(folder, owners) => write(input, &folder, owners),
        };
        match done {
            Ok(left_out) => {
                for sentence in left_out {
                    let _ = writeln!(errors, "{sentence}");
                }
                0
            }
            Err(error) => {
                let _ = writeln!(errors, "{}", console::chain(&error));
                FAILED
            }
        }
    }
}

fn say(mut output: File, stat: &PathStat) -> Result<Vec<String>, ArchiveError> {
    let text = serde_json::to_vec(stat).map_err(|error| ArchiveError::Write(error.into()))?;
    output.write_all(&text).map(|()| Vec::new()).map_err(ArchiveError::Write)
}

fn read(output: File, top: Top, name: &str) -> Result<Vec<String>, ArchiveError> {
    let mut writer = Writer::new(BufWriter::with_capacity(CHUNK, output));
    let left_out = pack(&mut writer, top, name.as_bytes(), &mut Budget::new(LIMITS))?;
    writer.finish()?;
    let sentence = || format!("{left_out} of its entries are no files, folders or links, and are left out");
    Ok((left_out > 0).then(sentence).into_iter().collect())
}

fn write(input: File, folder: &OwnedFd, owners: bool) -> Result<Vec<String>, ArchiveError> {
    let mut reader = Reader::new(BufReader::with_capacity(CHUNK, input));
    let rules = Rules { only: None, owners, modes: 0o7777, hard_links: true, limits: LIMITS };
    unpack(&mut reader, folder, &rules)
}
