//! `bulkhead-vmm`: one process, one microVM. KVM below, Firecracker's API above.

mod arch;
mod arguments;
mod boot;
mod bus;
mod clock;
mod config;
mod console;
mod diagnosis;
mod drive;
mod exit_record;
mod http;
mod kvm;
mod legacy;
mod logger;
mod machine;
mod memory;
mod metrics;
mod mmds;
mod net;
mod outlet;
mod process;
mod random;
mod signals;
mod unix_socket;
mod vcpu;
mod virtio;

use std::process::ExitCode;

use self::arguments::Command;

fn main() -> ExitCode {
    #[cfg(feature = "openapi")]
    if std::env::args().nth(1).as_deref() == Some("--openapi") {
        return describe();
    }
    match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(arguments)) => process::run(&arguments),
        Ok(Command::Help) => {
            println!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            println!("{}", arguments::version(std::env::args_os().next()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            ExitCode::from(process::refusal(&error))
        }
    }
}

/// Prints what the API is, for `cargo xtask openapi`.
#[cfg(feature = "openapi")]
fn describe() -> ExitCode {
    match http::openapi::document() {
        Ok(document) => {
            println!("{document}");
            ExitCode::SUCCESS
        }
        Err(missing) => {
            eprintln!("{missing}");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        cause = error.source();
    }
    sentence
}
