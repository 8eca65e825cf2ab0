//! A volume's way into a container's tree.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::RootfsError;
use super::beneath::{Beneath, Links};
use super::mounts::attach;

/// What a new ext4 file system already holds.
const NEW: [&str; 3] = [".", "..", "lost+found"];

/// Attaches a volume's mount, which hangs in no tree yet. One with nothing in it takes the owner and the mode of
/// the image's directory that it covers, so that an image's unprivileged user can write to it (as Docker does).
pub fn attach_volume(root: &Beneath, volume: &OwnedFd, target: &str) -> Result<(), RootfsError> {
    let place =
        root.make_directory(target, Links::Follow).map_err(RootfsError::path("make the folder", target))?;
    match adopt(volume, &place) {
        Ok(()) | Err(Errno::ROFS) => {}
        Err(error) => return Err(RootfsError::path("set the owner of the volume at", target)(error)),
    }
    attach(volume, &place).map_err(RootfsError::mount("the volume", target))
}

/// Gives the directory `volume` the owner and the mode of `place`, unless something is in it.
fn adopt(volume: impl AsFd, place: impl AsFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volume = rustix::fs::openat(volume, ".", flags, Mode::empty())?;
    for entry in Dir::read_from(&volume)? {
        if !NEW
            .iter()
            .any(|name| entry.as_ref().is_ok_and(|entry| entry.file_name().to_bytes() == name.as_bytes()))
        {
            return entry.map(drop);
        }
    }
    let image = rustix::fs::fstat(place)?;
    rustix::fs::fchown(&volume, Some(Uid::from_raw(image.st_uid)), Some(Gid::from_raw(image.st_gid)))?;
    rustix::fs::fchmod(&volume, Mode::from_raw_mode(image.st_mode))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    /// Two directories: a volume with `entries` in it, and a place of an image with mode 2750.
    fn mode_after(entries: &[&str]) -> u32 {
        let folder = tempfile::tempdir().unwrap();
        let (volume, place) = (folder.path().join("volume"), folder.path().join("place"));
        fs::create_dir(&volume).unwrap();
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&volume, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o2750)).unwrap();
        entries.iter().for_each(|entry| fs::create_dir(volume.join(entry)).unwrap());
        adopt(File::open(&volume).unwrap(), File::open(&place).unwrap()).unwrap();
        fs::metadata(&volume).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_volume_takes_the_mode_of_the_image_s_directory() {
        assert_eq!(mode_after(&["lost+found"]), 0o2750);
        assert_eq!(mode_after(&[]), 0o2750);
    }

    #[test]
    fn a_volume_with_something_in_it_is_left_alone() {
        assert_eq!(mode_after(&["lost+found", "data"]), 0o755);
    }
}
