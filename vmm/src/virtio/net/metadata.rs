//! The metadata service on an interface: which frames it gets, and when it goes on by itself.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use vmm_sys_util::timerfd::TimerFd;

use crate::memory::GuestMemory;
use crate::mmds::{Mmds, MmdsStack, Wire};
use crate::virtio::span::Span;

/// How much of a frame, without virtio's header, is looked at.
pub const HEAD_SIZE: usize = MmdsStack::HEAD_SIZE;

/// The service at this interface, and its timer.
pub struct Metadata {
    stack: MmdsStack,
    timer: TimerFd,
    /// Whether the timer runs.
    armed: bool,
    /// Whether the stack did anything since the timer was last set.
    touched: bool,
}

impl Metadata {
    /// The service for `wire`. Fails when the host has no timer for it.
    pub fn new(mmds: Mmds, wire: Wire) -> io::Result<Metadata> {
        let timer = TimerFd::new().map_err(io::Error::from)?;
        Ok(Metadata {
            stack: MmdsStack::new(mmds, wire, Instant::now()),
            timer,
            armed: false,
            touched: false,
        })
    }

    /// Takes `frame`, which starts with `head`, if it is for the service.
    ///
    /// The guest may change the frame between these looks at it. What goes on is then what the stack makes of
    /// the second; an address that is not its own it does not answer.
    pub fn take(&mut self, memory: &GuestMemory, head: &[u8], frame: Span<'_>) -> bool {
        if !self.stack.wants(head) {
            return false;
        }
        let mut bytes = vec![0; usize::try_from(frame.len()).unwrap_or_default()];
        if frame.read(memory, &mut bytes).is_ok() {
            self.touched = true;
            self.stack.receive(&bytes, Instant::now());
        }
        true
    }

    /// The next frame for the guest.
    pub fn frame(&self) -> Option<&[u8]> {
        self.stack.frame()
    }

    /// The guest has that frame.
    pub fn sent(&mut self) {
        self.touched = true;
        self.stack.sent(Instant::now());
    }

    /// The timer, while it runs.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.armed.then(|| self.timer.as_raw_fd())
    }

    /// The timer was readable. It may have been set anew since: the guest's frames come first.
    pub fn timer_fired(&mut self) {
        // Never read, which could wait: nobody listens to it until it is set anew, and then it is unreadable.
        if self.armed && !self.timer.is_armed().unwrap_or(false) {
            self.armed = false;
            self.touched = true;
            self.stack.tick(Instant::now());
        }
    }

    /// Sets the timer for what comes next, after a turn.
    pub fn rest(&mut self) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        match self.stack.delay(Instant::now()) {
            // Without a timer, what waits goes on with the guest's next frame.
            Some(delay) => self.armed = self.timer.reset(delay, None).is_ok(),
            // Nothing listens to it, and the next delay replaces it.
            None => self.armed = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_that_was_set_anew_meanwhile_holds_nobody_up() {
        let config = serde_json::json!({"network_interfaces": ["eth0"]});
        let wire = Wire { config: serde_json::from_value(config).unwrap(), mtu: 1500 };
        let mut metadata = Metadata::new(Mmds::new(1000, Default::default()), wire).unwrap();
        metadata.timer.reset(Duration::from_secs(5), None).unwrap();
        metadata.armed = true;
        metadata.timer_fired();
        assert!(metadata.armed);
        metadata.timer.reset(Duration::from_nanos(1), None).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        metadata.timer_fired();
        assert!(!metadata.armed);
    }
}
