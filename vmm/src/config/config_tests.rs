use serde_json::{Value, json};

use super::*;

fn whole() -> Value {
    json!({
        "boot-source": {"kernel_image_path": "/k", "boot_args": "console=ttyS0", "initrd_path": "/i"},
        "drives": [{"drive_id": "root", "path_on_host": "/d", "is_root_device": true,
                    "partuuid": null, "is_read_only": false, "cache_type": "Unsafe",
                    "io_engine": "Sync", "rate_limiter": null, "socket": null}],
        "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024, "smt": false,
                           "track_dirty_pages": false, "huge_pages": "None", "cpu_template": "None"},
        "cpu-config": null, "balloon": null, "mmds-config": null, "logger": null, "metrics": null,
        "network-interfaces": [{"iface_id": "eth0", "guest_mac": "06:00:AC:10:00:02", "host_dev_name": "tap0"}],
        "vsock": {"guest_cid": 3, "uds_path": "/s"},
        "entropy": null, "pmem": [], "memory-hotplug": null
    })
}

fn parse(value: &Value) -> Result<MachineSpec, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, value).unwrap();
    MachineSpec::from_file(file.path()).map_err(|error| match error {
        ConfigError::Parse(_, source) => source.to_string(),
        other => other.to_string(),
    })
}

#[test]
fn firecrackers_own_example_is_taken() {
    let spec = parse(&whole()).unwrap();
    assert_eq!(spec.machine_config.vcpu_count, 2);
    assert_eq!(spec.network_interfaces[0].mac(), [6, 0, 0xac, 0x10, 0, 2]);
    assert_eq!(spec.drives[0].is_read_only, Some(false));
}

#[test]
fn an_unknown_section_that_asks_for_nothing_is_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = json!({"boot-source": {"kernel_image_path": "/k"}, "vsock_device": null});
    std::fs::write(file.path(), config.to_string()).unwrap();
    assert!(MachineSpec::from_file(file.path()).is_ok());
    config["vsock_device"] = json!({});
    std::fs::write(file.path(), config.to_string()).unwrap();
    let error = crate::chain(&MachineSpec::from_file(file.path()).unwrap_err());
    assert!(error.contains("unknown field `vsock_device`"), "{error}");
}

#[test]
fn an_unknown_field_is_named_at_every_depth() {
    for section in ["boot-source", "machine-config", "vsock"] {
        let mut value = whole();
        value[section]["colour"] = json!("red");
        assert!(parse(&value).unwrap_err().contains("unknown field `colour`"), "{section}");
    }
    for section in ["drives", "network-interfaces"] {
        let mut value = whole();
        value[section][0]["colour"] = json!("red");
        assert!(parse(&value).unwrap_err().contains("unknown field `colour`"), "{section}");
    }
    let mut value = whole();
    value["colour"] = json!("red");
    assert!(parse(&value).unwrap_err().contains("unknown field `colour`"));
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    let cases =
        [("/drives/0/socket", json!("/x"), "socket"), ("/boot-source/key", json!("/key"), "boot-source.key")];
    for (pointer, value, name) in cases {
        let mut whole = whole();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        whole.pointer_mut(parent).unwrap()[field] = value;
        let message = parse(&whole).unwrap_err();
        assert!(message.contains(name) && message.contains("not supported yet"), "{message}");
    }
}

#[test]
fn huge_pages_take_whole_ones() {
    for pages in ["2M", "Transparent"] {
        let mut whole = whole();
        whole["machine-config"]["huge_pages"] = json!(pages);
        parse(&whole).unwrap();
        whole["machine-config"]["mem_size_mib"] = json!(1023);
        assert!(parse(&whole).unwrap_err().contains("must be a multiple of 2, not 1023"));
    }
}

