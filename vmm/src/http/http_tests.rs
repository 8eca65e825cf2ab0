use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::MachineSpec;
use crate::machine::{Controller, Host};
use crate::metrics::Registry;
use crate::mmds::Mmds;
use crate::virtio::worker_loop::WorkerLoop;

struct Server {
    folder: TempDir,
    controller: Arc<Controller>,
    _socket: server::SocketPath,
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api");
        let host = Host {
            worker_loop: WorkerLoop::new().unwrap().handle(),
            endings: mpsc::channel().0,
            metrics: Registry::default(),
            mmds: Mmds::new(200, Arc::default()),
        };
        let controller = Arc::new(Controller::new("vm-1".into(), MachineSpec::default(), host));
        let _socket = ApiServer::bind(&path).unwrap().serve(controller.clone(), 51200).unwrap();
        Self { folder, controller, _socket }
    }

    fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("api")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may answer and hang up before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response);
        response
    }

    fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let length = body.len();
        let response = self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        let body = response.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn fault(&self, method: &str, path: &str, body: Option<Value>) -> String {
        let (status, body) = self.call(method, path, body);
        assert_eq!(status, 400, "{body}");
        body["fault_message"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_machine_is_described_and_configured() {
    let server = Server::new();
    let (status, info) = server.call("GET", "/", None);
    assert_eq!((status, &info["id"], &info["state"]), (200, &json!("vm-1"), &json!("Not started")));
    assert_eq!(server.call("GET", "/version", None).1["firecracker_version"], "1.17.0");
    assert_eq!(server.call("GET", "/machine-config", None).1["mem_size_mib"], 128);

    let file = tempfile::NamedTempFile::new().unwrap();
    let puts = [
        ("/machine-config", json!({"vcpu_count": 2, "mem_size_mib": 256})),
        ("/boot-source", json!({"kernel_image_path": file.path()})),
        ("/drives/a", json!({"drive_id": "a", "is_root_device": false, "path_on_host": file.path()})),
        ("/network-interfaces/n", json!({"iface_id": "n", "host_dev_name": "tap0"})),
        ("/pmem/p", json!({"id": "p", "path_on_host": "/p", "root_device": true})),
        ("/vsock", json!({"guest_cid": 3, "uds_path": "/s"})),
        ("/entropy", json!({})),
        ("/smbios", json!({"serial": "1"})),
        ("/console", json!({})),
    ];
    for (path, body) in puts {
        assert_eq!(server.call("PUT", path, Some(body)), (204, Value::Null), "{path}");
    }
    assert_eq!(server.call("PATCH", "/machine-config", Some(json!({"vcpu_count": 4}))).0, 204);
    let template =
        json!({"cpuid_modifiers": [{"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": []}]});
    assert_eq!(server.call("PUT", "/cpu-config", Some(template)).0, 204);
    assert_eq!(server.call("GET", "/vm/config", None).1["cpu-config"]["cpuid_modifiers"][0]["leaf"], "0x1");
    for (change, field, expected) in [
        (json!({"smt": true, "vcpu_count": null}), "smt", json!(true)),
        (json!({"mem_size_mib": 512}), "mem_size_mib", json!(512)),
        (json!({"track_dirty_pages": true}), "track_dirty_pages", json!(true)),
        (json!({"huge_pages": "Transparent"}), "huge_pages", json!("Transparent")),
        (json!({"i8042": false}), "i8042", json!(false)),
        (json!({"i8042": true}), "i8042", Value::Null),
        // The later template counts, and "None" takes it back.
        (json!({"cpu_template": "T2A"}), "cpu_template", json!("T2A")),
        (json!({"vcpu_count": 2}), "cpu_template", json!("T2A")),
        (json!({"cpu_template": "None"}), "cpu_template", Value::Null),
        (json!({"vcpu_count": 4}), "vcpu_count", json!(4)),
        (json!({"mem_size_mib": 256}), "mem_size_mib", json!(256)),
    ] {
        assert_eq!(server.call("PATCH", "/machine-config", Some(change.clone())).0, 204, "{change}");
        assert_eq!(server.call("GET", "/machine-config", None).1[field], expected, "{change}");
    }
    let config = server.call("GET", "/vm/config", None).1;
    assert_eq!(config["cpu-config"], Value::Null);
    assert_eq!(config["machine-config"]["vcpu_count"], 4);
    assert_eq!(config["machine-config"]["mem_size_mib"], 256);
    assert_eq!(config["drives"][0]["drive_id"], "a");
}

#[test]
fn metadata_is_kept_within_its_limit() {
    let server = Server::new();
    let get = || server.call("GET", "/mmds", None);
    assert_eq!(get(), (200, json!({})));
    assert!(server.fault("PATCH", "/mmds", Some(json!({"a": 1}))).contains("not initialized"));
    assert_eq!(server.call("PUT", "/mmds", Some(json!({"a": {"b": 1}}))).0, 204);
    assert_eq!(server.call("PATCH", "/mmds", Some(json!({"a": {"c": 2}}))).0, 204);
    assert_eq!(get(), (200, json!({"a": {"b": 1, "c": 2}})));
    for method in ["PUT", "PATCH"] {
        let (status, body) = server.call(method, "/mmds", Some(json!({"d": "x".repeat(200)})));
        assert!(status == 413 && body["fault_message"].as_str().unwrap().contains("limit of 200"), "{body}");
    }
    assert_eq!(get(), (200, json!({"a": {"b": 1, "c": 2}})));
    assert_eq!(server.call("PATCH", "/mmds", Some(json!({"a": null}))).0, 204);
    assert_eq!(get(), (200, json!({})));
    assert!(server.fault("PUT", "/mmds", None).contains("no body"));
}

#[test]
fn the_way_to_metadata_is_checked() {
    let server = Server::new();
    let interface = json!({"iface_id": "n", "host_dev_name": "tap0", "mtu": 1400});
    let refused = [
        (json!({"network_interfaces": []}), "network_interfaces is empty"),
        (json!({"network_interfaces": ["n"]}), "no network interface \"n\""),
        (json!({"version": "V2"}), "missing field `network_interfaces`"),
        (json!({"network_interfaces": ["n"], "version": "V3"}), "unknown variant `V3`"),
        (json!({"network_interfaces": ["n"], "colour": 1}), "unknown field `colour`"),
        (json!({"network_interfaces": ["n"], "ipv4_address": "1.1.1.1"}), "1.1.1.1 is not a link-local"),
        (json!({"network_interfaces": ["n"], "ipv4_address": "169.254.0.1"}), "is not a link-local"),
        (json!({"network_interfaces": ["n"], "ipv4_address": "169.254.255.1"}), "is not a link-local"),
        (json!({"network_interfaces": ["n"], "ipv4_address": ""}), "invalid IPv4 address"),
    ];
    for (body, expected) in refused {
        let message = server.fault("PUT", "/mmds/config", Some(body));
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(server.call("PUT", "/network-interfaces/n", Some(interface)).0, 204);
    let body = json!({"network_interfaces": ["n"], "ipv4_address": null});
    assert_eq!(server.call("PUT", "/mmds/config", Some(body)).0, 204);
    let config = server.call("GET", "/vm/config", None).1;
    let expected = json!({"version": "V1", "network_interfaces": ["n"], "ipv4_address": "169.254.169.254",
                          "imds_compat": false});
    assert_eq!(config["mmds-config"], expected);
    assert_eq!(config["network-interfaces"][0]["mtu"], 1400);
    let change = json!({"iface_id": "n"});
    assert!(server.fault("PATCH", "/network-interfaces/n", Some(change)).contains("before starting"));
}

#[test]
fn a_balloon_is_configured_and_changed() {
    let server = Server::new();
    let fault = |method: &str, path: &str, body| server.fault(method, path, body);
    assert!(fault("GET", "/balloon", None).contains("no balloon"));
    assert!(fault("PATCH", "/balloon", Some(json!({"amount_mib": 1}))).contains("no balloon"));
    let balloon = json!({"amount_mib": 4, "deflate_on_oom": true});
    assert_eq!(server.call("PUT", "/balloon", Some(balloon)).0, 204);
    assert_eq!(server.call("PATCH", "/balloon", Some(json!({"amount_mib": 8}))).0, 204);
    assert_eq!(
        server.call("PATCH", "/balloon/statistics", Some(json!({"stats_polling_interval_s": 2}))).0,
        204
    );
    let expected = json!({"amount_mib": 8, "deflate_on_oom": true, "stats_polling_interval_s": 2,
        "free_page_hinting": false, "free_page_reporting": false});
    assert_eq!(server.call("GET", "/balloon", None), (200, expected.clone()));
    assert_eq!(server.call("GET", "/vm/config", None).1["balloon"], expected);
    let message = fault("PATCH", "/balloon", Some(json!({"amount_mib": 129})));
    assert!(message.contains("amount_mib is 129, and the guest has 128 MiB"), "{message}");
    for (method, path) in [
        ("GET", "/balloon/statistics"),
        ("GET", "/balloon/hinting/status"),
        ("PATCH", "/balloon/hinting/start"),
    ] {
        assert!(fault(method, path, None).contains("before starting"), "{path}");
    }
    assert!(fault("PATCH", "/balloon/hinting/start", Some(json!({"x": 1}))).contains("unknown field `x`"));
}

#[test]
fn faults_name_the_thing() {
    let server = Server::new();
    let drive = json!({"drive_id": "a", "is_root_device": false, "path_on_host": "/d"});
    let cases = [
        ("GET", "/colour", None, "GET /colour"),
        ("PUT", "/", None, "Invalid request method"),
        ("PUT", "/boot-source", None, "no body"),
        ("PUT", "/boot-source", Some(json!({"colour": 1})), "unknown field `colour`"),
        ("PUT", "/machine-config", Some(json!({"vcpu_count": 0, "mem_size_mib": 1})), "vcpu_count is 0"),
        ("PUT", "/machine-config", Some(json!({"vcpu_count": 1})), "missing field `mem_size_mib`"),
        ("PATCH", "/machine-config", Some(json!({})), "Empty PATCH request."),
        ("PATCH", "/machine-config", Some(json!({"smt": null})), "Empty PATCH request."),
        ("PATCH", "/machine-config", Some(json!({"vcpu_count": 33})), "vcpu_count is 33"),
        ("PATCH", "/machine-config", Some(json!({"smt": true, "vcpu_count": 3})), "1 or even, not 3"),
        ("PATCH", "/machine-config", Some(json!({"mem_size_mib": 0})), "mem_size_mib is 0"),
        ("PATCH", "/machine-config", Some(json!({"colour": 1})), "unknown field `colour`"),
        ("PATCH", "/machine-config", Some(json!({"cpu_template": "V1N1"})), "for ARM"),
        ("PUT", "/cpu-config", Some(json!({"vcpu_features": [1]})), "vcpu_features is for ARM"),
        ("PUT", "/drives/b", Some(drive), "does not match"),
        ("PUT", "/drives/../x", None, "Invalid request method"),
        ("PATCH", "/drives/a", Some(json!({"drive_id": "b"})), "does not match"),
        ("PATCH", "/drives/a", Some(json!({"drive_id": "a", "is_read_only": true})), "unknown field"),
        ("PATCH", "/drives/a", Some(json!({"drive_id": "a"})), "before starting"),
        ("PUT", "/pmem/p", Some(json!({"id": "p"})), "missing field `path_on_host`"),
        ("PATCH", "/pmem/p", Some(json!({"id": "p"})), "before starting"),
        ("PUT", "/balloon", Some(json!({"amount_mib": 1})), "missing field `deflate_on_oom`"),
        ("PATCH", "/vm", Some(json!({})), "missing field `state`"),
        ("PATCH", "/vm", Some(json!({"state": "Halted"})), "unknown variant `Halted`"),
        ("PATCH", "/vm", Some(json!({"state": "Paused"})), "before starting"),
        ("PATCH", "/vm", Some(json!({"state": "Resumed"})), "before starting"),
        ("PUT", "/actions", Some(json!({"action_type": "SendCtrlAltDel"})), "before starting"),
        ("PUT", "/actions", Some(json!({"action_type": "PowerButton"})), "before starting"),
        ("PUT", "/smbios", Some(json!({"uuid": "x"})), "not a UUID"),
        ("GET", "/", Some(json!({})), "cannot have a body"),
        ("POST", "/actions", Some(json!({})), "Invalid request method"),
        ("DELETE", "/drives/a", None, "Invalid request method"),
        ("PATCH", "/machine-config", Some(json!({})), "Empty PATCH"),
        ("PUT", "/snapshot/create", Some(json!({})), "not supported yet"),
        ("GET", "/hotplug/memory", None, "not supported yet"),
        ("PUT", "/logger", Some(json!({"level": "loud"})), "loud"),
        ("PUT", "/logger", Some(json!({"log_path": "/nonexistent/log"})), "/nonexistent/log"),
        ("PUT", "/metrics", Some(json!({"metrics_path": "/nonexistent/m"})), "/nonexistent/m"),
        ("PUT", "/serial", Some(json!({"colour": 1})), "unknown field `colour`"),
        ("PUT", "/actions", Some(json!({"action_type": "FlushMetrics"})), "before starting"),
        ("PUT", "/actions", Some(json!({"action_type": "InstanceStart"})), "without kernel"),
    ];
    for (method, path, body, expected) in cases {
        let message = server.fault(method, path, body);
        assert!(message.contains(expected), "{method} {path}: {message}");
    }
    let gone = json!({"drive_id": "a", "is_root_device": false, "path_on_host": "/nonexistent"});
    assert!(server.fault("PUT", "/drives/a", Some(gone)).contains("Cannot open drive /nonexistent"));
    let gone = json!({"kernel_image_path": "/nonexistent"});
    let message = server.fault("PUT", "/boot-source", Some(gone));
    assert!(message.contains("Cannot open kernel image /nonexistent"), "{message}");
    let config = server.call("GET", "/vm/config", None).1;
    assert!(config["drives"] == json!([]) && config["boot-source"].is_null(), "{config}");
}

#[test]
fn bodies_are_limited() {
    let server = Server::new();
    let announced = "PUT /vsock HTTP/1.1\r\nHost: x\r\nContent-Length: 51201\r\n\r\n";
    assert!(server.raw(announced).starts_with("HTTP/1.1 400"));
    let chunk = "x".repeat(0x2000);
    let chunked = format!(
        "PUT /vsock HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("2000\r\n{chunk}\r\n").repeat(8)
    );
    assert!(server.raw(&chunked).starts_with("HTTP/1.1 400"));
    assert!(server.raw("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn the_socket_is_private_refused_when_taken_and_gone_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(ApiServer::bind(&path), Err(ApiError::Bind(..))));
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
    let server = ApiServer::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn clients_that_wait_do_not_keep_others_out_for_ever() {
    let server = Server::new();
    let connect = || UnixStream::connect(server.folder.path().join("api")).unwrap();
    let mut waiting: Vec<_> = (0..MAX_CONNECTIONS - 1).map(|_| connect()).collect();
    assert_eq!(server.call("GET", "/", None).0, 200);
    waiting.push(connect());
    let (status, body) = server.call("GET", "/", None);
    assert_eq!((status, &body["fault_message"]), (503, &json!("Too many open connections")));
    drop(waiting);
}

#[test]
fn several_requests_come_on_one_connection_and_without_waiting() {
    let server = Server::new();
    let put = |body: &str| {
        format!("PUT /vsock HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let get = "GET //version/ HTTP/1.1\r\nHost: x\r\n\r\n";
    let good = put(r#"{"guest_cid": 3, "uds_path": "/s"}"#);
    let deprecated = put(r#"{"guest_cid": 3, "uds_path": "/s", "vsock_id": "v"}"#);
    let answers = server.raw(&[get, &good, &put("nonsense"), &deprecated, get].concat());
    let statuses: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.split(' ').next()).collect();
    assert_eq!(statuses, ["200", "204", "400", "204", "200"]);
    assert_eq!(answers.matches("deprecation: true").count(), 1);
}

#[test]
fn who_expects_it_is_told_to_go_on() {
    let server = Server::new();
    let mut stream = UnixStream::connect(server.folder.path().join("api")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = r#"{"guest_cid": 3, "uds_path": "/s"}"#;
    let head = "PUT /vsock HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n", body.len()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 204");
    // One that is too long anyway is told before it sends it.
    assert!(server.raw(&format!("{head} 51201\r\n\r\n")).starts_with("HTTP/1.1 400"));
}

#[test]
fn figures_are_read_in_prometheus_s_format_at_any_time() {
    let server = Server::new();
    for _ in 0..2 {
        server.call("PUT", "/machine-config", Some(json!({"vcpu_count": 3, "mem_size_mib": 64})));
    }
    let request = "GET /metrics/prometheus HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = server.raw(request);
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("200 OK") && head.contains("content-type: text/plain; version=0.0.4; charset=utf-8")
    );
    for line in [
        "bulkhead_vmm_info{id=\"vm-1\",version=\"0.1.0\"} 1",
        "bulkhead_vmm_machine_state{state=\"not_started\"} 1",
        "bulkhead_vmm_machine_state{state=\"running\"} 0",
        "bulkhead_vmm_machine_vcpus 3",
        "bulkhead_vmm_machine_memory_bytes 67108864",
        "bulkhead_vmm_api_requests_total{method=\"put\",endpoint=\"machine_cfg\"} 2",
        "# TYPE process_cpu_seconds_total counter",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    // Nothing but reading it is meant by this path.
    assert!(server.fault("PUT", "/metrics/prometheus", Some(json!({}))).contains("Invalid request method"));
}

#[test]
fn requests_are_counted_where_firecracker_counts_them() {
    let server = Server::new();
    let path = server.folder.path().join("metrics");
    for _ in 0..2 {
        server.call("GET", "/", None);
        server.call("PUT", "/serial", Some(json!({"serial_out_path": "/nonexistent/console"})));
        server.call("PUT", "/drives/a", Some(json!({})));
    }
    assert_eq!(server.call("PUT", "/metrics", Some(json!({"metrics_path": path}))).0, 204);
    assert!(server.fault("PUT", "/metrics", Some(json!({"metrics_path": path}))).contains("already"));
    server.call("PUT", "/vsock", Some(json!({"vsock_id": "v"})));
    server.controller.sink().flush().unwrap();
    let figures: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let put = &figures["put_api_requests"];
    assert_eq!(figures["get_api_requests"]["instance_info_count"], 2);
    assert_eq!((&put["serial_count"], &put["serial_fails"]), (&json!(2), &json!(0)));
    assert_eq!((&put["drive_count"], &put["drive_fails"]), (&json!(2), &json!(2)));
    assert_eq!((&put["metrics_count"], &put["metrics_fails"]), (&json!(2), &json!(1)));
    assert_eq!(figures["deprecated_api"]["deprecated_http_api_calls"], 1);
}
