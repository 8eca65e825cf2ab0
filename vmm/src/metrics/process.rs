//! What a process counts whatever its machine has: Firecracker's groups that are in every report.

use std::sync::Arc;

use serde::Serialize;

use super::figures::figures;
use super::{Counter, Gauge, RequestMetrics, VcpuMetrics};

figures! {
/// How the process came up (Firecracker's `api_server`).
#[derive(Debug, Default, Serialize)]
pub struct ApiServerMetrics {
    /// From `--start-time-us` until the API was served, in microseconds.
    pub process_startup_time_us: Gauge,
    /// Processor time from `--start-time-cpu-us` until then, and the parent's, in microseconds.
    pub process_startup_time_cpu_us: Gauge,
}
}

figures! {
/// Requests that use what Firecracker has deprecated (its `deprecated_api`).
#[derive(Debug, Default, Serialize)]
pub struct DeprecatedMetrics {
    /// How many.
    pub deprecated_http_api_calls: Counter,
}
}

figures! {
/// How long requests took the last time, in microseconds (Firecracker's `latencies_us`): as seen by the API,
/// and of these what the machine itself took.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LatencyMetrics {
    pub full_create_snapshot: Gauge,
    pub diff_create_snapshot: Gauge,
    pub load_snapshot: Gauge,
    pub pause_vm: Gauge,
    pub resume_vm: Gauge,
    pub vmm_full_create_snapshot: Gauge,
    pub vmm_diff_create_snapshot: Gauge,
    pub vmm_load_snapshot: Gauge,
    pub vmm_pause_vm: Gauge,
    pub vmm_resume_vm: Gauge,
}
}

figures! {
/// What was lost of messages and figures (Firecracker's `logger`).
#[derive(Debug, Default, Serialize)]
pub struct LoggerMetrics {
    /// Lines of figures that were not written.
    pub missed_metrics_count: Counter,
    /// Figures that could not be put into words.
    pub metrics_fails: Counter,
    /// Messages that were not written.
    pub missed_log_count: Counter,
    /// Messages that a guest caused too often.
    pub rate_limited_log_count: Counter,
}
}

figures! {
/// System calls that the filter refused (Firecracker's `seccomp`).
#[derive(Debug, Default, Serialize)]
pub struct SeccompMetrics {
    /// How many; 0 until there is a filter.
    pub num_faults: Gauge,
}
}

figures! {
/// Signals that came (Firecracker's `signals`). Of most this process dies before it could tell.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SignalMetrics {
    pub sigbus: Gauge,
    pub sigsegv: Gauge,
    pub sigxfsz: Gauge,
    pub sigxcpu: Gauge,
    pub sigpipe: Counter,
    pub sighup: Gauge,
    pub sigill: Gauge,
}
}

figures! {
/// COM1 (Firecracker's `uart`).
#[derive(Debug, Default, Serialize)]
pub struct UartMetrics {
    /// Accesses that failed.
    pub error_count: Counter,
    /// Times that output was written out.
    pub flush_count: Counter,
    /// Reads that are no reads of a register.
    pub missed_read_count: Counter,
    /// Writes that are no writes to a register, and bytes lost on a port that loops back.
    pub missed_write_count: Counter,
    /// Bytes of input that the guest took.
    pub read_count: Counter,
    /// Bytes that the guest wrote.
    pub write_count: Counter,
    /// Bytes beyond the limit on output.
    pub rate_limiter_dropped_bytes: Counter,
}
}

figures! {
/// The keyboard controller (Firecracker's `i8042`).
#[derive(Debug, Default, Serialize)]
pub struct KeyboardMetrics {
    /// Keys that could not be typed.
    pub error_count: Counter,
    /// Reads that are no reads of a register.
    pub missed_read_count: Counter,
    /// Writes that are no writes to a register.
    pub missed_write_count: Counter,
    /// Reads.
    pub read_count: Counter,
    /// Resets that the guest asked for here.
    pub reset_count: Counter,
    /// Writes.
    pub write_count: Counter,
}
}

figures! {
/// The process as a whole (Firecracker's `vmm`).
#[derive(Debug, Default, Serialize)]
pub struct VmmMetrics {
    /// 1 when the process ends by a fault of its own.
    pub panic_count: Gauge,
}
}

figures! {
/// When the machine ran; an addition to Firecracker's groups.
#[derive(Debug, Default, Serialize)]
pub struct MachineMetrics {
    /// When its processors started, in milliseconds since 1970, UTC; 0 before.
    pub start_time_ms: Gauge,
    /// When it ended, likewise.
    pub end_time_ms: Gauge,
    /// From the start until the guest said that it had booted (`--boot-timer`), in microseconds.
    pub guest_boot_time_us: Gauge,
}
}

/// All of them.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub struct ProcessMetrics {
    pub api_server: Arc<ApiServerMetrics>,
    pub deprecated: Arc<DeprecatedMetrics>,
    pub requests: RequestMetrics,
    pub keyboard: Arc<KeyboardMetrics>,
    pub latencies: Arc<LatencyMetrics>,
    pub logger: Arc<LoggerMetrics>,
    pub machine: Arc<MachineMetrics>,
    pub seccomp: Arc<SeccompMetrics>,
    pub signals: Arc<SignalMetrics>,
    pub uart: Arc<UartMetrics>,
    pub vcpu: Arc<VcpuMetrics>,
    pub vmm: Arc<VmmMetrics>,
}

impl ProcessMetrics {
    /// The groups by the names under which they are reported.
    pub(super) fn groups(&self) -> [(&'static str, Arc<dyn super::Group>); 14] {
        [
            ("api_server", self.api_server.clone()),
            ("deprecated_api", self.deprecated.clone()),
            ("get_api_requests", self.requests.get.clone()),
            ("i8042", self.keyboard.clone()),
            ("latencies_us", self.latencies.clone()),
            ("logger", self.logger.clone()),
            ("machine", self.machine.clone()),
            ("patch_api_requests", self.requests.patch.clone()),
            ("put_api_requests", self.requests.put.clone()),
            ("seccomp", self.seccomp.clone()),
            ("signals", self.signals.clone()),
            ("uart", self.uart.clone()),
            ("vcpu", self.vcpu.clone()),
            ("vmm", self.vmm.clone()),
        ]
    }
}
