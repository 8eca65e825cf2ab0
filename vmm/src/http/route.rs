//! Which endpoint a request is for.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::endpoint::{Call, Endpoint};
use super::{
    actions, balloon, boot_source, console, cpu_config, drives, entropy, instance, logger, machine_config,
    metrics, mmds, network_interfaces, pmem, serial, smbios, version, vm, vm_config, vsock,
};
use crate::machine::Controller;

/// Method, path, endpoint. A `*` stands for one component, the call's id.
pub(super) const ROUTES: &[(Method, &str, Endpoint)] = &[
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
    (Method::GET, "/metrics/prometheus", metrics::prometheus),
    (Method::PUT, "/serial", serial::put),
    (Method::PUT, "/console", console::put),
    (Method::PUT, "/actions", actions::put),
];

/// What Firecracker serves and this VMM does not yet, by the path's first component.
const NOT_YET: [&str; 2] = ["hotplug", "snapshot"];

/// Fields that Firecracker has deprecated, by the path's first component: who uses them is told so.
const DEPRECATED: [(&str, &str); 2] = [("machine-config", "cpu_template"), ("vsock", "vsock_id")];

/// Answers a request, counts it and says so in the log; never what is in a body.
pub fn respond(
    controller: &Controller,
    method: &Method,
    path: &str,
    body: &Result<Bytes, Answer>,
) -> Response<Full<Bytes>> {
    // As in Firecracker, slashes around a path mean nothing.
    let path = path.trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let (answer, deprecated) = match body {
        Ok(body) => (answer(controller, method, path, body), is_deprecated(method, first, body)),
        Err(fault) => (fault.clone(), false),
    };
    let metrics = controller.metrics().process();
    metrics.requests.tally(method.as_str(), first).count(answer.fault().is_some());
    if deprecated {
        metrics.deprecated.deprecated_http_api_calls.increment();
        log::warn!("{method} /{path} uses a deprecated field");
    }
    let status = answer.status().as_u16();
    match answer.fault() {
        None => log::info!("{method} /{path}: {status}"),
        Some(message) => log::error!("{method} /{path}: {status}: {message}"),
    }
    answer.render(deprecated)
}

fn answer(controller: &Controller, method: &Method, path: &str, body: &[u8]) -> Answer {
    if *method == Method::GET && !body.is_empty() {
        return Answer::refused("GET request cannot have a body.");
    }
    let found = ROUTES.iter().filter(|(other, ..)| other == method).find_map(|(_, pattern, endpoint)| {
        matched(pattern.trim_start_matches('/'), path).map(|id| endpoint(&Call { controller, id, body }))
    });
    found.unwrap_or_else(|| {
        let first = path.split('/').next().unwrap_or_default();
        if NOT_YET.contains(&first) {
            return Answer::refused(format!("{method} /{path} is not supported yet by this VMM."));
        }
        Answer::refused(format!("Invalid request method and/or path: {method} /{path}."))
    })
}

fn is_deprecated(method: &Method, first: &str, body: &[u8]) -> bool {
    let field = DEPRECATED.iter().find(|(path, _)| *path == first && *method != Method::GET);
    field.is_some_and(|(_, field)| {
        let body: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
        body.is_some_and(|body| body.get(*field).is_some_and(|value| !value.is_null()))
    })
}

/// The id, where `path` is one that `pattern` means.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return (pattern == path).then_some("");
    };
    path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/'))
}
