use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn root() -> (tempfile::TempDir, Beneath) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("outside")).unwrap();
    fs::create_dir_all(folder.path().join("root/etc")).unwrap();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder.path().join("root"), flags, Mode::empty()).unwrap();
    (folder, Beneath::new(fd))
}

#[test]
fn what_is_missing_is_made_inside() {
    let (folder, root) = root();
    root.make_directory("/var/lib/data", Links::Follow).unwrap();
    root.make_file("/etc/new/file", Links::Follow).unwrap();
    assert!(folder.path().join("root/var/lib/data").is_dir());
    assert!(folder.path().join("root/etc/new/file").is_file());
}

#[test]
fn links_stay_inside() {
    let (folder, root) = root();
    symlink("/outside", folder.path().join("root/absolute")).unwrap();
    symlink("../../outside", folder.path().join("root/relative")).unwrap();
    symlink(folder.path().join("outside"), folder.path().join("root/named")).unwrap();
    assert_eq!(root.make_directory("/absolute/x", Links::Follow).unwrap_err(), Errno::NOTDIR);
    fs::create_dir(folder.path().join("root/outside")).unwrap();
    root.make_directory("/absolute/x", Links::Follow).unwrap();
    root.make_directory("/relative/y", Links::Follow).unwrap();
    assert!(root.make_directory("/named/z", Links::Follow).is_err());
    assert!(folder.path().join("root/outside/x").is_dir());
    assert!(folder.path().join("root/outside/y").is_dir());
    assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 0);
}

#[test]
fn links_can_be_refused() {
    let (folder, root) = root();
    symlink("etc", folder.path().join("root/proc")).unwrap();
    assert_eq!(root.make_directory("/proc", Links::Refuse).unwrap_err(), Errno::LOOP);
    assert_eq!(root.make_directory("/proc/x", Links::Refuse).unwrap_err(), Errno::LOOP);
}

#[test]
fn parents_do_not_lead_out() {
    let (folder, root) = root();
    root.make_directory("/../../kept", Links::Follow).unwrap();
    assert!(folder.path().join("root/kept").is_dir());
    assert_eq!(root.make_directory("/new/..", Links::Follow).unwrap_err(), Errno::INVAL);
    assert_eq!(root.make_directory("/new/../x", Links::Follow).unwrap_err(), Errno::INVAL);
}

#[test]
fn links_of_proc_are_not_followed() {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = Beneath::new(rustix::fs::open("/proc", flags, Mode::empty()).unwrap());
    assert_eq!(root.open("/self/root", OFlags::RDONLY, Links::Follow).unwrap_err(), Errno::LOOP);
}

#[test]
fn paths_are_split_at_their_end() {
    assert_eq!(split("/a/b/").unwrap(), ("/a", "b"));
    assert_eq!(split("/a").unwrap(), ("/", "a"));
    assert!(split("/").is_err());
    assert!(split("/a/..").is_err());
}
