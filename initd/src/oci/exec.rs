//! `exec`: another process in a container that runs.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bulkhead_protocol::oci::{NamespaceKind, Process, Spec, Status};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;

use super::arguments::{Flag, Words};
use super::error::OciError;
use super::process::Console;
use super::record::Record;
use super::{Runtime, bundle, check, output, process, signals, start};
use crate::container::spawn::SpawnError;
use crate::container::{SpecError, stage};
use crate::isolation::cgroup::Cgroup;
use crate::rootfs::RootfsError;

/// What `exec` takes.
pub const FLAGS: &[Flag] = &[
    Flag::value("console-socket"),
    Flag::value("cwd"),
    Flag::value("env").short('e'),
    Flag::switch("tty").short('t'),
    Flag::value("user").short('u'),
    Flag::value("additional-gids").short('g'),
    Flag::value("process").short('p'),
    Flag::switch("detach").short('d'),
    Flag::value("pid-file"),
    Flag::value("process-label"),
    Flag::value("apparmor"),
    Flag::switch("no-new-privs"),
    Flag::value("cap").short('c'),
    Flag::value("preserve-fds"),
    Flag::switch("ignore-paused"),
    Flag::switch("no-subreaper"),
];

/// The largest file of `--process`, in bytes.
const MAX_PROCESS: usize = 4 << 20;

/// Runs a process; its status is ours, unless it is left alone.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let Some((id, args)) = words.rest().split_first() else { return Err(OciError::NoId) };
    let (entry, record) = start::find(runtime, id)?;
    match record.status(&entry) {
        Status::Created | Status::Running => {}
        Status::Paused if words.has("ignore-paused") => {}
        status => return Err(start::state_error(&record, status, "entered")),
    }
    let mut spec = entry.spec()?;
    spec.process = asked(&spec, words, args)?;
    for warning in check::process(&mut spec.process)? {
        runtime.log.warn(&warning);
    }
    spec.linux
        .seccomp
        .as_ref()
        .map(crate::isolation::seccomp::Program::exact)
        .transpose()
        .map_err(SpecError::from)?;
    let socket = words.value("console-socket").filter(|path| !path.is_empty());
    let Console { theirs, ours } =
        Console::new(spec.process.terminal, socket.map(Path::new), !words.has("detach"))?;
    let child = enter(&record, spec, theirs, words)?;
    if let Some(path) = words.value("pid-file").filter(|path| !path.is_empty()) {
        output::pid_file(&PathBuf::from(path), child.pid)?;
    }
    if words.has("detach") {
        return Ok(0);
    }
    let failed = |source| OciError::Control { verb: "wait for a process in", id: id.clone(), source };
    signals::wait(child.pid, &child.process, ours.as_ref()).map(|exit| exit.code).map_err(failed)
}

/// The process as the file or the words describe it.
fn asked(spec: &Spec, words: &Words, args: &[String]) -> Result<Process, OciError> {
    let mut process = match words.value("process").filter(|path| !path.is_empty()) {
        Some(path) => bundle::parse::<Process>(path, &bundle::read(Path::new(path), MAX_PROCESS)?)?,
        None => {
            let mut process = Process { args: args.to_vec(), terminal: false, ..spec.process.clone() };
            if let Some(sets) = &mut process.capabilities {
                // CVE-2022-29162: what nobody asked for must not come back with a program's file.
                sets.inheritable.clear();
                sets.ambient.clear();
            }
            process
        }
    };
    process.terminal |= words.has("tty");
    process.no_new_privileges |= words.has("no-new-privs");
    process.env.extend(words.values("env").map(ToOwned::to_owned));
    if let Some(cwd) = words.value("cwd") {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(user) = words.value("user") {
        process.user.username = Some(user.to_owned());
        process.user.additional_gids.clear();
    }
    for gid in words.values("additional-gids").flat_map(|gids| gids.split(',')) {
        let number = gid.parse().map_err(|_| OciError::Number("additional-gids", gid.to_owned()))?;
        process.user.additional_gids.push(number);
    }
    if let Some(profile) = words.value("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = words.value("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    let caps: Vec<_> = words.values("cap").map(ToOwned::to_owned).collect();
    if !caps.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(caps.iter().cloned());
        }
    }
    Ok(process)
}

