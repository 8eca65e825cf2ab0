//! Where figures are written.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use vmm_sys_util::timerfd::TimerFd;

use super::Registry;
use crate::clock;
use crate::config::{ConfigError, Metrics};
use crate::outlet::Outlet;
use crate::virtio::worker_loop::WorkerLoopHandle;

/// How often figures are written without being asked for, as in Firecracker.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Writes a process's figures as lines of JSON, once it has been told where.
pub struct Sink {
    id: String,
    registry: Registry,
    target: Mutex<Option<Target>>,
}

struct Target {
    outlet: Outlet,
    emit_id: bool,
    properties: BTreeMap<String, String>,
    /// What a pipe has not taken yet of the last line: a reader never sees half a line.
    rest: Vec<u8>,
}

impl Sink {
    /// For the figures in `registry` of the machine `id`.
    pub fn new(id: &str, registry: Registry) -> Arc<Self> {
        Arc::new(Self { id: id.to_owned(), registry, target: Mutex::new(None) })
    }

    /// Writes to where `section` says from now on. Firecracker takes one such place in a process's life.
    pub fn open(&self, section: &Metrics) -> Result<(), ConfigError> {
        let mut target = self.target();
        if target.is_some() {
            return Err(ConfigError::invalid("metrics", "they are written to another file already"));
        }
        let path = &section.metrics_path;
        let outlet = Outlet::open(path).map_err(|error| {
            ConfigError::invalid("metrics", format!("cannot open {}: {error}", path.display()))
        })?;
        let (emit_id, properties) = (section.emit_id, section.properties.clone());
        *target = Some(Target { outlet, emit_id, properties, rest: Vec::new() });
        Ok(())
    }

    /// Writes a line, if there is a place for it.
    pub fn flush(&self) -> io::Result<()> {
        self.write(&mut self.target())
    }

    /// The same, but for a thread that may be in the middle of it.
    pub fn flush_in_distress(&self) {
        if let Ok(mut target) = self.target.try_lock()
            && !self.registry.is_busy()
        {
            // There is nobody left to be told of a failure.
            let _ = self.write(&mut target);
        }
    }

    /// Writes a line now, and one in each `period` from the loop's thread.
    pub fn repeat(self: &Arc<Self>, worker_loop: &WorkerLoopHandle, period: Duration) {
        if self.target().is_none() {
            return;
        }
        self.flush_or_log();
        let timer = TimerFd::new().and_then(|mut timer| timer.reset(period, Some(period)).map(|()| timer));
        let Ok(mut timer) = timer else {
            log::error!("The host has no timer for the metrics: they are written on request only");
            return;
        };
        let sink = self.clone();
        let descriptor = timer.as_raw_fd();
        let ready = move || {
            // Readable, so this does not wait.
            if timer.wait().is_ok() {
                sink.flush_or_log();
            }
            true
        };
        if let Err(error) = worker_loop.add_reader(descriptor, Box::new(ready)) {
            log::error!("Cannot write metrics each minute: {error}");
        }
    }

    fn flush_or_log(&self) {
        if let Err(error) = self.flush() {
            log::error!("Cannot write metrics: {error}");
        }
    }

    fn write(&self, target: &mut Option<Target>) -> io::Result<()> {
        let Some(target) = target else { return Ok(()) };
        let missed = |_: &io::Error| self.registry.process().logger.missed_metrics_count.increment();
        // Before the figures are taken: what is told is told once.
        target.drain().inspect_err(missed)?;
        let mut line = self.registry.report();
        if target.emit_id {
            line.insert("id".into(), self.id.as_str().into());
        }
        if !target.properties.is_empty() {
            line.insert("properties".into(), json!(target.properties));
        }
        line.insert("utc_timestamp_ms".into(), clock::utc_ms().into());
        target.rest = Value::from(line).to_string().into_bytes();
        target.rest.push(b'\n');
        match target.drain() {
            // The line has begun; its rest comes before the next one.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done.inspect_err(missed),
        }
    }

    fn target(&self) -> MutexGuard<'_, Option<Target>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// Writes what is left.
    fn drain(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            let written = self.outlet.write(&self.rest)?;
            self.rest.drain(..written);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
