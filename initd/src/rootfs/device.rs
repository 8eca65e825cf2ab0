//! Finds the block device that the host named.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bulkhead_protocol::agent::Device;

use super::RootfsError;

/// How long a device may take to appear. Drivers probe while their module is inserted, so that normally all
/// are there when the first container is asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How a device is named.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Serial(&'a str),
    PartitionLabel(&'a str),
    Path(&'a str),
}

impl<'a> Name<'a> {
    fn parse(device: &'a Device) -> Result<Self, RootfsError> {
        let text = device.0.as_str();
        let plain = |name: &str| !name.is_empty() && name.len() <= 255 && !name.contains(['\0', '\n']);
        match (text.strip_prefix("serial:"), text.strip_prefix("partlabel:")) {
            (Some(name), _) if plain(name) => Ok(Self::Serial(name)),
            (_, Some(name)) if plain(name) => Ok(Self::PartitionLabel(name)),
            _ if text.starts_with("/dev/") && plain(text) && !text.split('/').any(|part| part == "..") => {
                Ok(Self::Path(text))
            }
            _ => Err(RootfsError::DeviceName(text.to_owned())),
        }
    }

    fn find(&self) -> Option<PathBuf> {
        match self {
            Self::Serial(name) => find_serial(Path::new("/sys/block"), name),
            Self::PartitionLabel(name) => find_label(Path::new("/sys/class/block"), name),
            Self::Path(path) => {
                let found = fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
                found.then(|| PathBuf::from(path))
            }
        }
    }
}

/// Says what is wrong with a device's name, before anything is made.
pub fn check(device: &Device) -> Result<(), RootfsError> {
    Name::parse(device).map(drop)
}

/// The node of a device. Blocks for at most two seconds until it appears.
pub fn find(device: &Device) -> Result<PathBuf, RootfsError> {
    let name = Name::parse(device)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(path) = name.find() {
            return Ok(path);
        }
        if Instant::now() >= deadline {
            return Err(RootfsError::NoDevice(device.0.clone()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// virtio-blk keeps its identifier, at most 20 bytes, in `serial`.
fn find_serial(folder: &Path, name: &str) -> Option<PathBuf> {
    let cut = name.get(..20).unwrap_or(name);
    find_in(folder, |entry| fs::read_to_string(entry.join("serial")).is_ok_and(|text| text.trim_end() == cut))
}

fn find_label(folder: &Path, name: &str) -> Option<PathBuf> {
    find_in(folder, |entry| {
        let uevent = fs::read_to_string(entry.join("uevent")).unwrap_or_default();
        uevent.lines().any(|line| line.strip_prefix("PARTNAME=") == Some(name))
    })
}

fn find_in(folder: &Path, matches: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names.into_iter().find(|name| matches(&folder.join(name))).map(|name| Path::new("/dev").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let parse = |text: &str| check(&Device(text.into()));
        assert!(parse("serial:root").is_ok());
        assert!(parse("partlabel:root-a").is_ok());
        assert!(parse("/dev/vda").is_ok());
        for wrong in ["", "vda", "/etc/passwd", "/dev/../etc/passwd", "serial:", "partlabel:", "serial:a\nb"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_are_found_by_serial_and_label() {
        let folder = tempfile::tempdir().unwrap();
        for (name, serial, uevent) in
            [("vda", "root", "DEVNAME=vda\n"), ("vdb", "12345678901234567890", "PARTNAME=root-a\n")]
        {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("serial"), format!("{serial}\n")).unwrap();
            fs::write(folder.path().join(name).join("uevent"), uevent).unwrap();
        }
        let found = |name| find_serial(folder.path(), name);
        assert_eq!(found("root"), Some("/dev/vda".into()));
        assert_eq!(found("12345678901234567890-and-more"), Some("/dev/vdb".into()));
        assert_eq!(found("roo"), None);
        assert_eq!(find_label(folder.path(), "root-a"), Some("/dev/vdb".into()));
        assert_eq!(find_label(folder.path(), "root"), None);
    }
}
