//! The files by which a container knows its own name and its resolvers.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bulkhead_protocol::oci::Mount;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::RootfsError;
use super::beneath::{Beneath, Links};

/// Writes /etc/hostname, /etc/hosts and /etc/resolv.conf, except where the specification mounts its own.
///
/// What the image has under those names is replaced, never written through: it may be a link.
pub fn write(
    root: &Beneath,
    mounts: &[Mount],
    hostname: &str,
    addresses: &[Ipv4Addr],
    resolvers: &[Ipv4Addr],
) -> Result<(), RootfsError> {
    let files = [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts(hostname, addresses)),
        ("resolv.conf", resolv_conf(resolvers)),
    ];
    let mounted = |name: &str| mounts.iter().any(|mount| mount.destination == format!("/etc/{name}"));
    if files.iter().all(|(name, _)| mounted(name)) {
        return Ok(());
    }
    let etc = root.make_directory("/etc", Links::Follow).map_err(RootfsError::path("make", "/etc"))?;
    for (name, content) in files.iter().filter(|(name, _)| !mounted(name)) {
        let failed = |error: Errno| RootfsError::path("write", &format!("/etc/{name}"))(error);
        match rustix::fs::unlinkat(&etc, *name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&etc, *name, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        rustix::io::write(&file, content.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

fn hosts(hostname: &str, addresses: &[Ipv4Addr]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if addresses.is_empty() {
        let _ = writeln!(text, "127.0.1.1\t{hostname}");
    }
    for address in addresses {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

fn resolv_conf(resolvers: &[Ipv4Addr]) -> String {
    resolvers.iter().fold(String::new(), |mut text, resolver| {
        let _ = writeln!(text, "nameserver {resolver}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_image_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("root/etc");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(folder.path().join("outside"), "untouched").unwrap();
        std::os::unix::fs::symlink("../../outside", etc.join("resolv.conf")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder.path().join("root"), flags, Mode::empty()).unwrap();
        let address = [Ipv4Addr::new(10, 0, 0, 2)];
        write(&Beneath::new(root), &[], "web", &address, &[Ipv4Addr::new(9, 9, 9, 9)]).unwrap();
        let read = |name| std::fs::read_to_string(etc.join(name)).unwrap();
        assert_eq!(read("resolv.conf"), "nameserver 9.9.9.9\n");
        assert_eq!(read("hostname"), "web\n");
        assert!(read("hosts").ends_with("10.0.0.2\tweb\n"));
        assert_eq!(std::fs::read_to_string(folder.path().join("outside")).unwrap(), "untouched");
    }

    #[test]
    fn mounted_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder.path(), flags, Mode::empty()).unwrap();
        let mounted = Mount { destination: "/etc/hosts".into(), ..Mount::default() };
        write(&Beneath::new(root), &[mounted], "web", &[], &[]).unwrap();
        assert!(!folder.path().join("etc/hosts").exists());
        assert!(folder.path().join("etc/hostname").exists());
    }
}
