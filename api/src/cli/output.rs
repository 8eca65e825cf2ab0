//! What commands print.

use std::io::{self, Write};

use serde::Serialize;

use super::CliError;

/// How a command prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The arguments of a command that prints a list.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FormatArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// How to print.
    #[arg(long, value_name = "FORMAT", default_value = "table", conflicts_with = "json")]
    format: Format,
}

impl FormatArguments {
    /// JSON is wanted.
    pub fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

/// Whoever stopped reading has seen enough; anything else is an error.
fn printed(result: io::Result<()>) -> Result<(), CliError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CliError::print),
    }
}

/// One line on standard output.
pub fn line(text: &str) -> Result<u8, CliError> {
    printed(writeln!(io::stdout(), "{text}")).map(|()| 0)
}

/// A value as JSON for people's eyes.
pub fn json(value: &impl Serialize) -> Result<u8, CliError> {
    line(&serde_json::to_string_pretty(value).map_err(CliError::json)?)
}

/// Bytes as they are, at once.
pub fn bytes(target: &mut dyn Write, bytes: &[u8]) -> Result<(), CliError> {
    printed(target.write_all(bytes).and_then(|()| target.flush()))
}

/// Columns, as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Result<u8, CliError> {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.trim_end().to_owned()
    };
    line(&render(&mut head.iter().copied()))?;
    for row in rows {
        line(&render(&mut row.iter().map(String::as_str)))?;
    }
    Ok(0)
}

/// The first 12 digits of an id.
pub fn short(id: &str) -> String {
    id.chars().take(12).collect()
}
