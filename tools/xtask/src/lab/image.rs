//! The lab's kernel, initramfs and root disk: built once a recipe, kept in the user's cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::{Clock, parcel};
use crate::kernel::KernelPackage;
use crate::{cpio, host, workspace};

/// Raise this when what is built changes and none of the recipe's other parts does.
const RECIPE: u32 = 1;

/// Debian's release in the lab, the one the binaries are built for.
const SUITE: &str = "bookworm";

/// What is in the lab beside `minbase`.
const PACKAGES: &str = "\
    amazon-ec2-utils,buildah,busybox-static,cpio,crun,curl,docker-registry,e2fsprogs,erofs-utils,ethtool,\
    iperf3,iproute2,iputils-ping,jq,kmod,libcap2-bin,nftables,passt,procps,psmisc,python3,python3-nftables,\
    qemu-system-x86,qemu-utils,redis-server,redis-tools,runc,skopeo,socat,strace,tcpdump,umoci,util-linux,\
    xz-utils,zstd";

/// The root disk's size; the file is sparse.
const ROOT_SIZE: &str = "8G";

/// What the initramfs inserts, in this order, before the disks are there.
const MODULES: [&str; 7] = [
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
    "char/virtio_console",
];

/// The files of one recipe.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// The kernel, as QEMU's `-kernel` takes it.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The initramfs.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    /// The root disk, ext4. Opened with a snapshot: the cache is never written.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.ext4")
    }

    /// Finds the image in the cache or builds it there; of two builders one waits for the other. What more is asked
    /// for than every lab has makes an image of its own.
    pub fn obtain(with: &[String], clock: Clock) -> Result<Self> {
        let kernel = KernelPackage::newest()?;
        let packages = [&[PACKAGES.to_owned()], with].concat().join(",");
        let recipe =
            format!("{RECIPE}\n{SUITE}\n{packages}\n{ROOT_SIZE}\n{MODULES:?}\n{kernel:?}\n{}", init_script());
        let digest = hex::encode(Sha256::digest(recipe.as_bytes()));
        let lab = workspace::cache_dir()?.join("lab");
        let image = Self { folder: lab.join(digest.get(..16).unwrap_or(&digest)) };
        if image.folder.is_dir() {
            return Ok(image);
        }
        fs::create_dir_all(&lab).with_context(|| format!("Cannot make {}", lab.display()))?;
        let lock = File::create(lab.join("lock")).context("Cannot open the lab's lock")?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("Cannot lock the lab's cache")?;
        if image.folder.is_dir() {
            return Ok(image);
        }
        eprintln!("lab: building the lab's root once (about a minute), into {}", image.folder.display());
        host::ensure(&[host::MMDEBSTRAP, host::MKE2FS, host::DEPMOD, host::BUSYBOX])?;
        let temporary = lab.join("unfinished");
        remove(&temporary)?;
        fs::create_dir(&temporary).with_context(|| format!("Cannot make {}", temporary.display()))?;
        build(&temporary, &kernel, &packages, clock)?;
        fs::write(temporary.join("recipe"), recipe)?;
        fs::rename(&temporary, &image.folder).context("Cannot keep the lab's root")?;
        Ok(image)
    }
}

fn build(folder: &Path, kernel: &KernelPackage, packages: &str, clock: Clock) -> Result<()> {
    let deb = kernel.fetch()?;
    let package = folder.join("package");
    host::run_quietly(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&package))?;
    clock.mark("kernel package unpacked");
    fs::rename(package.join(format!("boot/vmlinuz-{}", kernel.release())), folder.join("vmlinuz"))
        .context("The kernel package holds no kernel")?;
    let modules = package.join("lib/modules").join(kernel.release());
    fs::write(folder.join("initramfs"), initramfs(&modules)?).context("Cannot write the lab's initramfs")?;

    let root = folder.join("root");
    host::run_quietly(
        private("mmdebstrap")
            .args(["--variant=minbase", "--aptopt=APT::Install-Recommends \"false\""])
            .arg(format!("--include={packages}"))
            .arg(SUITE)
            .arg(&root),
    )?;
    clock.mark("Debian root made");
    let place = root.join("usr/lib/modules");
    host::run_quietly(host::as_root("mkdir").arg("-p").arg(&place))?;
    host::run_quietly(host::as_root("mv").arg(&modules).arg(&place))?;
    host::run_quietly(host::as_root("depmod").arg("-b").arg(&root).arg(kernel.release()))?;
    for path in [parcel::PLACE, parcel::OUT, "/lib/modules"] {
        host::run_quietly(host::as_root("mkdir").arg("-p").arg(root.join(path.trim_start_matches('/'))))?;
    }
    host::run_quietly(
        host::as_root("rm").args(["-rf", "--"]).args(
            ["usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists"]
                .map(|part| root.join(part)),
        ),
    )?;
    let disk = folder.join("root.ext4");
    host::run_quietly(
        host::as_root("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "lab", "-m", "0", "-d"])
            .arg(&root)
            .arg(&disk)
            .arg(ROOT_SIZE),
    )?;
    host::run_quietly(host::as_root("chmod").arg("0644").arg(&disk))?;
    clock.mark("root disk written");
    remove(&root)?;
    remove(&package)
}

/// A command whose mounts and processes end with it, whatever happens to us.
fn private(program: &str) -> Command {
    let mut command = host::as_root("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", program]);
    command
}

/// Removes a folder of root's, without leaving its file system.
fn remove(folder: &Path) -> Result<()> {
    host::run_quietly(host::as_root("rm").args(["-rf", "--one-file-system", "--"]).arg(folder))
}

fn initramfs(modules: &Path) -> Result<Vec<u8>> {
    let busybox = host::find(host::BUSYBOX.program).context("busybox is not installed")?;
    let busybox = fs::read(&busybox).with_context(|| format!("Cannot read {}", busybox.display()))?;
    if !busybox.starts_with(b"\x7fELF") {
        bail!("busybox is not a program; the lab needs Debian's busybox-static");
    }
    let mut archive = cpio::Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "root", "modules"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.program("bin/busybox", &busybox);
    for module in MODULES {
        let path = modules.join("kernel/drivers").join(format!("{module}.ko"));
        let content =
            fs::read(&path).with_context(|| format!("Cannot read the module {}", path.display()))?;
        archive.program(&format!("modules/{}", file_name(module)), &content);
    }
    archive.program("init", init_script().as_bytes());
    Ok(archive.finish())
}

fn file_name(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
}

/// The initramfs's first process: up to the agent.
fn init_script() -> String {
    let modules = MODULES.map(file_name).join(" ");
    format!(
        "#!/bin/busybox sh\n\
         b=/bin/busybox\n\
         fail() {{ echo \"lab: $1\" >/dev/console; $b poweroff -f; }}\n\
         $b mount -t proc proc /proc && $b mount -t sysfs sysfs /sys && $b mount -t devtmpfs dev /dev || fail 'cannot mount /dev'\n\
         for m in {modules}; do $b insmod /modules/$m || fail \"cannot insert $m\"; done\n\
         $b mount -t ext4 -o noatime /dev/vda /root || fail 'cannot mount the root'\n\
         $b mount -t tmpfs -o size=75%,mode=755 bulkhead /root{place} || fail 'cannot mount {place}'\n\
         $b tar -x -f /dev/vdb -C /root{place} || fail 'cannot unpack the parcel'\n\
         for d in proc sys dev; do $b mount --move /$d /root/$d; done\n\
         exec $b switch_root /root {place}/{agent} lab-agent\n",
        place = parcel::PLACE,
        agent = parcel::AGENT,
    )
}
