use bulkhead_protocol::oci::{Device, Mount, Namespace, Root};

use super::*;

fn spec() -> Spec {
    let namespace = |kind| Namespace { kind, path: None };
    let mut spec = Spec {
        oci_version: "1.0.2-dev".into(),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        ..Spec::default()
    };
    spec.process.args = vec!["true".into()];
    spec.process.cwd = "/".into();
    spec.linux.namespaces =
        [NamespaceKind::Mount, NamespaceKind::Uts, NamespaceKind::Ipc].map(namespace).into();
    spec
}

fn refused(change: impl FnOnce(&mut Spec)) -> String {
    let mut spec = spec();
    change(&mut spec);
    crate::console::chain(&check(&mut spec).unwrap_err())
}

#[test]
fn the_least_bundle_is_enough() {
    check(&mut spec()).unwrap();
}

#[test]
fn wrong_values_are_named() {
    assert!(refused(|s| s.oci_version = String::new()).contains("ociVersion"));
    assert!(refused(|s| s.oci_version = "2.0.0".into()).contains("ociVersion"));
    assert!(refused(|s| s.root = None).contains("root"));
    assert!(refused(|s| s.process.cwd = "x".into()).contains("process.cwd"));
    assert!(refused(|s| s.process.args.clear()).contains("process.args"));
    assert!(refused(|s| s.linux.rootfs_propagation = Some("x".into())).contains("linux.rootfsPropagation"));
    assert!(refused(|s| s.linux.namespaces.push(s.linux.namespaces[0].clone())).contains("twice"));
    assert!(refused(|s| s.linux.namespaces[0].path = Some("x".into())).contains("linux.namespaces.path"));
    assert!(refused(|s| s.linux.cgroups_path = Some("/..".into())).contains("linux.cgroupsPath"));
    assert!(refused(|s| s.process.selinux_label = Some("x".into())).contains("process.selinuxLabel"));
    assert!(refused(|s| s.linux.mount_label = Some("x".into())).contains("linux.mountLabel"));
    assert!(refused(|s| s.linux.intel_rdt = Some(serde_json::json!({}))).contains("linux.intelRdt"));
    let unnamed = |s: &mut Spec| {
        s.hostname = Some("a".into());
        s.linux.namespaces.remove(1);
    };
    assert!(refused(unnamed).contains("hostname"));
    assert!(
        refused(|s| {
            s.linux.sysctl.insert("kernel.panic".into(), "1".into());
        })
        .contains("linux.sysctl")
    );
    assert!(
        refused(|s| {
            s.linux.sysctl.insert("net.a".into(), "1".into());
        })
        .contains("linux.sysctl")
    );
    let device = Device { path: "/dev/x".into(), kind: "x".into(), ..Device::default() };
    assert!(refused(|s| s.linux.devices.push(device)).contains("/dev/x"));
    let bind = Mount { destination: "/a".into(), options: vec!["bind".into()], ..Mount::default() };
    assert!(refused(|s| s.mounts.push(bind)).contains("mounts.source"));
}

#[test]
fn places_become_plain() {
    let mut spec = spec();
    let kind = Some("tmpfs".to_owned());
    spec.mounts.push(Mount { destination: "tmp/../a//b/".into(), kind, ..Mount::default() });
    spec.process.cwd = "/../../x/./y".into();
    check(&mut spec).unwrap();
    assert_eq!((spec.mounts[0].destination.as_str(), spec.process.cwd.as_str()), ("/a/b", "/x/y"));
}
