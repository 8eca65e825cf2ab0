//! A container's terminal in the foreground: what is typed at ours goes to it, and what it shows comes to ours.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios};

use crate::container::stage;

/// How much is read at once.
const CHUNK: usize = 4096;
/// How long the last of what is shown may take to come: somebody else may have the terminal open for longer.
const LAST_SHOWN: Duration = Duration::from_secs(1);
/// What ends a terminal's input (`VEOF`, where nobody has changed it).
const END: u8 = 4;

/// The other side of a container's terminal, between which and our streams bytes go until this ends.
pub struct Foreground {
    terminal: OwnedFd,
    /// Our terminal as it was, where our input is one.
    before: Option<Termios>,
    /// Says that all is shown.
    shown: Receiver<()>,
}

impl Foreground {
    /// Takes the terminal that the container's process has sent to `socket`. Signals are held back before: threads
    /// begin here.
    pub fn begin(socket: &UnixStream) -> io::Result<Self> {
        let terminal = stage::receive(socket)?;
        let (typed, shows) = (File::from(terminal.try_clone()?), File::from(terminal.try_clone()?));
        let (done, shown) = channel();
        let before = rustix::termios::tcgetattr(stdin()).ok();
        let foreground = Self { terminal, before, shown };
        foreground.resize();
        if let Some(mut raw) = foreground.before.clone() {
            raw.make_raw();
            rustix::termios::tcsetattr(stdin(), OptionalActions::Flush, &raw)?;
        }
        thread::spawn(move || {
            let mut typed = typed;
            if copy(&mut io::stdin(), &mut typed).is_ok() {
                // The input has ended, and a program that reads it shall know.
                let _ = typed.write_all(&[END]);
            }
        });
        thread::spawn(move || {
            let _ = copy(&mut { shows }, &mut io::stdout());
            let _ = done.send(());
        });
        Ok(foreground)
    }

    /// Gives it the size of ours, where that is known.
    pub fn resize(&self) {
        let sizes = [stdin().as_fd(), stdout().as_fd()].map(rustix::termios::tcgetwinsize);
        if let Some(size) = sizes.into_iter().flatten().find(|size| size.ws_row > 0) {
            // A terminal that is gone has no size.
            let _ = rustix::termios::tcsetwinsize(&self.terminal, size);
        }
    }
}

impl Drop for Foreground {
    /// Waits for what is still to be shown, and puts our terminal back.
    fn drop(&mut self) {
        let _ = self.shown.recv_timeout(LAST_SHOWN);
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Copies each piece as it comes. A terminal that nobody has open any more gives an error, which is its end.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(chunk.get(..length).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
