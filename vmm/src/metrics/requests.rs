//! What the API was asked for.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Requests that read (Firecracker's `get_api_requests`).
#[derive(Debug, Default, Serialize)]
pub struct GetMetrics {
    /// Of `/`.
    pub instance_info_count: Counter,
    /// Of `/machine-config`.
    pub machine_cfg_count: Counter,
    /// Of `/mmds`.
    pub mmds_count: Counter,
    /// Of `/version`.
    pub vmm_version_count: Counter,
    /// Of `/hotplug/memory`.
    pub hotplug_memory_count: Counter,
}
}

figures! {
/// Requests that configure or act, and those of them that were refused (Firecracker's `put_api_requests`).
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "each is the path it is named after, counted or refused")]
pub struct PutMetrics {
    pub actions_count: Counter,
    pub actions_fails: Counter,
    pub boot_source_count: Counter,
    pub boot_source_fails: Counter,
    pub drive_count: Counter,
    pub drive_fails: Counter,
    pub logger_count: Counter,
    pub logger_fails: Counter,
    pub machine_cfg_count: Counter,
    pub machine_cfg_fails: Counter,
    pub cpu_cfg_count: Counter,
    pub cpu_cfg_fails: Counter,
    pub metrics_count: Counter,
    pub metrics_fails: Counter,
    pub network_count: Counter,
    pub network_fails: Counter,
    pub mmds_count: Counter,
    pub mmds_fails: Counter,
    pub vsock_count: Counter,
    pub vsock_fails: Counter,
    pub pmem_count: Counter,
    pub pmem_fails: Counter,
    pub serial_count: Counter,
    pub serial_fails: Counter,
    pub hotplug_memory_count: Counter,
    pub hotplug_memory_fails: Counter,
}
}

figures! {
/// Requests that change a part, and those of them that were refused (Firecracker's `patch_api_requests`).
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "each is the path it is named after, counted or refused")]
pub struct PatchMetrics {
    pub drive_count: Counter,
    pub drive_fails: Counter,
    pub network_count: Counter,
    pub network_fails: Counter,
    pub machine_cfg_count: Counter,
    pub machine_cfg_fails: Counter,
    pub mmds_count: Counter,
    pub mmds_fails: Counter,
    pub hotplug_memory_count: Counter,
    pub hotplug_memory_fails: Counter,
    pub pmem_count: Counter,
    pub pmem_fails: Counter,
}
}

/// Requests by method.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    /// `get_api_requests`.
    pub get: std::sync::Arc<GetMetrics>,
    /// `put_api_requests`.
    pub put: std::sync::Arc<PutMetrics>,
    /// `patch_api_requests`.
    pub patch: std::sync::Arc<PatchMetrics>,
}

/// Where a request is counted, and where it is if it is refused.
pub struct Tally<'a>(Option<&'a Counter>, Option<&'a Counter>);

impl Tally<'_> {
    /// Counts a request.
    pub fn count(&self, refused: bool) {
        self.0.iter().for_each(|counter| counter.increment());
        self.1.iter().filter(|_| refused).for_each(|counter| counter.increment());
    }
}

impl RequestMetrics {
    /// Where a request to `path` (its first component) is counted; Firecracker does not count all.
    pub fn tally(&self, method: &str, path: &str) -> Tally<'_> {
        match method {
            "GET" => Tally(self.get(path), None),
            "PUT" => self.put(path).map_or(Tally(None, None), |(all, fails)| Tally(Some(all), Some(fails))),
            "PATCH" => {
                self.patch(path).map_or(Tally(None, None), |(all, fails)| Tally(Some(all), Some(fails)))
            }
            _ => Tally(None, None),
        }
    }

    fn get(&self, path: &str) -> Option<&Counter> {
        let get = &self.get;
        Some(match path {
            "" => &get.instance_info_count,
            "machine-config" => &get.machine_cfg_count,
            "mmds" => &get.mmds_count,
            "version" => &get.vmm_version_count,
            "hotplug" => &get.hotplug_memory_count,
            _ => return None,
        })
    }

    fn put(&self, path: &str) -> Option<(&Counter, &Counter)> {
        let put = &self.put;
        Some(match path {
            "actions" => (&put.actions_count, &put.actions_fails),
            "boot-source" => (&put.boot_source_count, &put.boot_source_fails),
            "cpu-config" => (&put.cpu_cfg_count, &put.cpu_cfg_fails),
            "drives" => (&put.drive_count, &put.drive_fails),
            "hotplug" => (&put.hotplug_memory_count, &put.hotplug_memory_fails),
            "logger" => (&put.logger_count, &put.logger_fails),
            "machine-config" => (&put.machine_cfg_count, &put.machine_cfg_fails),
            "metrics" => (&put.metrics_count, &put.metrics_fails),
            "mmds" => (&put.mmds_count, &put.mmds_fails),
            "network-interfaces" => (&put.network_count, &put.network_fails),
            "pmem" => (&put.pmem_count, &put.pmem_fails),
            "serial" => (&put.serial_count, &put.serial_fails),
            "vsock" => (&put.vsock_count, &put.vsock_fails),
            _ => return None,
        })
    }

    fn patch(&self, path: &str) -> Option<(&Counter, &Counter)> {
        let patch = &self.patch;
        Some(match path {
            "drives" => (&patch.drive_count, &patch.drive_fails),
            "hotplug" => (&patch.hotplug_memory_count, &patch.hotplug_memory_fails),
            "machine-config" => (&patch.machine_cfg_count, &patch.machine_cfg_fails),
            "mmds" => (&patch.mmds_count, &patch.mmds_fails),
            "network-interfaces" => (&patch.network_count, &patch.network_fails),
            "pmem" => (&patch.pmem_count, &patch.pmem_fails),
            _ => return None,
        })
    }
}
