//! `completion`, `man`

use std::io::stdout;
use std::path::PathBuf;

use bulkhead_image::command_line;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, CliError, output};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write manual pages.
#[derive(Debug, Args)]
pub struct Man {
    /// A folder that is there.
    folder: PathBuf,
}

impl Completion {
    /// Runs it.
    pub fn execute(&self) -> Result<u8, CliError> {
        output::bytes(&mut stdout(), &command_line::completion(Arguments::command(), self.shell))?;
        Ok(0)
    }
}

impl Man {
    /// Runs it.
    pub fn execute(&self) -> Result<u8, CliError> {
        let failed = |error: std::io::Error| CliError::Argument {
            what: "The folder for manual pages",
            given: self.folder.display().to_string(),
            message: error.to_string(),
        };
        command_line::manual_pages(Arguments::command(), &self.folder).map_err(failed)?;
        Ok(0)
    }
}
