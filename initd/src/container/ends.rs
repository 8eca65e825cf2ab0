//! What connects a container's first process with process 1.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pipe::PipeFlags;
use tokio::net::UnixStream;

use super::spawn::SpawnError;

/// Both ends of everything.
pub struct Ends {
    /// Process 1's end of the socket on which the two agree.
    pub control: UnixStream,
    /// The process's end of it.
    pub stage: OwnedFd,
    /// The container's standard input.
    pub null: OwnedFd,
    /// Where its output is read.
    pub out_read: OwnedFd,
    /// Where it is written.
    pub out_write: OwnedFd,
    /// Where its errors are read.
    pub err_read: OwnedFd,
    /// Where they are written.
    pub err_write: OwnedFd,
}

impl Ends {
    /// Makes them.
    pub fn make() -> Result<Self, SpawnError> {
        let failed = |what| move |error: io::Error| SpawnError::Descriptor(what, error);
        let pipe = || {
            let ends = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
            ends.map_err(|error| failed("output")(error.into()))
        };
        let (control, stage) = std::os::unix::net::UnixStream::pair().map_err(failed("control"))?;
        control.set_nonblocking(true).map_err(failed("control"))?;
        let control = UnixStream::from_std(control).map_err(failed("control"))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("input")(error.into()))?;
        let ((out_read, out_write), (err_read, err_write)) = (pipe()?, pipe()?);
        Ok(Self { control, stage: stage.into(), null, out_read, out_write, err_read, err_write })
    }

    /// Makes another user of the guest the owner of the output, who may then open /dev/stdout.
    pub fn give_to(&self, (uid, gid): (Uid, Gid)) -> Result<(), SpawnError> {
        [&self.out_write, &self.err_write]
            .into_iter()
            .try_for_each(|pipe| rustix::fs::fchown(pipe, Some(uid), Some(gid)))
            .map_err(|error| SpawnError::Descriptor("output", error.into()))
    }
}
