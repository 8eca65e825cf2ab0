//! `exec`

use std::collections::BTreeMap;
use std::io::{self, Read, Write, stderr, stdin, stdout};
use std::thread;

use bulkhead_protocol::exec::{ERRORS, EXIT, HEADER, INPUT, MAX_FRAME, OUTPUT, SIZE, UPGRADE};
use bytes::Bytes;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::client::{Client, segment};
use super::terminal::{self, Raw};
use super::{CliError, run};
use crate::host::relay::Wire;
use crate::routes::{NOT_EXECUTABLE, NOT_FOUND};
use crate::service::model::{ExecSpec, TtySize};

/// How much of the input is read at once.
const CHUNK: usize = 16 << 10;
/// A shell's status for a command that writes to nobody.
const BROKEN_PIPE: u8 = 128 + 13;

/// Run a command in a machine that runs.
#[derive(Debug, Args)]
pub struct Exec {
    /// Hand standard input on to it.
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Leave it alone once it has begun.
    #[arg(short, long, conflicts_with = "interactive")]
    detach: bool,
    /// Set a variable: NAME=VALUE, or NAME alone for its value here.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Where it starts.
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// USER or USER:GROUP, by name or number.
    #[arg(short, long)]
    user: Option<String>,
    /// Refused: a process gets no more privileges than its container has.
    #[arg(long, hide = true)]
    privileged: bool,
    /// The machine's id or name.
    machine: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let wrong = |what, message: &str| CliError::Argument {
            what,
            given: self.machine.clone(),
            message: message.to_owned(),
        };
        if self.privileged {
            return Err(wrong("--privileged in", "a process gets no more privileges than its container has"));
        }
        let typed = self.interactive && self.tty;
        if typed && !terminal::is_typed() {
            return Err(wrong("A terminal for", "standard input is none; leave -t or -i out"));
        }
        let env: BTreeMap<String, String> = run::variables(&self.env)?;
        let spec = ExecSpec {
            command: self.command,
            env,
            workdir: self.workdir,
            user: self.user,
            stdin: self.interactive,
            tty: self.tty.then(terminal::size),
            detach: self.detach,
        };
        let path = format!("/api/v1/machines/{}/exec", segment(&self.machine));
        let wire = client.upgrade(&path, UPGRADE, &spec).await.map_err(of_program)?;
        let Some(wire) = wire else { return Ok(0) };
        let _raw = typed.then(Raw::take).transpose()?;
        let mut ends = Ends::listen()?;
        tokio::select! {
            code = follow(wire, self.interactive, self.tty) => code,
            code = ends.first() => Ok(code),
        }
    }
}

/// A refusal with a shell's status, where the program is at fault.
fn of_program(error: CliError) -> CliError {
    match error {
        CliError::Refused { word, message, .. } if word == NOT_FOUND => {
            CliError::Run { message, console: Vec::new(), code: 127 }
        }
        CliError::Refused { word, message, .. } if word == NOT_EXECUTABLE => {
            CliError::Run { message, console: Vec::new(), code: 126 }
        }
        other => other,
    }
}

/// What ends a command from outside; a terminal is put back before.
struct Ends([Signal; 3]);

impl Ends {
    fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|source| CliError::Runtime { source });
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(listen);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn first(&mut self) -> u8 {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
            _ = hangup.recv() => 129,
        }
    }
}

/// Stays with the process to its end.
async fn follow(wire: Wire, interactive: bool, tty: bool) -> Result<u8, CliError> {
    let (ahead, read, write) = wire.into_split();
    // What is typed and what is shown do not wait for each other.
    let typing = tokio::spawn(send(write, interactive.then(read_input), tty));
    let mut frames = AsyncReadExt::chain(ahead.as_ref(), read);
    let code = print(&mut frames).await;
    typing.abort();
    code
}

/// Prints what the process writes; its exit status comes last.
async fn print(frames: &mut (impl AsyncRead + Unpin)) -> Result<u8, CliError> {
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| CliError::Broken {
        call: "exec to its end".to_owned(),
        source,
    };
    let mut payload = Vec::new();
    loop {
        let mut header = [0; HEADER];
        frames.read_exact(&mut header).await.map_err(|error| broken(error.into()))?;
        let [kind, z1, z2, z3, a, b, c, d] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if [z1, z2, z3] != [0; 3] || length > MAX_FRAME {
            return Err(broken(format!("a frame has the header {header:02x?}").into()));
        }
        payload.resize(length, 0);
        frames.read_exact(&mut payload).await.map_err(|error| broken(error.into()))?;
        let printed = match (kind, payload.as_slice()) {
            (OUTPUT, bytes) => write_all(&mut stdout(), bytes),
            (ERRORS, bytes) => write_all(&mut stderr(), bytes),
            (EXIT, [code]) => return Ok(*code),
            _ => return Err(broken(format!("a frame has the header {header:02x?}").into())),
        };
        match printed {
            // As a program in a pipeline would: whoever stopped reading has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(BROKEN_PIPE),
            result => result.map_err(CliError::print)?,
        }
    }
}

fn write_all(target: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    target.write_all(bytes).and_then(|()| target.flush())
}

/// Sends what is read and the terminal's new sizes. Returns when the daemon takes no more.
async fn send(mut wire: OwnedWriteHalf, input: Option<mpsc::Receiver<Bytes>>, tty: bool) -> io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut input = input;
    loop {
        let frame = tokio::select! {
            piece = next(&mut input) => match piece {
                Some(piece) => frame(INPUT, &piece),
                None => {
                    input = None;
                    frame(INPUT, &[])
                }
            },
            _ = resized.recv(), if tty => {
                let TtySize { rows, columns } = terminal::size();
                frame(SIZE, &[rows.to_be_bytes(), columns.to_be_bytes()].concat())
            }
        };
        wire.write_all(&frame).await?;
    }
}

/// The next piece of the input; never, where nobody reads one or it has ended.
async fn next(input: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&[kind, 0, 0, 0], length.as_slice(), payload].concat()
}

/// Reads standard input on a thread of its own, which need not end with the command.
fn read_input() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match stdin().lock().read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&chunk[..length])).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_status_is_the_process_s_and_what_is_no_frame_is_an_error() {
        let mut right: &[u8] = b"\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x01\x2a";
        assert_eq!(print(&mut right).await.unwrap(), 42);
        for wrong in [
            &b"\x01\0\0\0\0\0\0\x05abc"[..],
            b"",
            b"\x04\0\0\0\0\0\0\0",
            b"\x07\0\0\0\0\0\0\0",
            b"\x01\0\0\x01\0\0\0\0",
            b"\x01\0\0\0\0\x01\0\x01",
        ] {
            assert!(print(&mut { wrong }).await.is_err(), "{wrong:?}");
        }
    }
}
