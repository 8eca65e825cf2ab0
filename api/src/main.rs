//! `bulkhead`: the daemon and the command line.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = bulkhead_api::cli::Arguments::parse();
    match bulkhead_api::cli::execute(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.tell();
            ExitCode::from(error.exit_code())
        }
    }
}