#[test]
fn values_are_checked() {
    let cases = [
        ("/machine-config/vcpu_count", json!(0), "vcpu_count is 0"),
        ("/machine-config/vcpu_count", json!(33), "vcpu_count is 33"),
        ("/machine-config/vcpu_count", json!(256), "expected u8"),
        ("/machine-config/mem_size_mib", json!(0), "mem_size_mib is 0"),
        ("/machine-config/mem_size_mib", json!(u64::MAX), "mem_size_mib is 18446744073709551615"),
        ("/machine-config/huge_pages", json!("1G"), "unknown variant `1G`"),
        ("/machine-config/cpu_template", json!("V1N1"), "for ARM"),
        ("/machine-config/cpu_template", json!("X1"), "unknown variant `X1`"),
        ("/cpu-config", json!({"reg_modifiers": [1]}), "reg_modifiers is for ARM"),
        ("/smbios", json!({"uuid": "1"}), "uuid \"1\" is not a UUID"),
        ("/vsock/guest_cid", json!(2), "guest_cid is 2"),
        ("/balloon", json!({"amount_mib": 1}), "missing field `deflate_on_oom`"),
        ("/balloon", json!({"amount_mib": 1 << 24, "deflate_on_oom": true}), "amount_mib is 16777216"),
        ("/balloon", json!({"amount_mib": -1, "deflate_on_oom": true}), "expected u32"),
        ("/drives/0/drive_id", json!("../x"), "id has 1 to 64"),
        ("/drives/0/partuuid", json!("x y"), "partuuid"),
        ("/drives/0/partuuid", json!("0eaa91a0-01/PARTNROFF=x"), "partuuid"),
        ("/drives/0/rate_limiter", json!({"bandwidth": {"size": -1}}), "u64"),
        ("/drives/0/path_on_host", json!(null), "path_on_host is missing"),
        ("/network-interfaces/0/guest_mac", json!("06:00:AC:10:00"), "not a MAC address"),
        ("/network-interfaces/0/guest_mac", json!("06:00:AC:10:00:+2"), "not a MAC address"),
        ("/network-interfaces/0/host_dev_name", json!("a/b"), "not an interface's name"),
        ("/network-interfaces/0/queues", json!(0), "queues is 0, not 1 to 32"),
        ("/network-interfaces/0/queues", json!(33), "queues is 33, not 1 to 32"),
        ("/network-interfaces/0/backend", json!("socket"), "unknown variant `socket`"),
        ("/network-interfaces/0/mtu", json!(67), "mtu is 67, not 68 to 65535"),
        ("/network-interfaces/0/mtu", json!(65536), "expected u16"),
        ("/network-interfaces/0/rx_rate_limiter", json!({"colour": 1}), "unknown field `colour`"),
        ("/boot-source/kernel_image_path", json!(null), "kernel_image_path is missing"),
        ("/boot-source/appliance", json!("/a"), "exclude each other"),
    ];
    for (pointer, value, expected) in cases {
        let mut whole = whole();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        whole.pointer_mut(parent).unwrap()[field] = value;
        let message = parse(&whole).unwrap_err();
        assert!(message.contains(expected), "{pointer}: {message}");
    }
}

#[test]
fn ids_and_root_devices_are_unique() {
    let mut value = whole();
    let drive = value["drives"][0].clone();
    value["drives"].as_array_mut().unwrap().push(drive);
    assert!(parse(&value).unwrap_err().contains("another one with this id"));
    value["drives"][1]["drive_id"] = json!("second");
    assert!(parse(&value).unwrap_err().contains("another root device"));
}

#[test]
fn a_drive_put_twice_replaces_itself() {
    let mut spec = parse(&whole()).unwrap();
    let mut drive = spec.drives[0].clone();
    drive.is_read_only = Some(true);
    spec.set_drive(drive).unwrap();
    assert_eq!((spec.drives.len(), spec.drives[0].is_read_only), (1, Some(true)));
}

#[test]
fn what_is_written_can_be_read_again() {
    let spec = parse(&whole()).unwrap();
    let written = serde_json::to_value(&spec).unwrap();
    let again = parse(&written).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), written);
}

#[test]
fn a_file_that_is_too_large_or_missing_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b' '; MAX_FILE as usize + 1]).unwrap();
    assert!(matches!(MachineSpec::from_file(file.path()), Err(ConfigError::TooLarge(_))));
    let message = MachineSpec::from_file(Path::new("/nonexistent.json")).unwrap_err().to_string();
    assert_eq!(message, "Cannot read configuration file /nonexistent.json");
}

#[test]
fn a_mac_made_from_an_id_is_local_and_stable() {
    let mut value = whole();
    value["network-interfaces"][0]["guest_mac"] = json!(null);
    let interface = &parse(&value).unwrap().network_interfaces[0];
    assert_eq!(interface.mac()[0] & 3, 2);
    assert_eq!(interface.mac(), interface.clone().mac());
}

#[test]
fn drives_and_pmem_share_one_root_and_have_ids_of_their_own() {
    let mut value = whole();
    let pmem = json!({"id": "root", "path_on_host": "/p", "root_device": true,
                      "rate_limiter": {"ops": {"size": 1, "refill_time": 2}}});
    value["pmem"] = json!([pmem]);
    assert_eq!(parse(&value).unwrap_err(), "Invalid pmem root: there is another root device");
    value["drives"][0]["is_root_device"] = json!(false);
    value["drives"][0]["io_engine"] = json!(null);
    value["drives"][0]["partuuid"] = json!("0eaa91a0-01/PARTNROFF=-1");
    let spec = parse(&value).unwrap();
    assert_eq!((spec.pmem[0].read_only, spec.drives[0].io_engine), (false, IoEngine::Sync));
    value["pmem"].as_array_mut().unwrap().push(pmem);
    assert!(parse(&value).unwrap_err().contains("another one with this id"));
    value["pmem"][1]["id"] = json!("a b");
    assert!(parse(&value).unwrap_err().contains("an id has 1 to 64"));
}

