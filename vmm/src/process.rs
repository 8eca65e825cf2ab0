//! The process around a machine: threads, signals, the API's socket, how it ends.
#![allow(unsafe_code, reason = "takes over a descriptor that the starter names; sets the file mode mask")]

use std::fs::File;
use std::os::fd::FromRawFd;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use bulkhead_protocol::console::last_lines;
use bulkhead_protocol::exit::ExitRecord;

use crate::arguments::{ArgumentError, Arguments, FIRECRACKER, Started};
use crate::config::{ConfigError, MachineSpec, Metrics};
use crate::http::{ApiError, ApiServer};
use crate::machine::{ControlError, Controller, Host};
use crate::metrics::{ProcessMetrics, Registry, Sink};
use crate::mmds::{Mmds, MmdsError};
use crate::signals::Signals;
use crate::vcpu::Ending;
use crate::virtio::VirtioError;
use crate::virtio::worker_loop::LoopThread;
use crate::{chain, clock, exit_record, logger};

/// Firecracker's status for everything without one of its own.
const FAILED: u8 = 1;
/// Firecracker's status for a configuration that is refused.
const BAD_CONFIGURATION: u8 = 152;
/// Firecracker's status for arguments that are refused.
const BAD_ARGUMENTS: u8 = 153;

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
    #[error("Cannot watch for signals")]
    Signals(#[source] std::io::Error),
}

impl ProcessError {
    fn status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Metadata(_) | Self::Control(ControlError::Config(_)) => BAD_CONFIGURATION,
            _ => FAILED,
        }
    }
}

/// The status for arguments that are refused; Firecracker takes a level for a part of the configuration.
pub fn refusal(error: &ArgumentError) -> u8 {
    match error {
        ArgumentError::Level(_) => BAD_CONFIGURATION,
        _ => BAD_ARGUMENTS,
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
    log::error!("{message}");
    eprintln!("{message}");
    ExitRecord::VmmError { message }
}

fn run_machine(arguments: &Arguments) -> Result<(ExitRecord, u8), ProcessError> {
    let metrics = Registry::default();
    logger::install(&arguments.id, metrics.process().logger.clone());
    arguments.logger.iter().try_for_each(logger::update)?;
    log::info!("Bulkhead VMM {} for Firecracker's API {FIRECRACKER}", env!("CARGO_PKG_VERSION"));

    let asked = arguments.config_file.as_deref().map(MachineSpec::from_file).transpose()?;
    let signals = Signals::block().map_err(ProcessError::Signals)?;
    let devices = LoopThread::start("io")?;
    let (endings, ended) = mpsc::channel();
    signals.listen(devices.handle(), endings.clone())?;

    let mmds = Mmds::new(arguments.mmds_limit, metrics.group("mmds"));
    arguments.metadata.as_deref().map(|path| mmds.load(path)).transpose()?;
    let host = Host { worker_loop: devices.handle().clone(), endings, metrics: metrics.clone(), mmds };
    let mut spec = asked.clone().unwrap_or_default();
    spec.boot_timer = arguments.boot_timer;
    let controller = Arc::new(Controller::new(arguments.id.clone(), spec, host));
    tell_of_panics(controller.sink().clone(), metrics.process().clone());
    observe(arguments, asked.as_ref(), &controller)?;

    let api = arguments.api_sock.as_deref().map(ApiServer::bind).transpose()?;
    if asked.is_some() {
        controller.start()?;
    }
    let _api = api.map(|api| api.serve(controller.clone(), arguments.max_payload)).transpose()?;
    report_start(&arguments.started, metrics.process());

    let ending = ended.recv().unwrap_or_else(|_| Ending::Broken("every vCPU is gone".into()));
    log::info!("The machine ends: {ending}");
    if ending == Ending::Signal(libc::SIGHUP) {
        metrics.process().signals.sighup.set(1);
    }
    let record = exit_record::record(&ending, controller.end());
    if let Some((sentence, console)) = exit_record::failure(&record) {
        // Both of them: whoever reads one may not have the other, nor the console.
        log::error!("{sentence}");
        eprintln!("{sentence}");
        for line in last_lines(console) {
            log::error!("The console said: {line}");
            eprintln!("    {line}");
        }
    }
    let status = match ending {
        Ending::PowerOff | Ending::Reset | Ending::TripleFault => 0,
        Ending::Broken(_) => FAILED,
        // As a shell reports it.
        Ending::Signal(number) => u8::try_from(128 + number).unwrap_or(FAILED),
    };
    log::info!("The process ends with status {status}");
    Ok((record, status))
}

/// Opens what messages and figures are written to: as the arguments say, then as the configuration does.
fn observe(
    arguments: &Arguments,
    asked: Option<&MachineSpec>,
    controller: &Controller,
) -> Result<(), ProcessError> {
    if let Some(path) = &arguments.metrics_path {
        let section = Metrics { metrics_path: path.clone(), emit_id: false, properties: Default::default() };
        controller.set_metrics(section)?;
    }
    let Some(spec) = asked else { return Ok(()) };
    spec.logger.iter().cloned().try_for_each(|section| controller.set_logger(section))?;
    spec.metrics.iter().cloned().try_for_each(|section| controller.set_metrics(section))?;
    Ok(())
}

/// Counts and logs how long it took until here from when the starter began, if it says so.
fn report_start(started: &Started, metrics: &ProcessMetrics) {
    let api = &metrics.api_server;
    if let Some(start) = started.monotonic_us {
        let took = clock::monotonic_us().saturating_sub(start);
        api.process_startup_time_us.set(took);
        log::info!("The process was ready after {took} us");
    }
    if let Some(start) = started.processor_us {
        let parent = started.parent_us.unwrap_or_default();
        let took = clock::process_cpu_us().saturating_sub(start).saturating_add(parent);
        api.process_startup_time_cpu_us.set(took);
        log::info!("The process was ready after {took} CPU us");
    }
}

/// Before a panic ends the process, it is logged and counted.
fn tell_of_panics(sink: Arc<Sink>, metrics: Arc<ProcessMetrics>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log::error!("The VMM breaks down: {panic}");
        metrics.vmm.panic_count.set(1);
        sink.flush_in_distress();
        usual(panic);
    }));
}
