use bulkhead_protocol::agent::{Device as DiskDevice, RootDisk, VolumeDisk};
use bulkhead_protocol::oci::{Device, IdMapping, Namespace, Process};

use super::*;

fn request() -> CreateContainer {
    let process = Process { args: vec!["/bin/true".into()], cwd: "/".into(), ..Process::default() };
    CreateContainer {
        id: "web-1".into(),
        spec: Spec { process, ..Spec::default() },
        root: RootDisk { device: DiskDevice("serial:root".into()), layer: None },
        volumes: vec![],
        end_machine: false,
    }
}

fn refused(change: impl FnOnce(&mut CreateContainer)) -> String {
    let mut request = request();
    change(&mut request);
    crate::console::chain(&check(&request).unwrap_err())
}

#[test]
fn the_least_specification_is_enough() {
    check(&request()).unwrap();
}

#[test]
fn ids_are_plain_names() {
    for id in ["", "-a", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert!(refused(|request| request.id = id.into()).contains("The id"), "{id}");
    }
    for id in ["a", "0", "A.b_c-d", &"x".repeat(64)] {
        assert!(check_id(id).is_ok(), "{id}");
    }
}

#[test]
fn wrong_values_are_named() {
    assert!(refused(|r| r.spec.process.args.clear()).contains("process.args"));
    assert!(refused(|r| r.spec.process.cwd = "tmp".into()).contains("process.cwd"));
    assert!(refused(|r| r.spec.process.cwd = "/a/../b".into()).contains("process.cwd"));
    assert!(refused(|r| r.spec.process.env.push("NAME".into())).contains("process.env"));
    assert!(refused(|r| r.spec.process.env.push("A=\0".into())).contains("zero byte"));
    assert!(refused(|r| r.spec.process.terminal = true).contains("process.terminal"));
    assert!(refused(|r| r.spec.hostname = Some("a/b".into())).contains("hostname"));
    assert!(refused(|r| r.spec.linux.cgroups_path = Some("/a/../b".into())).contains("cgroupsPath"));
    assert!(refused(|r| r.root.device = DiskDevice("/etc/passwd".into())).contains("/etc/passwd"));
    assert!(refused(|r| r.spec.linux.masked_paths = vec!["/x".into(); 1025]).contains("maskedPaths"));
    let joined = Namespace { kind: NamespaceKind::Network, path: Some("/proc/1/ns/net".into()) };
    assert!(refused(|r| r.spec.linux.namespaces = vec![joined]).contains("joining"));
    let time = Namespace { kind: NamespaceKind::Time, path: None };
    assert!(refused(|r| r.spec.linux.namespaces = vec![time]).contains("linux.namespaces.type"));
    let volume = VolumeDisk {
        device: DiskDevice("serial:data".into()),
        destination: "/a/../..".into(),
        read_only: false,
    };
    assert!(refused(|r| r.volumes = vec![volume]).contains("/a/../.."));
}

#[test]
fn sysctls_of_the_guest_are_refused() {
    let set = |name: &str| {
        let name = name.to_owned();
        refused(|r| {
            r.spec.linux.sysctl.insert(name, "1".into());
        })
    };
    for name in ["kernel.core_pattern", "vm.swappiness", "kernel/../vm/x", "a"] {
        assert!(set(name).contains("linux.sysctl"), "{name}");
    }
}

#[test]
fn the_machines_network_is_set_by_those_who_have_the_machines_users() {
    let forward = |request: &mut CreateContainer| {
        request.spec.linux.sysctl.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    };
    let mut request = request();
    forward(&mut request);
    check(&request).unwrap();
    let message = refused(|request| {
        own_users(65536)(request);
        forward(request);
    });
    assert!(message.contains("linux.sysctl") && message.contains("users of its own"), "{message}");
}

/// A request for users of its own, of which there are `size`.
fn own_users(size: u32) -> impl Fn(&mut CreateContainer) {
    let mapping = IdMapping { container_id: 0, host_id: 65536, size };
    move |request| {
        let linux = &mut request.spec.linux;
        linux.namespaces = vec![Namespace { kind: NamespaceKind::User, path: None }];
        linux.uid_mappings = vec![mapping];
        linux.gid_mappings = vec![mapping];
    }
}

#[test]
fn user_namespaces_need_ids_that_they_have() {
    let ask = own_users(1000);
    let mut right = request();
    ask(&mut right);
    check(&right).unwrap();
    let refused = |change: &dyn Fn(&mut CreateContainer)| {
        refused(|request| {
            ask(request);
            change(request);
        })
    };
    assert!(refused(&|r| r.spec.linux.uid_mappings[0].size = 0).contains("linux.uidMappings"));
    assert!(refused(&|r| r.spec.linux.gid_mappings.clear()).contains("linux.gidMappings"));
    assert!(refused(&|r| r.spec.linux.namespaces.clear()).contains("linux.uidMappings"));
    assert!(refused(&|r| r.spec.process.user.uid = 1000).contains("process.user.uid cannot be 1000"));
    assert!(refused(&|r| r.spec.process.user.gid = 1000).contains("process.user.gid"));
    assert!(refused(&|r| r.spec.process.user.additional_gids = vec![5000]).contains("additionalGids"));
    let device = Device { path: "/dev/x".into(), kind: "c".into(), gid: Some(1000), ..Device::default() };
    assert!(refused(&|r| r.spec.linux.devices = vec![device.clone()]).contains("linux.devices.gid"));
    let sysctl = |request: &mut CreateContainer| {
        request.spec.linux.sysctl.insert("kernel.shmmax".into(), "1".into());
    };
    assert!(refused(&sysctl).contains("kernel.shmmax"));
}
