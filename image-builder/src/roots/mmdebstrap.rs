//! Runs mmdebstrap, whose tar stream comes through a pipe: no root file system is unpacked here.
//!
//! It is in a process group of its own, so that apt, dpkg and packages' scripts are ended with it. A process in that
//! group, the leash, waits for a line through a pipe: without one, since whoever started it all was killed or
//! interrupted, it ends the group.
//!
//! It checks packages by the signatures of the host's own apt keys. Packages' scripts are run by it, in a
//! chroot, as root or in a user namespace of its own.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{DebianSpec, RootError};
use crate::cancellation::Cancellation;
use crate::oci::layer::{Assembly, LayerError};
use crate::program::{ProgramError, Running};

/// How long it may take in all.
const TIME: Duration = Duration::from_secs(30 * 60);

/// What a shell does to become the program that its arguments name, on a leash. Its standard input is the pipe; $$ is
/// the leader of the group. The leash stays until the leader is gone, or has had its time, and is no part of output.
const LEASH: &str = r#"
exec 3<&0 </dev/null
(
    trap '' HUP INT TERM
    exec >/dev/null 2>&1
    read -r _ <&3 && exit
    kill -s TERM -- -$$
    seconds=0
    while [ $seconds -lt 30 ] && kill -0 $$; do
        sleep 1
        seconds=$((seconds + 1))
    done
    kill -s KILL -- -$$
) &
exec 3<&-
exec "$0" "$@"
"#;

/// The status of a shell that does not find a program.
const NOT_FOUND: i32 = 127;

/// Fills an empty root.
pub(super) fn assemble(
    spec: &DebianSpec,
    assembly: &mut Assembly<'_>,
    time: u64,
    cancellation: &Cancellation,
) -> Result<(), RootError> {
    let failed = |error| match error {
        ProgramError::Start(error) => RootError::Start(error),
        ProgramError::Wait(error) => RootError::Wait(error),
    };
    let mut running = Running::start(command(spec, time), TIME, cancellation).map_err(failed)?;
    let applied = match running.stdout() {
        Some(stdout) => assembly.apply(1, cancellation.stream(stdout)),
        None => Err(LayerError::NoEnd),
    };
    let refused = matches!(applied, Err(LayerError::Entry(..)));
    if refused {
        running.terminate();
    }
    let ended = running.finish().map_err(failed)?;
    cancellation.check().map_err(RootError::Cancelled)?;
    match applied {
        _ if ended.code == Some(NOT_FOUND) => Err(RootError::Start(ErrorKind::NotFound.into())),
        Err(error) if refused => Err(RootError::Layer(error)),
        _ if ended.late => Err(RootError::Late(spec.clone(), TIME.as_secs())),
        _ if !ended.succeeded => Err(RootError::Failed(spec.clone(), ended.reason())),
        applied => applied.map_err(RootError::Layer),
    }
}

/// A program on a leash.
fn leashed(program: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LEASH, program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn command(spec: &DebianSpec, time: u64) -> Command {
    let mode = if rustix::process::geteuid().is_root() { "root" } else { "unshare" };
    let mut command = leashed("mmdebstrap");
    command.args(["--quiet", "--format=tar", "--architectures=amd64"]);
    command.arg(format!("--mode={mode}")).arg(format!("--variant={}", spec.variant));
    if !spec.include.is_empty() {
        command.arg(format!("--include={}", spec.include.join(",")));
    }
    command.args(["--", &spec.suite, "-"]).args(&spec.mirror);
    command.env("SOURCE_DATE_EPOCH", time.to_string()).env("LC_ALL", "C.UTF-8");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_told_apart() {
        let running = Running::start(leashed("bulkhead-no-program"), TIME, &Cancellation::default());
        assert_eq!(running.unwrap().finish().unwrap().code, Some(NOT_FOUND));
    }

    #[test]
    fn a_leash_stays_no_longer_than_what_it_holds() {
        let mut command = leashed("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let running = Running::start(command, Duration::from_millis(10), &Cancellation::default()).unwrap();
        // Its standard error is read to the end: nobody is left who has it.
        assert!(running.finish().unwrap().late);
    }
}
