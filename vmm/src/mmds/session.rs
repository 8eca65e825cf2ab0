//! One connection of a guest: requests in, answers out, one after the other, each within its time.

use std::time::{Duration, Instant};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};

use super::Mmds;
use super::answer::Answer;
use super::request::{self, Parsed, REQUEST_MAX};
use crate::config::MmdsConfig;

/// How long a request may take to arrive, from the connection or the answer before it; and how long a guest
/// may take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub struct Session {
    /// Its socket.
    pub socket: SocketHandle,
    /// When it is over if nothing more comes.
    pub deadline: Instant,
    request: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
    /// After the answer the connection ends.
    close: bool,
}

impl Session {
    /// A connection that has come at `now`.
    pub fn new(socket: SocketHandle, now: Instant) -> Session {
        let deadline = now + PATIENCE;
        Session { socket, deadline, request: Vec::new(), answer: Vec::new(), sent: 0, close: false }
    }

    /// Goes on with it; true if anything came of that.
    pub fn step(&mut self, socket: &mut Socket<'_>, mmds: &Mmds, config: &MmdsConfig, now: Instant) -> bool {
        if is_over(socket.state()) {
            return false;
        }
        if now >= self.deadline {
            socket.abort();
            return true;
        }
        let read = self.read(socket);
        self.respond(mmds, config, now);
        let sent = self.send(socket, now);
        if read || sent {
            return true;
        }
        let ends = self.answer.is_empty() && (self.close || !socket.may_recv());
        if ends && socket.may_send() && socket.state() != State::SynReceived {
            socket.close();
            return true;
        }
        false
    }

    /// Takes what has arrived, as far as a request may be long. What comes after the last one is thrown away.
    fn read(&mut self, socket: &mut Socket<'_>) -> bool {
        let room = if self.close { usize::MAX } else { REQUEST_MAX.saturating_sub(self.request.len()) };
        if room == 0 || !socket.can_recv() {
            return false;
        }
        let taken = socket.recv(|bytes| {
            let count = room.min(bytes.len());
            if !self.close {
                self.request.extend_from_slice(bytes.get(..count).unwrap_or_default());
            }
            (count, count)
        });
        taken.is_ok_and(|count| count != 0)
    }

    /// Answers the next request when the last answer has gone.
    fn respond(&mut self, mmds: &Mmds, config: &MmdsConfig, now: Instant) {
        if !self.answer.is_empty() || self.close || self.request.is_empty() {
            return;
        }
        let answer = match request::parse(&self.request) {
            Parsed::Incomplete => return,
            Parsed::Refused(reason) => {
                self.close = true;
                Answer::bad_request(reason)
            }
            Parsed::Request(request, length) => {
                self.request.drain(..length);
                self.close = request.close;
                mmds.answer(config, &request, now)
            }
        };
        self.answer = answer.render(self.close);
        self.deadline = now + PATIENCE;
    }

    fn send(&mut self, socket: &mut Socket<'_>, now: Instant) -> bool {
        let rest = self.answer.get(self.sent..).unwrap_or_default();
        let Ok(count @ 1..) = socket.send_slice(rest) else { return false };
        self.sent += count;
        self.deadline = now + PATIENCE;
        if self.sent == self.answer.len() {
            (self.answer, self.sent) = (Vec::new(), 0);
        }
        true
    }
}

/// Whether nothing more comes of a connection. Its last acknowledgement is not repeated: who asks for it again
/// hears that the connection is gone, and by then knew all that was said.
pub fn is_over(state: State) -> bool {
    matches!(state, State::Closed | State::Listen | State::TimeWait)
}
