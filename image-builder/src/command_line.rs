//! What a program's own description of its command line gives besides: completions for shells, and manual pages. For
//! both programs, `bulkhead` and `bulkhead-image`.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// The completion script of a program for a shell.
pub fn completion(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    if shell != Shell::Bash {
        return script;
    }
    // clap_complete 4.6.11 calls a program with a dash in its name differently in the two halves of bash's script,
    // which then completes no command's options.
    let (one, other) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    String::from_utf8_lossy(&script).replace(&one, &other).into_bytes()
}

/// Writes the manual pages of a program into a folder that is there: one of its own and one a command.
pub fn manual_pages(command: Command, folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command, folder)
}