/// Makes the process, and returns when it is the program.
fn enter(
    record: &Record,
    spec: Spec,
    socket: Option<UnixStream>,
    words: &Words,
) -> Result<process::Child, OciError> {
    let program = process::program()?;
    let gone = || start::state_error(record, Status::Stopped, "entered");
    let pid = Pid::from_raw(record.pid).ok_or_else(gone)?;
    let container = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    if !record.is_alive() {
        return Err(gone());
    }
    let mut namespaces = record.namespaces.clone();
    namespaces.retain(|kind| *kind != NamespaceKind::Pid);
    if namespaces.len() < record.namespaces.len() {
        // For the children of this program; it stays where it is.
        rustix::thread::move_into_thread_name_spaces(container.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .map_err(RootfsError::step("enter the container's process namespace"))
            .map_err(SpecError::from)?;
    }
    let preserve = words.number("preserve-fds")?.unwrap_or(0);
    let config = stage::Config {
        hostname: None,
        own_network: false,
        own_users: namespaces.contains(&NamespaceKind::User),
        world: stage::World::Inside(stage::Inside {
            namespaces,
            console: socket.is_some(),
            preserve,
            state: Some(record.state(Status::Running)),
        }),
        spec,
    };
    let mut handed: Vec<BorrowedFd<'_>> = vec![container.as_fd()];
    handed.extend(socket.as_ref().map(|socket| socket.as_fd()));
    let spawn = |cgroup: &Cgroup| process::spawn(&program, 0, cgroup.open()?.as_fd(), &config, &handed);
    let mut child = match spawn(&record.cgroup()) {
        // The container has divided its group, whose own processes are not ours to add to.
        Err(OciError::Spawn(SpawnError::Clone(_))) => spawn(&Cgroup::of(record.pid)?),
        child => child,
    }?;
    drop(socket);
    let begun = begin(&mut child, &record.id);
    if begun.is_err() {
        process::reap(child.pid);
    }
    begun.map(|()| child)
}

fn begin(child: &mut process::Child, id: &str) -> Result<(), OciError> {
    let failed = |heard| process::failure("run a process in", id, heard, None);
    process::hear(&mut child.control).map_err(failed)?;
    process::say(&mut child.control, id, "run a process in", stage::START)?;
    process::begun(&mut child.control).map_err(failed)
}

#[cfg(test)]
mod tests {
    use bulkhead_protocol::oci::Capabilities;

    use super::super::arguments;
    use super::*;

    fn process(text: &str) -> Process {
        let words = arguments::parse(FLAGS, text.split(' ').map(ToOwned::to_owned).collect(), true).unwrap();
        let all = || vec!["CAP_KILL".to_owned()];
        let mut spec = Spec::default();
        spec.process.capabilities = Some(Capabilities {
            bounding: all(),
            effective: all(),
            inheritable: all(),
            permitted: all(),
            ambient: all(),
        });
        asked(&spec, &words, &words.rest()[1..]).unwrap()
    }

    #[test]
    fn nothing_is_inherited_unless_it_is_asked_for() {
        let sets = process("web sh -c x").capabilities.unwrap();
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
        assert_eq!(sets.permitted, ["CAP_KILL"]);
        let sets = process("--cap CAP_CHOWN web sh").capabilities.unwrap();
        assert_eq!(sets.effective, ["CAP_KILL", "CAP_CHOWN"]);
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
    }

    #[test]
    fn words_change_what_the_container_has() {
        let process = process("-e A=b --cwd /x -u 5:6 -g 7,8 -t web sh -c -t");
        assert_eq!((process.cwd.as_str(), process.terminal), ("/x", true));
        assert_eq!(
            (process.env, process.args),
            (vec!["A=b".to_owned()], ["sh", "-c", "-t"].map(str::to_owned).to_vec())
        );
        assert_eq!(process.user.username.as_deref(), Some("5:6"));
        assert_eq!(process.user.additional_gids, [7, 8]);
    }
}
