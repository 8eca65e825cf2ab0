//! Where everything lies.
//!
//! The state folder outlives the host's restarts; the run folder does not.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::HostError;

/// The folders of a daemon.
#[derive(Debug, Clone)]
pub struct Layout {
    state: PathBuf,
    run: PathBuf,
    assets: PathBuf,
}

/// The longest path of a Unix socket, with room for what the VMM appends (unix(7): 108 bytes with the 0).
const MAX_SOCKET_PATH: usize = 100;

impl Layout {
    /// These folders; made when missing, for their owner only.
    pub fn new(state: &Path, run: &Path, assets: &Path) -> Result<Self, HostError> {
        for folder in [
            state,
            run,
            &state.join("images"),
            &state.join("volumes"),
            &state.join("machines"),
            &state.join("layers"),
            &run.join("m"),
        ] {
            make_folder(folder)?;
        }
        let absolute = |path: &Path| path.canonicalize().map_err(HostError::file("find", path));
        let layout = Self {
            state: absolute(state)?,
            run: absolute(run)?,
            assets: assets.canonicalize().unwrap_or_else(|_| assets.to_owned()),
        };
        let socket = layout.vsock("0123456789ab");
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            let source = std::io::Error::other("its sockets' paths would be longer than 100 bytes");
            return Err(HostError::File { operation: "use", path: run.display().to_string(), source });
        }
        Ok(layout)
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.state.join("store.redb")
    }

    /// The file of images: a root, by what names it.
    pub fn image(&self, root: &str) -> PathBuf {
        self.state.join("images").join(format!("{root}.img"))
    }

    /// What was pulled from registries, by its content.
    pub fn blobs(&self) -> PathBuf {
        self.state.join("registry")
    }

    /// Where images are made before they are whole. On the same file system as [`Self::image`].
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// A volume's file.
    pub fn volume(&self, id: &str) -> PathBuf {
        self.state.join("volumes").join(format!("{id}.ext4"))
    }

    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// What a machine leaves behind: its logs, and what its container wrote.
    pub fn machine_state(&self, id: &str) -> PathBuf {
        self.state.join("machines").join(id)
    }

    /// The file that takes what a machine's container writes to its root.
    pub fn layer(&self, id: &str) -> PathBuf {
        self.machine_state(id).join("layer.qcow2")
    }

    /// The empty file system of so many MiB under all such files.
    pub fn layer_base(&self, size_mib: u32) -> PathBuf {
        self.state.join("layers").join(format!("{size_mib}.ext4"))
    }

    /// The same as seen from the folder of a machine: the state folder may be moved.
    pub fn layer_base_from_machine(size_mib: u32) -> PathBuf {
        PathBuf::from(format!("../../layers/{size_mib}.ext4"))
    }

    /// All machines' state folders.
    pub fn machine_states(&self) -> PathBuf {
        self.state.join("machines")
    }

    /// What a machine needs while it runs: its configuration, its sockets.
    pub fn machine_run(&self, id: &str) -> PathBuf {
        self.run.join("m").join(id)
    }

    /// All machines' run folders.
    pub fn machine_runs(&self) -> PathBuf {
        self.run.join("m")
    }

    /// The VMM's configuration.
    pub fn vmm_config(&self, id: &str) -> PathBuf {
        self.machine_run(id).join("vmm.json")
    }

    /// The hybrid vsock's socket.
    pub fn vsock(&self, id: &str) -> PathBuf {
        self.machine_run(id).join("v.sock")
    }

    /// The socket of the VMM's API.
    pub fn vmm_api(&self, id: &str) -> PathBuf {
        self.machine_run(id).join("a.sock")
    }

    /// Where the VMM waits for passt, in place of a tap.
    pub fn passt(&self, id: &str) -> PathBuf {
        self.machine_run(id).join("p.sock")
    }

    /// What passt says.
    pub fn passt_log(&self, id: &str) -> PathBuf {
        self.machine_state(id).join("passt.log")
    }

    /// Where the VMM says how the machine ended.
    pub fn exit_record(&self, id: &str) -> PathBuf {
        self.machine_state(id).join("exit.json")
    }

    /// The guest's console.
    pub fn console(&self, id: &str) -> PathBuf {
        self.machine_state(id).join("console.log")
    }

    /// What the VMM itself says.
    pub fn vmm_log(&self, id: &str) -> PathBuf {
        self.machine_state(id).join("vmm.log")
    }

    /// The container's output.
    pub fn container_log(&self, id: &str) -> PathBuf {
        self.machine_state(id).join("output.log")
    }

    /// What the daemon changed on the host and must put back.
    pub fn network_state(&self) -> PathBuf {
        self.run.join("network.json")
    }

    /// The folder of the VMM, the guest kernel and the initramfs.
    pub fn assets(&self) -> &Path {
        &self.assets
    }

    /// The VMM's program.
    pub fn vmm(&self) -> PathBuf {
        self.assets.join("bulkhead-vmm")
    }

    /// The guest kernel for container roots: the small one where it is installed, or else Debian's.
    pub fn kernel(&self) -> PathBuf {
        guest_file(&self.assets, "vmlinux")
    }

    /// That kernel's initramfs.
    pub fn initramfs(&self) -> PathBuf {
        guest_file(&self.assets, "initramfs")
    }
}

/// `vmlinux` or `initramfs` of the kernel that guests get: the small one counts only when it is there with its own
/// initramfs, since Debian's brings modules that are not for it.
pub fn guest_file(assets: &Path, name: &str) -> PathBuf {
    let small = |name: &str| assets.join(format!("{name}-small"));
    if small("vmlinux").is_file() && small("initramfs").is_file() { small(name) } else { assets.join(name) }
}

/// A folder for its owner only, with its parents.
pub fn make_folder(path: &Path) -> Result<(), HostError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(HostError::file("make the folder", path))
}

/// Removes a folder and all in it; that it is not there is no error.
pub fn remove_folder(path: &Path) -> Result<(), HostError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HostError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; that it is not there is no error.
pub fn remove_file(path: &Path) -> Result<(), HostError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HostError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The names in a folder; none when it is not there.
pub fn names_in(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_kernel_is_taken_with_its_initramfs_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let taken = |name| guest_file(folder.path(), name).file_name().unwrap().to_owned();
        assert_eq!(taken("vmlinux"), "vmlinux");
        std::fs::write(folder.path().join("vmlinux-small"), "x").unwrap();
        assert_eq!((taken("vmlinux"), taken("initramfs")), ("vmlinux".into(), "initramfs".into()));
        std::fs::write(folder.path().join("initramfs-small"), "x").unwrap();
        assert_eq!(
            (taken("vmlinux"), taken("initramfs")),
            ("vmlinux-small".into(), "initramfs-small".into())
        );
    }
}
