//! `logs`

use std::io::{IsTerminal, stderr, stdout};

use clap::Args;

use super::CliError;
use super::client::{Client, Pieces, segment};
use super::output;
use crate::host::log_frame::{Decoder, Stream};

/// Print what a machine printed.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on until the machine has ended.
    #[arg(short, long)]
    follow: bool,
    /// The console of its last start: what the guest's kernel printed.
    #[arg(long, conflicts_with = "follow")]
    console: bool,
    /// The machine's id or name.
    name: String,
}

impl Logs {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let machine = segment(&self.name);
        if self.console {
            let mut pieces = client.stream(&format!("/api/v1/machines/{machine}/console")).await?;
            // A file gets what the guest wrote; a terminal nothing that it would obey.
            let shown = stdout().is_terminal();
            while let Some(piece) = pieces.next_piece().await? {
                if shown {
                    output::bytes(&mut stdout(), &harmless(&piece))?;
                } else {
                    output::bytes(&mut stdout(), &piece)?;
                }
            }
            return Ok(0);
        }
        let path = format!("/api/v1/machines/{machine}/logs?follow={}", self.follow);
        print_frames(client.stream(&path).await?).await?;
        Ok(0)
    }
}

/// Without the control characters of ASCII, which begin everything that a terminal obeys; the ends of lines stay.
fn harmless(piece: &[u8]) -> Vec<u8> {
    let stays = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~' | 0x80..);
    piece.iter().copied().filter(stays).collect()
}

/// Prints standard output and standard error apart.
pub async fn print_frames(mut pieces: Pieces) -> Result<(), CliError> {
    let mut decoder = Decoder::default();
    while let Some(piece) = pieces.next_piece().await? {
        decoder.push(&piece);
        let broken = |error| CliError::Broken { call: "logs".to_owned(), source: Box::new(error) };
        while let Some(frame) = decoder.next_frame().map_err(broken)? {
            match frame.stream {
                Stream::Stdout => output::bytes(&mut stdout(), &frame.payload)?,
                Stream::Stderr => output::bytes(&mut stderr(), &frame.payload)?,
            }
        }
    }
    Ok(())
}
