//! The process around a machine: threads, signals, the API's socket, how it ends.
#![allow(unsafe_code, reason = "takes over a descriptor that the starter names; sets the file mode mask")]

use std::fs::File;
use std::os::fd::FromRawFd;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use bulkhead_protocol::exit::ExitRecord;

use crate::arguments::Arguments;
use crate::config::{ConfigError, MachineSpec};
use crate::http::{ApiError, ApiServer};
use crate::machine::{ControlError, Controller, Host};
use crate::metrics::Registry;
use crate::mmds::{Mmds, MmdsError};
use crate::signals::Signals;
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
    Metadata(#[from] MmdsError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Loop(#[from] VirtioError),
    #[error("Cannot start the thread of the devices")]
    Thread(#[source] std::io::Error),
    #[error("Cannot watch for signals")]
    Signals(#[source] std::io::Error),
}

impl ProcessError {
    fn status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Metadata(_) => BAD_CONFIGURATION,
            _ => FAILED,
        }
    }
}

/// Runs one machine and tells how it ended.
pub fn run(arguments: &Arguments) -> ExitCode {
    // SAFETY: The starter names a descriptor that it opened for this; nothing in this process has it.
    let record_to = arguments.exit_record_fd.map(|fd| unsafe { File::from_raw_fd(fd) });
    // Sockets and files that this process makes are its user's alone.
    // SAFETY: Sets a number of the process; there is no other thread yet.
    unsafe { libc::umask(0o077) };
    let (record, status) = match run_machine(arguments) {
        Ok((ExitRecord::VmmError { message }, status)) => (failure(message), status),
        Ok(ended) => ended,
        Err(error) => (failure(chain(&error)), error.status()),
    };
    exit_record::write(record_to, &record);
    ExitCode::from(status)
}

/// Says on standard error what went wrong: the one place that does.
fn failure(message: String) -> ExitRecord {
    eprintln!("{message}");
    ExitRecord::VmmError { message }
}

fn run_machine(arguments: &Arguments) -> Result<(ExitRecord, u8), ProcessError> {
    let spec = match &arguments.config_file {
        Some(path) => MachineSpec::from_file(path)?,
        None => MachineSpec::default(),
    };
    let signals = Signals::block().map_err(ProcessError::Signals)?;
    let devices = DeviceThread::start()?;
    let (endings, ended) = mpsc::channel();
    signals.listen(&devices.handle, endings.clone())?;

    let metrics = Registry::default();
    let mmds = Mmds::new(arguments.mmds_limit, metrics.group("mmds"));
    arguments.metadata.as_deref().map(|path| mmds.load(path)).transpose()?;
    let host = Host { worker_loop: devices.handle.clone(), endings, metrics, mmds };
    let controller = Arc::new(Controller::new(arguments.id.clone(), spec, host));
    let api = arguments.api_sock.as_deref().map(ApiServer::bind).transpose()?;
    if arguments.config_file.is_some() {
        controller.start()?;
    }
    let _api = api.map(|api| api.serve(controller.clone(), arguments.max_payload)).transpose()?;

    let ending = ended.recv().unwrap_or_else(|_| Ending::Broken("every vCPU is gone".into()));
    let record = exit_record::record(&ending, controller.end());
    let status = match ending {
        Ending::PowerOff | Ending::Reset => 0,
        Ending::Broken(_) => FAILED,
        // As a shell reports it.
        Ending::Signal(number) => u8::try_from(128 + number).unwrap_or(FAILED),
    };
    Ok((record, status))
}

/// The thread of the devices; ends with its owner.
struct DeviceThread {
    handle: WorkerLoopHandle,
    thread: Option<JoinHandle<()>>,
}

impl DeviceThread {
    fn start() -> Result<Self, ProcessError> {
        let worker_loop = WorkerLoop::new()?;
        let handle = worker_loop.handle();
        let run = move || {
            if let Err(error) = worker_loop.run() {
                eprintln!("{}", chain(&error));
            }
        };
        let thread = std::thread::Builder::new()
            .name("io".into())
            .stack_size(256 << 10)
            .spawn(run)
            .map_err(ProcessError::Thread)?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        if self.handle.stop().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic on that thread has been reported by it.
            let _ = thread.join();
        }
    }
}
