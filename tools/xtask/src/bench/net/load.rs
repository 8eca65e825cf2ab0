//! The load: bytes one way or the other, or small questions and answers, over one TCP connection.
//!
//! Who asks (in the guest) says what and how much, and waits until he may; who serves (beside the VMM) takes the
//! time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

/// How much is read and written at once.
const PIECE: usize = 128 << 10;
/// A question, and an answer.
const QUESTION: usize = 64;
/// What is said when it may begin, and when it is done.
const WORD: [u8; 1] = [b'!'];
/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// The guest sends bytes.
    Send,
    /// The guest receives bytes.
    Receive,
    /// The guest asks and is answered.
    Ask,
}

impl Load {
    /// All of them.
    pub const ALL: [Load; 3] = [Load::Send, Load::Receive, Load::Ask];

    /// What the guest is told.
    pub fn word(self) -> &'static str {
        match self {
            Load::Send => "send",
            Load::Receive => "receive",
            Load::Ask => "ask",
        }
    }
}

/// What the guest is told.
#[derive(Debug, Args)]
pub struct LoadArgs {
    server: SocketAddr,
    load: Load,
    count: u64,
}

/// The guest's side.
pub fn ask(args: &LoadArgs) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&args.server, PATIENCE).context("Cannot connect")?;
    prepare(&stream)?;
    stream.write_all(&args.count.to_be_bytes())?;
    stream.read_exact(&mut WORD.clone())?;
    match args.load {
        Load::Send => give(&mut stream, args.count)?,
        Load::Receive => take(&mut stream, args.count)?,
        Load::Ask => {
            for _ in 0..args.count {
                stream.write_all(&[b'?'; QUESTION])?;
                stream.read_exact(&mut [0; QUESTION])?;
            }
        }
    }
    if args.load == Load::Receive {
        stream.write_all(&WORD)?;
    }
    // Stays until the other side has looked at its clock.
    let _ = stream.read(&mut [0])?;
    Ok(())
}

/// The other side: calls `begin` before the first byte and `done` after the last.
pub fn serve<B, D>(
    listener: &TcpListener,
    load: Load,
    begin: impl FnOnce() -> Result<B>,
    done: impl FnOnce(B) -> Result<D>,
) -> Result<D> {
    let mut stream = accept(listener)?;
    prepare(&stream)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).context("The guest does not say how much")?;
    let count = u64::from_be_bytes(count);
    let begun = begin()?;
    stream.write_all(&WORD)?;
    match load {
        Load::Send => take(&mut stream, count)?,
        Load::Receive => {
            give(&mut stream, count)?;
            stream.read_exact(&mut WORD.clone())?;
        }
        Load::Ask => {
            for _ in 0..count {
                stream.read_exact(&mut [0; QUESTION])?;
                stream.write_all(&[b'.'; QUESTION])?;
            }
        }
    }
    done(begun)
}

/// Waits for the guest, but not for ever.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let patience = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs())?, tv_nsec: 0 };
    if rustix::event::poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience))? == 0 {
        bail!("The guest does not come");
    }
    Ok(listener.accept().context("Cannot accept the guest")?.0)
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE)).context("Cannot set time-outs")
}

fn give(stream: &mut TcpStream, count: u64) -> Result<()> {
    let piece = vec![b'x'; PIECE];
    let mut left = count;
    while left != 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        stream.write_all(piece.get(..now).unwrap_or_default())?;
        left -= now as u64;
    }
    Ok(())
}

fn take(stream: &mut TcpStream, count: u64) -> Result<()> {
    let mut piece = vec![0; PIECE];
    let mut left = count;
    while left != 0 {
        match stream.read(&mut piece)? {
            0 => bail!("The other side ended with {left} bytes to go"),
            now => left = left.saturating_sub(now as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_load_is_done_to_its_end() {
        for (load, count) in [(Load::Send, 300_001), (Load::Receive, 300_001), (Load::Ask, 20)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = listener.local_addr().unwrap();
            let asking = std::thread::spawn(move || ask(&LoadArgs { server, load, count }));
            assert_eq!(serve(&listener, load, || Ok(1), |begun| Ok(begun + 1)).unwrap(), 2);
            asking.join().unwrap().unwrap();
        }
    }
}
