//! Another process in a container that runs: `POST /v1/containers/ID/exec`.
//!
//! The request's body is an [`ExecProcess`]. When the program has begun, the answer is 204 where it is to be left
//! alone ([`ExecProcess::detach`]), and otherwise 101: the request asks for `Connection: Upgrade` and `Upgrade:
//! `[`UPGRADE`], and from then on both sides send frames. A program that cannot begin is refused by an ordinary answer,
//! whose fault has the status that a shell gives for it.
//!
//! A frame is 8 bytes of header and a payload: byte 0 the kind, bytes 1 to 3 zero, bytes 4 to 7 the payload's length
//! (big endian, at most [`MAX_FRAME`]). That is Docker's multiplexed stream, in both directions:
//!
//! | kind | who sends it | payload |
//! |---|---|---|
//! | 0 [`INPUT`] | the client | bytes for standard input; without any, its end |
//! | 1 [`OUTPUT`] | the guest | standard output, or what a terminal shows |
//! | 2 [`ERRORS`] | the guest | standard error |
//! | 3 [`SIZE`] | the client | the terminal's rows and columns, two bytes each, big endian |
//! | 4 [`EXIT`] | the guest | one byte, the exit status: 128 + the signal where a signal ended it. The last frame |
//!
//! Who ends his sending side has left: the process runs on, nobody reads what it writes (it gets an error, or is
//! hung up on at a terminal), and its input ends. Who does not read holds the process up, and nothing else.

use serde::{Deserialize, Serialize};

/// What both sides speak after the upgrade.
pub const UPGRADE: &str = "bulkhead-exec";

/// The length of a frame's header, in bytes.
pub const HEADER: usize = 8;

/// The largest payload of a frame, in bytes.
pub const MAX_FRAME: usize = 64 << 10;

/// For standard input.
pub const INPUT: u8 = 0;
/// From standard output.
pub const OUTPUT: u8 = 1;
/// From standard error.
pub const ERRORS: u8 = 2;
/// The terminal's size.
pub const SIZE: u8 = 3;
/// The exit status.
pub const EXIT: u8 = 4;

/// The process, as far as it differs from the container's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecProcess {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE` each, besides the container's or in place of them.
    #[serde(default)]
    pub env: Vec<String>,
    /// An absolute path in the container.
    #[serde(default)]
    pub cwd: Option<String>,
    /// `USER` or `USER:GROUP`, by name or number.
    #[serde(default)]
    pub user: Option<String>,
    /// Somebody sends its input, which is empty otherwise.
    #[serde(default)]
    pub input: bool,
    /// It gets a terminal of this size.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// Nobody waits for it.
    #[serde(default)]
    pub detach: bool,
}

/// A terminal's size in characters. Nought is a size that nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}
