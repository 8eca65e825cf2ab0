//! `completion` and `man`: what a program's own description of its command line gives besides.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use thiserror::Error;

/// Why neither comes out.
#[derive(Debug, Error)]
pub enum ManualError {
    /// Standard output.
    #[error("Cannot print the completion script")]
    Print(#[source] io::Error),
    /// The folder.
    #[error("Cannot write manual pages to {0}")]
    Pages(PathBuf, #[source] io::Error),
}

/// The arguments of `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// A folder that is there.
    folder: PathBuf,
}

impl Completion {
    /// Prints the script of a program. Whoever stopped reading has seen enough.
    pub fn execute(&self, program: Command) -> Result<(), ManualError> {
        match io::stdout().write_all(&script(program, self.shell)) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ManualError::Print(error)),
            _ => Ok(()),
        }
    }
}

impl Man {
    /// Writes the pages of a program: one of its own and one a command.
    pub fn execute(&self, program: Command) -> Result<(), ManualError> {
        clap_mangen::generate_to(program, &self.folder)
            .map_err(|error| ManualError::Pages(self.folder.clone(), error))
    }
}

/// The completion script of a program for a shell.
fn script(mut program: Command, shell: Shell) -> Vec<u8> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, &name, &mut script);
    if shell != Shell::Bash {
        return script;
    }
    // clap_complete 4.6.11 calls a program with a dash in its name differently in the two halves of bash's script,
    // which then completes no command's options.
    let (one, other) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    String::from_utf8_lossy(&script).replace(&one, &other).into_bytes()
}
