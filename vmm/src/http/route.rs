//! Which endpoint a request is for.

use hyper::Method;

use super::answer::Answer;
use super::endpoint::{Call, Endpoint};
use super::{
    actions, balloon, boot_source, cpu_config, drives, entropy, instance, logger, machine_config, metrics,
    mmds, network_interfaces, pmem, smbios, version, vm, vm_config, vsock,
};
use crate::machine::Controller;

/// Method, path, endpoint. A `*` stands for one component, the call's id.
const ROUTES: &[(Method, &str, Endpoint)] = &[
    (Method::GET, "/", instance::get),
    (Method::GET, "/version", version::get),
    (Method::PATCH, "/vm", vm::patch),
    (Method::GET, "/vm/config", vm_config::get),
    (Method::GET, "/machine-config", machine_config::get),
    (Method::PUT, "/machine-config", machine_config::put),
    (Method::PATCH, "/machine-config", machine_config::patch),
    (Method::PUT, "/cpu-config", cpu_config::put),
    (Method::PUT, "/boot-source", boot_source::put),
    (Method::PUT, "/drives/*", drives::put),
    (Method::PATCH, "/drives/*", drives::patch),
    (Method::PUT, "/pmem/*", pmem::put),
    (Method::PATCH, "/pmem/*", pmem::patch),
    (Method::PUT, "/network-interfaces/*", network_interfaces::put),
    (Method::PATCH, "/network-interfaces/*", network_interfaces::patch),
    (Method::GET, "/mmds", mmds::get),
    (Method::PUT, "/mmds", mmds::put),
    (Method::PATCH, "/mmds", mmds::patch),
    (Method::PUT, "/mmds/config", mmds::put_config),
    (Method::PUT, "/vsock", vsock::put),
    (Method::PUT, "/entropy", entropy::put),
    (Method::GET, "/balloon", balloon::get),
    (Method::PUT, "/balloon", balloon::put),
    (Method::PATCH, "/balloon", balloon::patch),
    (Method::GET, "/balloon/statistics", balloon::statistics),
    (Method::PATCH, "/balloon/statistics", balloon::patch_statistics),
    (Method::PATCH, "/balloon/hinting/start", balloon::start_hinting),
    (Method::GET, "/balloon/hinting/status", balloon::hinting_status),
    (Method::PATCH, "/balloon/hinting/stop", balloon::stop_hinting),
    (Method::PUT, "/smbios", smbios::put),
    (Method::PUT, "/logger", logger::put),
    (Method::PUT, "/metrics", metrics::put),
    (Method::PUT, "/actions", actions::put),
];

/// What Firecracker serves and this VMM does not yet, by the path's first component.
const NOT_YET: [&str; 3] = ["hotplug", "serial", "snapshot"];

/// Answers a request.
pub fn answer(controller: &Controller, method: &Method, path: &str, body: &[u8]) -> Answer {
    let found = ROUTES.iter().filter(|(other, ..)| other == method).find_map(|(_, pattern, endpoint)| {
        matched(pattern, path).map(|id| endpoint(&Call { controller, id, body }))
    });
    found.unwrap_or_else(|| {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        if NOT_YET.contains(&first) {
            return Answer::refused(format!("{method} {path} is not supported yet by this VMM."));
        }
        Answer::refused(format!("Invalid request method and/or path: {method} {path}."))
    })
}

/// The id, where `path` is one that `pattern` means.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return (pattern == path).then_some("");
    };
    path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/'))
}
