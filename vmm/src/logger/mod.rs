//! Messages for people: what the machine's process does, in Firecracker's form.
//!
//! The facade is the crate `log`: its macros bring level, module and place, and cost a load and a comparison
//! where nothing is written. Nothing on the way of a guest's data logs. Nobody is told anything until somebody
//! asks for it, by an argument, the section `logger` or `PUT /logger`: standard output is the guest's console.

mod throttle;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use log::{LevelFilter, Log, Metadata, Record};

pub use self::throttle::Throttle;
use crate::arguments::DEFAULT_ID;
use crate::clock;
use crate::config::{self, ConfigError};
use crate::metrics::LoggerMetrics;
use crate::outlet::{Outlet, WHOLE};

/// The process's logger.
static LOGGER: Logger = Logger::new();

/// Makes the process's messages begin with `id`, and counts the lost ones in `metrics`.
pub fn install(id: &str, metrics: Arc<LoggerMetrics>) {
    LOGGER.begin(id, metrics);
    log::set_max_level(LevelFilter::Off);
    // Refused only when there is a logger already: this one.
    let _ = log::set_logger(&LOGGER);
}

/// Writes messages as `section` says from now on. What it does not name stays as it is; its level becomes
/// `Info`.
pub fn update(section: &config::Logger) -> Result<(), ConfigError> {
    LOGGER.update(section)?;
    log::set_max_level(section.level.unwrap_or_default().into());
    Ok(())
}

/// Writes messages as lines.
#[derive(Debug)]
struct Logger {
    id: OnceLock<String>,
    metrics: OnceLock<Arc<LoggerMetrics>>,
    form: RwLock<Form>,
}

/// Which messages are written, where and how.
#[derive(Debug)]
struct Form {
    outlet: Option<Outlet>,
    module: Option<String>,
    show_level: bool,
    show_origin: bool,
}

impl Logger {
    const fn new() -> Self {
        let form = Form { outlet: None, module: None, show_level: false, show_origin: false };
        Self { id: OnceLock::new(), metrics: OnceLock::new(), form: RwLock::new(form) }
    }

    fn begin(&self, id: &str, metrics: Arc<LoggerMetrics>) {
        // A process has one machine: the first name is the name.
        let _ = self.id.set(id.to_owned());
        let _ = self.metrics.set(metrics);
    }

    fn update(&self, section: &config::Logger) -> Result<(), ConfigError> {
        let opened = match &section.log_path {
            Some(path) => Some(Outlet::open(path).map_err(|error| {
                ConfigError::invalid("logger", format!("cannot open {}: {error}", path.display()))
            })?),
            None => None,
        };
        let mut form = self.form.write().unwrap_or_else(PoisonError::into_inner);
        // As in Firecracker, messages without a file of their own go to standard output.
        form.outlet = opened.or_else(|| form.outlet.take()).or_else(|| Outlet::stdout().ok());
        form.module = section.module.clone().or_else(|| form.module.take());
        form.show_level = section.show_level.unwrap_or(form.show_level);
        form.show_origin = section.show_log_origin.unwrap_or(form.show_origin);
        Ok(())
    }

    fn line(&self, form: &Form, record: &Record<'_>) -> Vec<u8> {
        let id = self.id.get().map_or(DEFAULT_ID, String::as_str);
        let thread = std::thread::current();
        let mut head = format!("{} [{id}:{}", clock::local_time(), thread.name().unwrap_or("-"));
        if form.show_level {
            head = format!("{head}:{}", record.level());
        }
        if form.show_origin {
            head = format!("{head}:{}:{}", record.file().unwrap_or("?"), record.line().unwrap_or_default());
        }
        let mut line = format!("{head}] {}", record.args()).replace(['\n', '\r'], " ").into_bytes();
        line.truncate(WHOLE - 1);
        line.push(b'\n');
        line
    }
}

impl Log for Logger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let form = self.form.read().unwrap_or_else(PoisonError::into_inner);
        let Some(outlet) = &form.outlet else { return };
        let from = record.module_path().unwrap_or_default();
        if form.module.as_ref().is_some_and(|module| !from.starts_with(module.as_str())) {
            return;
        }
        if outlet.write_line(&self.line(&form, record)).is_err()
            && let Some(metrics) = self.metrics.get()
        {
            metrics.missed_log_count.increment();
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
#[path = "logger_tests.rs"]
mod tests;
