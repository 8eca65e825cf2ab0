use super::*;

fn spec(change: &serde_json::Value) -> MachineSpec {
    let mut value = serde_json::json!({ "image": "redis" });
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

#[test]
fn good_specifications() {
    for change in [
        serde_json::json!({}),
        serde_json::json!({"name": "a.b_c-1", "hostname": "a-b", "user": "1000:1000", "workdir": "/"}),
        serde_json::json!({"vcpus": 32, "limits": {"cpus": 0.5, "pids": 64, "memory_mib": 32}}),
        serde_json::json!({"ports": [{"host_port": 6379, "guest_port": 6379, "host_ip": "127.0.0.1"}]}),
        serde_json::json!({"volumes": [{"name": "data", "destination": "/var/lib/redis"}]}),
        serde_json::json!({"command": [], "env": {"A": "", "B": "x=y"}}),
        serde_json::json!({"container": {"cap_add": ["ALL"], "cap_drop": ["cap_kill"], "read_only": true}}),
        serde_json::json!({"container": {"tmpfs": [{"destination": "/run", "options": ["size=1m"]}]}}),
        serde_json::json!({"container": {"ulimits": [{"name": "nofile", "soft": 1, "hard": 2}, {"name": "core"}]}}),
        serde_json::json!({"container": {"sysctls": {"net.core.somaxconn": "1"}}}),
        serde_json::json!({"container": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}),
        serde_json::json!({"vcpus": 4, "network_queues": 4, "disk_queues": 2, "vhost": true}),
        serde_json::json!({"vhost": true, "rates": {"disk_requests_per_s": 7}}),
    ] {
        assert!(machine(&spec(&change)).is_ok(), "{change}");
    }
}

#[test]
fn bad_specifications_name_the_field() {
    for (change, field) in [
        (serde_json::json!({"image": ""}), "image"),
        (serde_json::json!({"image": "a b"}), "image"),
        (serde_json::json!({"name": "-a"}), "name"),
        (serde_json::json!({"name": "a/../b"}), "name"),
        (serde_json::json!({"hostname": "a b"}), "hostname"),
        (serde_json::json!({"hostname": "x bulkhead.mode=agent"}), "hostname"),
        (serde_json::json!({"workdir": "relative"}), "workdir"),
        (serde_json::json!({"user": "a b"}), "user"),
        (serde_json::json!({"vcpus": 0}), "vcpus"),
        (serde_json::json!({"vcpus": 33}), "vcpus"),
        (serde_json::json!({"vhost": true, "network": "passt"}), "vhost"),
        (serde_json::json!({"network_queues": 2}), "network_queues"),
        (serde_json::json!({"network_queues": 0}), "network_queues"),
        (serde_json::json!({"vcpus": 2, "network_queues": 2, "network": "passt"}), "network_queues"),
        (serde_json::json!({"vcpus": 2, "disk_queues": 3}), "disk_queues"),
        (serde_json::json!({"vhost": true, "rates": {"network_receive_bytes_per_s": 0}}), "rates"),
        (serde_json::json!({"vhost": true, "rates": {"network_transmit_bytes_per_s": 9}}), "rates"),
        (serde_json::json!({"memory_mib": 1}), "memory_mib"),
        (serde_json::json!({"root_size_mib": 15}), "root_size_mib"),
        (serde_json::json!({"limits": {"cpus": 0.0}}), "limits.cpus"),
        (serde_json::json!({"limits": {"pids": 0}}), "limits.pids"),
        (serde_json::json!({"command": ["a\u{0}"]}), "command"),
        (serde_json::json!({"env": {"A=B": "c"}}), "env"),
        (serde_json::json!({"ports": [{"host_port": 0, "guest_port": 1}]}), "ports"),
        (serde_json::json!({"volumes": [{"name": "a", "destination": "/"}]}), "volumes"),
        (serde_json::json!({"volumes": [{"name": "../a", "destination": "/a"}]}), "volumes"),
        (serde_json::json!({"command": ["x".repeat(300 << 10)]}), "command"),
        (serde_json::json!({"container": {"cap_add": ["FLY"]}}), "container.cap_add"),
        (serde_json::json!({"container": {"cap_drop": ["FLY"]}}), "container.cap_drop"),
        (serde_json::json!({"container": {"tmpfs": [{"destination": "run"}]}}), "container.tmpfs"),
        (serde_json::json!({"container": {"tmpfs": [{"destination": "/a/../.."}]}}), "container.tmpfs"),
        (serde_json::json!({"container": {"tmpfs": [{"destination": "/"}]}}), "container.tmpfs"),
        (
            serde_json::json!({"container": {"tmpfs": [{"destination": "/a", "options": ["a,b"]}]}}),
            "container.tmpfs",
        ),
        (serde_json::json!({"container": {"ulimits": [{"name": "files"}]}}), "container.ulimits"),
        (serde_json::json!({"container": {"ulimits": [{"name": "as", "hard": 1}]}}), "container.ulimits"),
        (
            serde_json::json!({"container": {"ulimits": [{"name": "as"}, {"name": "as"}]}}),
            "container.ulimits",
        ),
        (serde_json::json!({"container": {"sysctls": {"../x": "1"}}}), "container.sysctls"),
        (serde_json::json!({"container": {"sysctls": {"kernel.shmmax": "\u{0}"}}}), "container.sysctls"),
    ] {
        match machine(&spec(&change)) {
            Err(ServiceError::Invalid { field: found, .. }) => assert_eq!(found, field, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn unknown_fields_are_errors() {
    let value = serde_json::json!({"image": "redis", "colour": "blue"});
    assert!(serde_json::from_value::<MachineSpec>(value).is_err());
}
