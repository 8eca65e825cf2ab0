//! The commands, one a file: clients of the API, but for `serve`, `doctor` and `openapi`.

mod client;
mod container_flags;
mod copy;
mod copy_stream;
mod doctor;
mod error;
mod events;
mod exec;
mod image;
mod lifecycle;
mod list;
mod logs;
mod metrics;
mod output;
mod place;
mod pull;
mod rates;
mod run;
mod serve;
mod terminal;
mod volume;

use std::future::Future;
use std::path::PathBuf;

use bulkhead_image::command_line;
use clap::{CommandFactory, Parser, Subcommand};

use client::Client;
pub use error::CliError;
use place::Place;

/// The variable that names another socket.
const SOCKET_VARIABLE: &str = "BULKHEAD_SOCKET";

/// Runs container images as sealed appliances: every workload in a microVM of its own.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// The daemon's socket [default: $BULKHEAD_SOCKET or /run/bulkhead/bulkhead.sock; without root, in
    /// $XDG_RUNTIME_DIR/bulkhead].
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API on a Unix socket.
    Serve(serve::Serve),
    /// Run an image in a new machine.
    Run(Box<run::Run>),
    /// Run a command in a machine that runs.
    Exec(exec::Exec),
    /// Copy files between a machine that runs and here.
    Cp(copy::Cp),
    /// List machines.
    Ps(list::Ps),
    /// Print what a machine printed.
    Logs(logs::Logs),
    /// Start machines.
    Start(lifecycle::Start),
    /// Stop machines.
    Stop(lifecycle::Stop),
    /// Send a signal to machines.
    Kill(lifecycle::Kill),
    /// Hold machines: their processors stop, their memory stays.
    Pause(lifecycle::Pause),
    /// Let machines that are paused go on.
    Unpause(lifecycle::Unpause),
    /// Change machines, running or not.
    Update(rates::Update),
    /// Delete machines.
    Rm(lifecycle::Rm),
    /// Wait until machines have ended and print their exit statuses.
    Wait(lifecycle::Wait),
    /// Print a machine or an image as JSON.
    Inspect(list::Inspect),
    /// List images.
    Images(image::Images),
    /// Pull an image from a registry.
    Pull(pull::Pull),
    /// Make an image from a file or a source.
    Import(image::Import),
    /// Delete images.
    Rmi(image::Rmi),
    /// List volumes.
    Volumes(volume::Volumes),
    /// Make, import and delete volumes.
    Volume(volume::Volume),
    /// Print what happens to machines, images and volumes.
    Events(events::Events),
    /// Print figures of the daemon and of all machines, in Prometheus's text format.
    Metrics(metrics::Metrics),
    /// Say whether guests will boot here, and why not.
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell.
    Completion(command_line::Completion),
    /// Write manual pages.
    #[command(hide = true)]
    Man(command_line::Man),
    /// Print the description of the API.
    #[command(hide = true)]
    Openapi,
}

impl Arguments {
    fn socket(&self) -> PathBuf {
        let given = self.socket.clone().or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from));
        given.unwrap_or_else(|| Place::own().socket())
    }
}

/// Runs a command to its exit status.
pub fn execute(arguments: Arguments) -> Result<u8, CliError> {
    let socket = arguments.socket();
    let client = Client::new(&socket);
    match arguments.command {
        Command::Serve(command) => command.execute(&socket),
        Command::Doctor(command) => command.execute(),
        Command::Completion(command) => Ok(command.execute(Arguments::command()).map(|()| 0)?),
        Command::Man(command) => Ok(command.execute(Arguments::command()).map(|()| 0)?),
        Command::Openapi => {
            let text = crate::routes::description().to_pretty_json().map_err(CliError::json)?;
            output::line(&text)
        }
        Command::Run(command) => wait_for(command.execute(&client)),
        Command::Exec(command) => wait_for(command.execute(&client)),
        Command::Cp(command) => wait_for(command.execute(&client)),
        Command::Ps(command) => wait_for(command.execute(&client)),
        Command::Logs(command) => wait_for(command.execute(&client)),
        Command::Start(command) => wait_for(command.execute(&client)),
        Command::Stop(command) => wait_for(command.execute(&client)),
        Command::Kill(command) => wait_for(command.execute(&client)),
        Command::Pause(command) => wait_for(command.execute(&client)),
        Command::Unpause(command) => wait_for(command.execute(&client)),
        Command::Update(command) => wait_for(command.execute(&client)),
        Command::Rm(command) => wait_for(command.execute(&client)),
        Command::Wait(command) => wait_for(command.execute(&client)),
        Command::Inspect(command) => wait_for(command.execute(&client)),
        Command::Images(command) => wait_for(command.execute(&client)),
        Command::Pull(command) => wait_for(command.execute(&client)),
        Command::Import(command) => wait_for(command.execute(&client)),
        Command::Rmi(command) => wait_for(command.execute(&client)),
        Command::Volumes(command) => wait_for(command.execute(&client)),
        Command::Volume(command) => wait_for(command.execute(&client)),
        Command::Events(command) => wait_for(command.execute(&client)),
        Command::Metrics(command) => wait_for(command.execute(&client)),
    }
}

/// A client needs one thread.
fn wait_for(command: impl Future<Output = Result<u8, CliError>>) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| CliError::Runtime { source })?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
