//! `bulkhead-image completion` and `bulkhead-image man`: what the command line's own description gives besides.

use std::path::PathBuf;

use bulkhead_image::command_line;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Outcome, output};

#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// A folder
    folder: PathBuf,
}

impl Completion {
    pub fn execute(self) -> Outcome {
        let script = command_line::completion(Arguments::command(), self.shell);
        output::print(&String::from_utf8_lossy(&script))
    }
}

impl Man {
    pub fn execute(self) -> Outcome {
        command_line::manual_pages(Arguments::command(), &self.folder).map_err(|error| {
            format!("Cannot write manual pages to {}: {error}", self.folder.display()).into()
        })
    }
}
