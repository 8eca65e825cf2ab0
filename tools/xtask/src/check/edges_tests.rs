use super::*;

fn found(path: &str, text: &str) -> usize {
    check(&Tree::sample(&[(path, text)])).len()
}

#[test]
fn every_edge_has_a_sample_that_crosses_it() {
    let samples = [
        ("vmm/src/virtio/rng.rs", "use crate::kvm::Vm;"),
        ("vmm/src/http/drives.rs", "use crate::virtio;"),
        ("vmm/src/vcpu/mod.rs", "fn a(fd: &kvm_ioctls::VcpuFd) {}"),
        ("vmm/src/machine/mod.rs", "use tokio::sync::mpsc;"),
        ("api/src/routes/machines.rs", "use std::{fs, process::Command};"),
        ("api/src/facade/kubevirt/mod.rs", "let a = redb::Database::open(p);"),
        ("initd/src/main.rs", "use bulkhead_vmm as v;"),
        ("initd/src/container/exec.rs", "use rustix::process::{Pid, waitpid};"),
        ("vmm/src/boot/mod.rs", "use bulkhead_image::manifest;"),
        ("image-builder/src/registry/mod.rs", "use ureq::Agent;"),
        ("image-builder/src/oci/mod.rs", "use std::net::TcpStream;"),
    ];
    assert_eq!(samples.len(), EDGES.len());
    for ((path, text), edge) in samples.iter().zip(&EDGES) {
        assert!(holds(edge, path), "{path}");
        assert!(found(path, text) > 0, "{path}: {text}");
    }
}

#[test]
fn groups_and_relative_paths_are_followed() {
    assert_eq!(found("vmm/src/virtio/mod.rs", "use super::{bus, kvm::Irq};"), 1);
    assert_eq!(found("vmm/src/virtio/block/mod.rs", "use super::super::kvm;"), 1);
    assert_eq!(found("vmm/src/virtio/mod.rs", "use crate::{\n bus::{A, B},\n kvm,\n};"), 1);
}

#[test]
fn what_is_allowed_is_not_found() {
    assert_eq!(found("api/src/routes/routes_tests.rs", "use std::fs;"), 0);
    assert_eq!(found("vmm/src/kvm/vm.rs", "use kvm_ioctls::VmFd;"), 0);
    assert_eq!(found("vmm/src/http/mod.rs", "use tokio::runtime; use hyper::Request;"), 0);
    assert_eq!(found("vmm/src/virtio/mod.rs", "// crate::kvm\nuse crate::bus; let kvm = \"kvm_ioctls\";"), 0);
    assert_eq!(found("initd/src/reaper.rs", "rustix::process::waitpid(None, o);"), 0);
    assert_eq!(found("vmm/src/kvm_stats.rs", "let hyperlink = 1;"), 0);
}
