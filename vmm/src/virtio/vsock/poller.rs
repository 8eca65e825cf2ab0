//! One descriptor that stands for all sockets and deadlines of a device.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

/// Stands for the timer among the ids of events.
pub const TIMER: u64 = 0;
const BATCH: usize = 64;

/// The sockets (edge-triggered, so that nothing is registered twice) and a timer.
pub struct Poller {
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<Instant>,
}

impl Poller {
    /// Nothing to wait for yet.
    pub fn new() -> io::Result<Poller> {
        let epoll = Epoll::new()?;
        let timer = TimerFd::new()?;
        let event = EpollEvent::new(EventSet::IN, TIMER);
        epoll.ctl(ControlOperation::Add, timer.as_raw_fd(), event)?;
        Ok(Poller { epoll, timer, armed: None })
    }

    /// Reports changes of a stream as events of `id`. Closing the stream ends that.
    pub fn watch_stream(&self, stream: &impl AsRawFd, id: u64) -> io::Result<()> {
        let events = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        self.epoll.ctl(ControlOperation::Add, stream.as_raw_fd(), EpollEvent::new(events, id))
    }

    /// Reports `id` for as long as there is somebody to accept.
    pub fn watch_listener(&self, listener: &impl AsRawFd, id: u64) -> io::Result<()> {
        self.epoll.ctl(ControlOperation::Add, listener.as_raw_fd(), EpollEvent::new(EventSet::IN, id))
    }

    /// Ends `watch_listener`.
    pub fn forget(&self, listener: &impl AsRawFd) {
        let _ = self.epoll.ctl(ControlOperation::Delete, listener.as_raw_fd(), EpollEvent::default());
    }

    /// Reports [`TIMER`] at `deadline`, unless it does so earlier anyway.
    pub fn arm(&mut self, deadline: Instant) {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        // A timer of zero would be none at all.
        let delay = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if self.timer.reset(delay, None).is_ok() {
            self.armed = Some(deadline);
        }
    }

    /// What has happened, or happens within `wait`. After [`TIMER`] was reported the timer is not armed.
    pub fn events(&mut self, wait: Duration) -> Vec<(u64, EventSet)> {
        let mut events = [EpollEvent::default(); BATCH];
        // Rounded up, or the last millisecond would be waited for in a circle.
        let milliseconds = i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        let count = self.epoll.wait(milliseconds, &mut events).unwrap_or(0);
        let events: Vec<_> =
            events.iter().take(count).map(|event| (event.data(), event.event_set())).collect();
        if events.iter().any(|&(id, _)| id == TIMER) {
            self.armed = None;
            // It is readable, so this does not wait.
            let _ = self.timer.wait();
        }
        events
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
