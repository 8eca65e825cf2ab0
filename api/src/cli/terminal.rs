//! The terminal that a command is typed at.

use std::io::{IsTerminal, stdin, stdout};

use rustix::termios::{OptionalActions, Termios};

use super::CliError;
use crate::service::model::TtySize;

/// The terminal as every key goes through it at once, unseen and unobeyed. As before when this is dropped.
pub struct Raw(Termios);

impl Raw {
    /// Takes standard input's terminal.
    pub fn take() -> Result<Self, CliError> {
        let failed = |error: rustix::io::Errno| CliError::Runtime { source: error.into() };
        let former = rustix::termios::tcgetattr(stdin()).map_err(failed)?;
        let mut raw = former.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(former))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Whether keys come from a terminal.
pub fn is_typed() -> bool {
    stdin().is_terminal()
}

/// The terminal's size; nought where there is none.
pub fn size() -> TtySize {
    let size = rustix::termios::tcgetwinsize(stdout()).or_else(|_| rustix::termios::tcgetwinsize(stdin()));
    size.map(|size| TtySize { rows: size.ws_row, columns: size.ws_col }).unwrap_or_default()
}
