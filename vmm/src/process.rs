//! The process around a machine: threads, signals, how it ends.
#![allow(unsafe_code, reason = "takes over a descriptor that the starter names")]

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd};
use std::process::ExitCode;
use std::sync::mpsc;

use bulkhead_protocol::exit::ExitRecord;

use crate::arguments::Arguments;
use crate::config::{ConfigError, MachineSpec};
use crate::machine::{self, BuildError, Host, console_input};
use crate::vcpu::Ending;
use crate::virtio::VirtioError;
use crate::virtio::worker_loop::{WorkerLoop, WorkerLoopHandle};
use crate::{chain, exit_record};

/// Firecracker's status for everything without one of its own.
const FAILED: u8 = 1;
/// Firecracker's status for a configuration that is refused.
const BAD_CONFIGURATION: u8 = 152;
/// Firecracker's status for arguments that are refused.
pub const BAD_ARGUMENTS: u8 = 153;

/// Why a machine did not run.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Loop(#[from] VirtioError),
    #[error("Cannot start the thread of the devices")]
    Thread(#[source] std::io::Error),
    #[error("{0}")]
    Broken(String),
}

impl ProcessError {
    fn status(&self) -> u8 {
        match self {
            Self::Config(_) => BAD_CONFIGURATION,
            _ => FAILED,
        }
    }
}

/// Runs one machine and tells how it ended.
pub fn run(arguments: &Arguments) -> ExitCode {
    // SAFETY: The starter names a descriptor that it opened for this; nothing in this process has it.
    let record_to = arguments.exit_record_fd.map(|fd| unsafe { File::from_raw_fd(fd) });
    match run_machine(arguments) {
        Ok(record) => {
            exit_record::write(record_to, &record);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let message = chain(&error);
            eprintln!("{message}");
            exit_record::write(record_to, &ExitRecord::VmmError { message });
            ExitCode::from(error.status())
        }
    }
}

fn run_machine(arguments: &Arguments) -> Result<ExitRecord, ProcessError> {
    let spec = match &arguments.config_file {
        Some(path) => MachineSpec::from_file(path)?,
        None => MachineSpec::default(),
    };
    let (endings, ended) = mpsc::channel();
    let host = Host { worker_loop: start_worker_loop()?, endings };
    let machine = machine::build(&spec, &host)?;
    if let Ok(input) = std::io::stdin().as_fd().try_clone_to_owned() {
        console_input::listen(&host.worker_loop, input, machine.serial());
    }
    let ending = ended.recv().unwrap_or_else(|_| Ending::Broken("every vCPU is gone".into()));
    let record = exit_record::record(&ending, machine.end());
    match record {
        ExitRecord::VmmError { message } => Err(ProcessError::Broken(message)),
        record => Ok(record),
    }
}

fn start_worker_loop() -> Result<WorkerLoopHandle, ProcessError> {
    let worker_loop = WorkerLoop::new()?;
    let handle = worker_loop.handle();
    std::thread::Builder::new()
        .name("io".into())
        .stack_size(256 << 10)
        .spawn(move || worker_loop.run())
        .map_err(ProcessError::Thread)?;
    Ok(handle)
}