#[test]
fn a_drive_with_an_overlay_has_the_engine_sync_and_says_so_only_then() {
    let mut value = whole();
    assert_eq!(serde_json::to_value(parse(&value).unwrap()).unwrap()["drives"][0].get("overlay"), None);
    value["drives"][0]["overlay"] = json!("/o.qcow2");
    let spec = parse(&value).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap()["drives"][0]["overlay"], "/o.qcow2");
    value["drives"][0]["io_engine"] = json!("Async");
    assert!(parse(&value).unwrap_err().ends_with("io_engine is Sync for a drive with an overlay"));
}

#[test]
fn changes_leave_what_they_do_not_name() {
    let mut spec = parse(&whole()).unwrap();
    let change = |value: Value| serde_json::from_value::<DriveChange>(value).unwrap();
    let drive = spec.drive_mut("root").unwrap();
    drive.update(change(json!({"drive_id": "root", "rate_limiter": {"ops": {"size": 1, "refill_time": 2}}})));
    drive.update(change(json!({"drive_id": "root", "path_on_host": "/e",
                               "rate_limiter": {"bandwidth": {"size": 3, "refill_time": 4}}})));
    drive.update(change(json!({"drive_id": "root"})));
    let told = serde_json::to_value(&spec).unwrap();
    assert_eq!(told["drives"][0]["path_on_host"], "/e");
    assert_eq!(told["drives"][0]["rate_limiter"]["ops"]["size"], 1);
    assert_eq!(told["drives"][0]["rate_limiter"]["bandwidth"]["size"], 3);
    assert_eq!(spec.drive_mut("x").unwrap_err().to_string(), "Invalid drive x: there is no such drive");
    assert_eq!(spec.pmem_mut("x").unwrap_err().to_string(), "Invalid pmem x: there is no such device");
}

#[test]
fn limits_of_an_interface_that_the_kernel_serves_do_not_change() {
    let mut value = whole();
    value["network-interfaces"][0]["vhost"] = json!(true);
    let mut spec = parse(&value).unwrap();
    let change = |more: Value| {
        let mut change = json!({"iface_id": "eth0"});
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(change).unwrap()
    };
    spec.update_network_interface(&change(json!({}))).unwrap();
    let limit = json!({"rx_rate_limiter": {"ops": {"size": 1, "refill_time": 1}}});
    let refused = spec.update_network_interface(&change(limit)).unwrap_err().to_string();
    assert!(refused.contains("network interface eth0: vhost takes no rate limiter"), "{refused}");
    assert!(spec.network_interfaces[0].rx_rate_limiter.is_none());
}

#[test]
fn an_interface_may_be_behind_passt_or_have_queues() {
    let with = |more: Value| {
        let mut value = whole();
        value["network-interfaces"][0].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(&value).map(|spec| serde_json::to_value(&spec.network_interfaces[0]).unwrap())
    };
    let plain = with(json!({})).unwrap();
    assert!(plain.get("backend").is_none() && plain.get("queues").is_none(), "{plain}");
    let passt = with(json!({"backend": "passt", "host_dev_name": "/run/a/p.sock"})).unwrap();
    assert_eq!((&passt["backend"], &passt["host_dev_name"]), (&json!("passt"), &json!("/run/a/p.sock")));
    assert_eq!(with(json!({"queues": 2})).unwrap()["queues"], 2);
    assert!(
        with(json!({"queues": 2, "backend": "passt"})).unwrap_err().contains("passt has one pair of queues")
    );
    assert!(plain.get("vhost").is_none(), "{plain}");
    assert_eq!(with(json!({"vhost": true, "queues": 2})).unwrap()["vhost"], true);
    let passt_too = with(json!({"vhost": true, "backend": "passt"})).unwrap_err();
    assert!(passt_too.contains("vhost is for a tap, and not for passt"), "{passt_too}");
    for way in ["rx_rate_limiter", "tx_rate_limiter"] {
        let limited = with(json!({"vhost": true, way: {"ops": {"size": 1, "refill_time": 1}}})).unwrap_err();
        assert!(limited.contains("vhost takes no rate limiter"), "{limited}");
    }
    for path in [String::new(), "a\0b".to_owned(), "/".repeat(108)] {
        let error = with(json!({"backend": "passt", "host_dev_name": path})).unwrap_err();
        assert!(error.contains("not a socket's path of 1 to 107 bytes"), "{error}");
    }
}
