//! The stream to and from a process: frames on one side, its pipes or its terminal on the other.
//!
//! Nothing is kept but one piece a stream: who does not read holds the process up, as a pipe does.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bulkhead_protocol::exec::{ERRORS, EXIT, HEADER, INPUT, MAX_FRAME, OUTPUT, SIZE};
use rustix::termios::Winsize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{Mutex, watch};

use crate::container::exec::{Exec, Streams};

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// How much of what a terminal shows is waited for when its process has ended: more than the kernel keeps of it.
const LAST_SHOWN: u64 = 128 << 10;

/// How long the last output may take to come.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Serves until the process has ended or the client has left.
pub async fn serve<C: AsyncRead + AsyncWrite>(client: C, exec: Exec) {
    let (frames, sink) = tokio::io::split(client);
    let Exec { streams, exit } = exec;
    let Streams { input, output, errors, terminal } = streams;
    let sink = Mutex::new(sink);
    let all = async {
        let shown = terminal.is_some();
        let output = pump(output, OUTPUT, shown, &sink, exit.clone());
        let errors = pump(errors, ERRORS, false, &sink, exit.clone());
        tokio::try_join!(output, errors)?;
        let code = exit.clone().wait_for(Option::is_some).await.ok().and_then(|code| *code);
        let mut last = [0; HEADER + 1];
        last[HEADER] = code.unwrap_or(u8::MAX);
        send(&sink, EXIT, &mut last, 1).await?;
        sink.lock().await.shutdown().await
    };
    // Whoever has left hears of no error.
    tokio::select! {
        _ = all => {}
        _ = feed(frames, input, terminal.as_ref()) => {}
    }
}

/// Reads a terminal whose process nobody waits for, so that it is not held up.
pub async fn ignore(mut exec: Exec) {
    let mut chunk = [0; 1024];
    let Some(output) = &mut exec.streams.output else { return };
    while let Ok(1..) = output.read(&mut chunk).await {}
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// Sends what a process writes until it has ended, and then what is there: others may have its streams open for
/// longer.
async fn pump<W: AsyncWrite>(
    source: Option<Receiver>,
    kind: u8,
    shown: bool,
    sink: &Mutex<WriteHalf<W>>,
    mut exit: watch::Receiver<Option<u8>>,
) -> io::Result<()> {
    let Some(mut source) = source else { return Ok(()) };
    let mut frame = vec![0; HEADER + CHUNK];
    loop {
        let read = tokio::select! {
            read = source.read(&mut frame[HEADER..]) => read,
            _ = exit.wait_for(Option::is_some) => break,
        };
        match read {
            Ok(length @ 1..) => send(sink, kind, &mut frame, length).await?,
            // A terminal that nobody has open any more gives an error.
            Ok(0) | Err(_) => return Ok(()),
        }
    }
    let mut left = if shown { LAST_SHOWN } else { rustix::io::ioctl_fionread(&source).unwrap_or(0) };
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let read = tokio::time::timeout(LAST_OUTPUT, source.read(&mut frame[HEADER..HEADER + most])).await;
        let Ok(Ok(length @ 1..)) = read else { break };
        left -= length as u64;
        send(sink, kind, &mut frame, length).await?;
    }
    Ok(())
}

async fn send<W: AsyncWrite>(
    sink: &Mutex<WriteHalf<W>>,
    kind: u8,
    frame: &mut [u8],
    length: usize,
) -> io::Result<()> {
    frame[..HEADER].copy_from_slice(&header(kind, length));
    sink.lock().await.write_all(&frame[..HEADER + length]).await
}

/// Hands on what the client sends. Returns when it has left, or says what is no frame.
async fn feed<R: AsyncRead>(
    mut frames: ReadHalf<R>,
    mut input: Option<Sender>,
    terminal: Option<&OwnedFd>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut head = [0; HEADER];
        frames.read_exact(&mut head).await?;
        let [kind, z1, z2, z3, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        match (kind, [z1, z2, z3], length) {
            (INPUT, [0, 0, 0], 0) => end(&mut input, terminal.is_some()).await,
            (INPUT, [0, 0, 0], 1..=MAX_FRAME) => {
                let mut left = length;
                while left > 0 {
                    let piece = &mut chunk[..left.min(CHUNK)];
                    frames.read_exact(piece).await?;
                    left -= piece.len();
                    let Some(sender) = &mut input else { continue };
                    if sender.write_all(piece).await.is_err() {
                        // The process reads no more, and may have more to say.
                        input = None;
                    }
                }
            }
            (SIZE, [0, 0, 0], 4) => {
                let mut size = [0; 4];
                frames.read_exact(&mut size).await?;
                resize(terminal, size);
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The end of the input: of a pipe its own, at a terminal the character that says so.
async fn end(input: &mut Option<Sender>, at_terminal: bool) {
    if let Some(mut sender) = input.take()
        && at_terminal
    {
        let _ = sender.write_all(&[4]).await;
        *input = Some(sender);
    }
}

fn resize(terminal: Option<&OwnedFd>, [a, b, c, d]: [u8; 4]) {
    let (ws_row, ws_col) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if let Some(terminal) = terminal {
        // A terminal that is gone has no size.
        let _ =
            rustix::termios::tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
