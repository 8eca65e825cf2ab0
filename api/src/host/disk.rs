//! Files that are disks: copies of images, new volumes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HostError;

/// How long `mke2fs` may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much of a file is copied at once, in bytes.
const PIECE: u64 = 64 << 20;

/// A file that goes with its owner, unless it has got another name meanwhile.
#[derive(Debug)]
pub struct Draft(PathBuf);

impl Draft {
    /// At this path, where there is nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = super::layout::remove_file(&self.0) {
            // Who made it has gone; the next start of the daemon removes it.
            tracing::warn!("{error}");
        }
    }
}

/// Copies a regular file, sharing its blocks where the file system can. The copy is on the disk when this
/// returns. `to` must not be there. `go_on` is asked before each piece, and its error ends it.
pub fn copy(from: &Path, to: &Path, go_on: &dyn Fn() -> io::Result<()>) -> Result<(), HostError> {
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(from)
        .map_err(HostError::file("open", from))?;
    let kind = source.metadata().map_err(HostError::file("read", from))?;
    if !kind.is_file() {
        return Err(HostError::file("read", from)(io::Error::other("it is not a regular file")));
    }
    let mut target = new_file(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        let mut piece = || {
            go_on()?;
            io::copy(&mut (&mut source).take(PIECE), &mut target)
        };
        while piece().map_err(HostError::file("write", to))? > 0 {}
    }
    target.sync_all().map_err(HostError::file("write", to))
}

pub(super) fn new_file(path: &Path) -> Result<File, HostError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(HostError::file("make", path))
}

/// Gives a whole file its name; it is there after a crash.
pub fn publish(from: &Path, to: &Path) -> Result<(), HostError> {
    std::fs::rename(from, to).map_err(HostError::file("rename to", to))?;
    let folder = to.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(HostError::file("write", folder))
}

/// Gives a whole file another name, which must not be there; it is there after a crash.
pub fn link(from: &Path, to: &Path) -> Result<(), HostError> {
    std::fs::hard_link(from, to).map_err(HostError::file("link", to))?;
    let folder = to.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(HostError::file("write", folder))
}

/// Makes an empty ext4 disk.
pub async fn make_ext4(path: &Path, size_mib: u32) -> Result<(), HostError> {
    let draft = path.with_extension("new");
    super::layout::remove_file(&draft)?;
    let made = format(&draft, size_mib).await;
    if made.is_err() {
        // The first error is the one to tell.
        let _ = super::layout::remove_file(&draft);
        return made;
    }
    publish(&draft, path)
}

async fn format(path: &Path, size_mib: u32) -> Result<(), HostError> {
    let file = new_file(path)?;
    file.set_len(u64::from(size_mib) << 20).map_err(HostError::file("write", path))?;
    let failed = |message: String| HostError::Program { program: "mke2fs", message };
    let run = tokio::process::Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
        .arg(path)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(PATIENCE, run)
            .await
            .map_err(|_| failed("it takes too long".into()))?
            .map_err(|source| HostError::Process { operation: "start", program: "mke2fs".into(), source })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(failed(words.lines().next().unwrap_or("it says nothing").chars().take(300).collect()));
    }
    file.sync_all().map_err(HostError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&from, vec![7; 100_000]).unwrap();
        let go_on = || Ok(());
        copy(&from, &to, &go_on).unwrap();
        assert_eq!(std::fs::read(&to).unwrap().len(), 100_000);
        assert!(copy(&from, &to, &go_on).is_err());
        assert!(copy(folder.path(), &folder.path().join("c"), &go_on).is_err(), "a folder is no image");
        assert!(!folder.path().join("c").exists());
    }

    #[tokio::test]
    async fn a_volume_is_an_ext4_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.ext4");
        make_ext4(&path, 16).await.unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 16 << 20);
        // The superblock's magic, at 1024 + 0x38.
        assert_eq!(&bytes[1080..1082], &[0x53, 0xef]);
        assert!(!folder.path().join("v.new").exists());
    }
}
