use bulkhead_protocol::oci::defaults;

use super::*;

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let options = options.iter().map(ToString::to_string).collect();
    Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(source.into()),
        options,
        ..Mount::default()
    }
}

#[test]
fn destinations_stay_below_the_root() {
    for right in ["/data", "/a/b/", "/...", "/a/./b"] {
        assert!(check_destination(right).is_ok(), "{right}");
    }
    for wrong in ["", "/", "//", "/.", "data", "/a/../b", "/..", "/a\0"] {
        assert!(check_destination(wrong).is_err(), "{wrong}");
    }
    assert!(check_destination(&format!("/{}", "x".repeat(65536))).is_err());
}

#[test]
fn only_known_kinds_are_offered() {
    assert!(check(&defaults::mounts()).is_ok());
    assert!(check(&[mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"])]).is_ok());
    assert!(check(&[mount("/data", "ext4", "/dev/vda", &[])]).is_err());
    assert!(check(&[mount("/data", "bind", "relative", &["rbind"])]).is_err());
    assert!(check(&[mount("/data", "none", "/run/x", &["bind", "ro"])]).is_ok());
    assert!(check(&[mount("/data", "none", "/run/x", &["bind", "idmap"])]).is_err());
}

#[test]
fn a_bound_dev_is_left_alone() {
    assert!(owns_dev(&defaults::mounts()));
    assert!(!owns_dev(&[mount("/dev/", "none", "/dev", &["rbind"])]));
}
