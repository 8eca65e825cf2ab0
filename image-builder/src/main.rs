//! `bulkhead-image`: builds and inspects images and takes kernel packages apart.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::execute(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bulkhead-image: {}", bulkhead_image::sentence(&*error));
            ExitCode::FAILURE
        }
    }
}
