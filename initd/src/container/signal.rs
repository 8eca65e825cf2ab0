//! Signals for a container.
#![allow(unsafe_code, reason = "rustix takes real-time signals by an unchecked conversion alone")]

use bulkhead_protocol::agent::{ContainerState, SignalRequest};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::{Container, ContainerError};

impl Container {
    /// Sends a signal to the container's first process, or to all its processes.
    pub fn signal(&self, request: &SignalRequest) -> Result<(), ContainerError> {
        let signal = signal_of(request.signal).ok_or(ContainerError::NoSignal(request.signal))?;
        if self.status.borrow().state != ContainerState::Running {
            return Err(self.state_error("signalled"));
        }
        if request.all && signal == Signal::KILL {
            return self
                .cgroup
                .kill()
                .map_err(|source| ContainerError::Cgroup { id: self.id.clone(), source });
        }
        let sent = if request.all {
            self.signal_all(signal)
        } else {
            rustix::process::pidfd_send_signal(&self.process, signal)
        };
        match sent {
            Ok(()) => Ok(()),
            // It has ended, and the reaper is about to say so.
            Err(Errno::SRCH) => Err(self.state_error("signalled")),
            Err(error) => Err(ContainerError::Signal {
                id: self.id.clone(),
                signal: request.signal,
                source: error.into(),
            }),
        }
    }

    fn signal_all(&self, signal: Signal) -> Result<(), Errno> {
        for pid in self.cgroup.processes().into_iter().filter_map(Pid::from_raw) {
            match rustix::process::kill_process(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The signal of that number, if there is one.
pub fn signal_of(number: i32) -> Option<Signal> {
    // SAFETY: the kernel has signals 1 to 64. It is only sent, to a process that does not share our C
    // library, whose reserved signals are thus not touched.
    (1..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_64_signals() {
        assert_eq!(signal_of(15), Some(Signal::TERM));
        assert_eq!(signal_of(64).map(Signal::as_raw), Some(64));
        assert!([0, -1, 65, i32::MAX].into_iter().all(|number| signal_of(number).is_none()));
    }
}
