//! A copy's frames as an archive that is read or written: whoever does that waits, within limits.

use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bulkhead_protocol::exec::{ERRORS, EXIT, HEADER, INPUT, MAX_FRAME, OUTPUT, UPGRADE};
use bytes::{Buf, Bytes, buf::Reader};

use super::CliError;
use super::client::Client;
use crate::service::model::CopySpec;

/// How long a guest may neither send nor take anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that is kept of what a guest says went wrong, in bytes.
const MAX_SAID: usize = 4096;

/// A copy from or to a machine.
#[derive(Debug)]
pub struct CopyStream {
    frames: io::Chain<Reader<Bytes>, UnixStream>,
    sink: UnixStream,
    /// What is left of the present frame of output.
    left: usize,
    said: Vec<u8>,
    status: Option<u8>,
}

impl CopyStream {
    /// Begins a copy.
    pub async fn open(client: &Client, path: &str, spec: &CopySpec) -> Result<Self, CliError> {
        let wire = client.upgrade(path, UPGRADE, spec).await?;
        let broken = |source: io::Error| CliError::Copy { message: format!("Cannot copy: {source}") };
        let wire = wire.ok_or_else(|| broken(io::Error::other("the daemon answers without a stream")))?;
        let (ahead, stream) = wire.into_std().map_err(broken)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
        let sink = stream.try_clone().map_err(broken)?;
        Ok(Self { frames: ahead.reader().chain(stream), sink, left: 0, said: Vec::new(), status: None })
    }

    /// Where an archive is written that the guest unpacks.
    pub fn sink(&self) -> io::Result<BufWriter<Sink>> {
        Ok(BufWriter::with_capacity(MAX_FRAME, Sink(self.sink.try_clone()?)))
    }

    /// Reads to the end of the frames: what the guest says went wrong, or what it left out.
    pub fn finish(mut self) -> Result<Vec<String>, CliError> {
        let read = io::copy(&mut self, &mut io::sink());
        let said = String::from_utf8_lossy(&self.said);
        let plain = |line: &str| line.chars().filter(|letter| !letter.is_control()).collect::<String>();
        let said: Vec<String> = said.lines().map(plain).collect();
        match (self.status, read) {
            (Some(0), _) => Ok(said),
            (Some(_), _) if !said.is_empty() => Err(CliError::Copy { message: said.join("; ") }),
            (Some(_), _) => Err(CliError::Copy { message: "The guest did not copy all".to_owned() }),
            (None, Err(error)) => Err(CliError::Copy { message: format!("The copy broke off: {error}") }),
            (None, Ok(_)) => Err(CliError::Copy { message: "The copy broke off".to_owned() }),
        }
    }

    /// Goes to the next frame of output; nothing at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.status.is_some() {
                return Ok(false);
            }
            let mut header = [0; HEADER];
            self.frames.read_exact(&mut header)?;
            let [kind, z1, z2, z3, a, b, c, d] = header;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let wrong = || io::Error::other(format!("a frame has the header {header:02x?}"));
            if [z1, z2, z3] != [0; 3] || length > MAX_FRAME {
                return Err(wrong());
            }
            match (kind, length) {
                (OUTPUT, 1..) => {
                    self.left = length;
                    return Ok(true);
                }
                (OUTPUT, 0) => {}
                (ERRORS, _) => {
                    let mut said = vec![0; length];
                    self.frames.read_exact(&mut said)?;
                    said.truncate(MAX_SAID.saturating_sub(self.said.len()));
                    self.said.extend(said);
                }
                (EXIT, 1) => {
                    let mut status = [0];
                    self.frames.read_exact(&mut status)?;
                    self.status = Some(status[0]);
                }
                _ => return Err(wrong()),
            }
        }
    }
}

/// The output.
impl Read for CopyStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.next_frame()? {
            return Ok(0);
        }
        let length = self.left.min(buffer.len());
        let read = self.frames.read(&mut buffer[..length])?;
        self.left -= read;
        match read {
            0 if length > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// The input, a frame a piece.
#[derive(Debug)]
pub struct Sink(UnixStream);

impl Sink {
    /// Says that nothing more comes.
    pub fn end(mut self) -> io::Result<()> {
        self.0.write_all(&[INPUT, 0, 0, 0, 0, 0, 0, 0])
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(MAX_FRAME)];
        if bytes.is_empty() {
            return Ok(0);
        }
        let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        self.0.write_all(&[INPUT, 0, 0, 0, a, b, c, d])?;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
