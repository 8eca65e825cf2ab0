//! Drives and files as memory, as a guest's own tools see them.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bulkhead_tests::bare::{self, Bare, QUIET};
use bulkhead_tests::{asset, root, run};
use serde_json::{Value, json};

pub const LIMIT: Duration = Duration::from_secs(240);
pub const MIB: u64 = 1 << 20;

/// Makes the tools' root, which is the first drive, usable at `/mnt`.
pub const TOOLS: &str = "mount -t erofs -o ro /dev/vda /mnt; mount --bind /dev /mnt/dev
mount --bind /proc /mnt/proc; mount --bind /sys /mnt/sys; mount -t tmpfs tmp /mnt/tmp
tool() { chroot /mnt \"$@\"; }
";

/// Starts a guest that runs `script` with the drivers of drives and `modules`.
pub fn guest(modules: &[&str], script: &str, devices: &Value) -> Bare {
    let folder = folder();
    let modules = [&["virtio_mmio", "virtio_blk"], modules].concat();
    let initramfs = root::with_lab_modules(folder.path(), &modules, &format!("echo begun\n{script}"));
    let mut config = bare::boot(&asset("vmlinux"), &initramfs, QUIET, devices.clone());
    config["machine-config"]["mem_size_mib"] = json!(256);
    let mut machine = Bare::start(&config);
    // Everything has been read then, and the folder may go.
    machine.await_console("begun");
    machine
}

/// What it printed until it switched itself off.
fn finish(machine: Bare) -> String {
    let (status, console) = machine.wait();
    assert_eq!(status, Some(0), "{console}");
    console
}

pub fn tools() -> Value {
    json!({"drive_id": "tools", "is_root_device": true, "is_read_only": true,
           "path_on_host": asset("fio.img")})
}

/// A file of `size` bytes, all of them on the disk.
pub fn file(folder: &Path, name: &str, size: u64) -> PathBuf {
    let path = folder.join(name);
    let mut file = File::create(&path).expect("a file");
    let mebibyte = vec![0xa5; MIB as usize];
    (0..size / MIB).for_each(|_| file.write_all(&mebibyte).expect("room"));
    file.sync_all().expect("a disk");
    path
}

/// A folder on the disk: the lab's /tmp may be memory.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bulkhead-storage-").tempdir_in("/var/tmp").expect("a folder")
}

#[test]
fn what_fio_writes_to_drives_and_memory_it_reads_again() {
    let folder = folder();
    let size = 24 * MIB;
    let drive = |name: &str, engine: &str| {
        json!({"drive_id": name, "is_root_device": false, "io_engine": engine, "cache_type": "Writeback",
               "path_on_host": file(folder.path(), name, size)})
    };
    let devices = json!({
        "drives": [tools(), drive("sync", "Sync"), drive("async", "Async")],
        "pmem": [{"id": "memory", "path_on_host": file(folder.path(), "memory", size)}],
    });
    let script = format!(
        "{TOOLS}
for disk in vdb vdc pmem0; do
  tool /usr/bin/fio --name=$disk --filename=/dev/$disk --size=20m --rw=randwrite --bsrange=512-64k --ba=512 \\
    --verify=crc32c --verify_fatal=1 --verify_state_save=0 --direct=1 --ioengine=libaio --iodepth=32 \\
    --fdatasync=50 --end_fsync=1 --aux-path=/tmp --output-format=terse > /mnt/tmp/out 2>&1
  echo \"$disk: $?\"; tail -n 3 /mnt/tmp/out
done"
    );
    let console = finish(guest(&["erofs", "virtio_pmem", "nd_pmem"], &script, &devices));
    for disk in ["vdb", "vdc", "pmem0"] {
        assert!(console.contains(&format!("{disk}: 0")), "{console}");
    }
    // The data is where it belongs, and only there.
    for name in ["sync", "async", "memory"] {
        let bytes = fs::read(folder.path().join(name)).expect("the file");
        assert_eq!(bytes.len() as u64, size);
        assert!(bytes[..(20 * MIB) as usize].iter().any(|byte| *byte != 0xa5), "{name}");
        assert!(bytes[(20 * MIB) as usize..].iter().all(|byte| *byte == 0xa5), "{name}");
    }
}

/// Blocks of 512 bytes that a file takes.
fn blocks(path: &Path) -> u64 {
    let file = File::open(path).expect("the file");
    file.sync_all().expect("a disk");
    file.metadata().expect("metadata").blocks()
}

/// Whether a part of the file, in MiB, is zero.
fn is_zero(path: &Path, range: std::ops::Range<u64>) -> bool {
    let mut bytes = vec![1; ((range.end - range.start) * MIB) as usize];
    File::open(path).expect("the file").read_exact_at(&mut bytes, range.start * MIB).expect("bytes");
    bytes.iter().all(|byte| *byte == 0)
}

/// A host's block device over a file; gone with this.
struct Loop(String);

impl Loop {
    fn over(path: &Path) -> Loop {
        let _ = run(Command::new("modprobe").arg("loop"), LIMIT);
        let made = run(Command::new("losetup").args(["--find", "--show"]).arg(path), LIMIT).ok();
        Loop(made.text().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").args(["--detach", &self.0]), LIMIT);
    }
}

#[test]
fn room_that_the_guest_gives_back_is_the_hosts() {
    let folder = folder();
    let names = ["sync", "async", "block"];
    let paths = names.map(|name| file(folder.path(), name, 24 * MIB));
    let before = paths.each_ref().map(|path| blocks(path));
    let device = Loop::over(&paths[2]);
    let drive = |name: &str, path: &Path, engine: &str| json!({"drive_id": name, "is_root_device": false, "io_engine": engine, "path_on_host": path});
    let devices = json!({"drives": [
        tools(), drive("sync", &paths[0], "Sync"), drive("async", &paths[1], "Async"),
        drive("block", Path::new(&device.0), "Sync"),
    ]});
    let script = format!(
        "{TOOLS}
for disk in vdb vdc vdd; do
  tool /usr/sbin/blkdiscard --offset 4M --length 8M /dev/$disk; echo \"$disk discard $?\"
  tool /usr/bin/fallocate --punch-hole --offset 16M --length 4M /dev/$disk; echo \"$disk punch $?\"
  tool /usr/bin/fallocate --zero-range --keep-size --offset 20M --length 1M /dev/$disk; echo \"$disk zero $?\"
  tool /usr/sbin/blkdiscard /dev/vda && echo 'read-only discarded'
done"
    );
    let console = finish(guest(&["erofs"], &script, &devices));
    for disk in ["vdb", "vdc", "vdd"] {
        for act in ["discard", "punch", "zero"] {
            assert!(console.contains(&format!("{disk} {act} 0")), "{console}");
        }
    }
    assert!(!console.contains("read-only discarded"), "{console}");
    drop(device);
    for (path, before) in paths.iter().zip(before) {
        let freed = (before - blocks(path)) * 512 / MIB;
        assert!((12..=13).contains(&freed), "{}: {freed} MiB are free again", path.display());
        assert!(is_zero(path, 16..21) && !is_zero(path, 0..1) && !is_zero(path, 21..22));
    }
}

#[test]
fn another_file_is_seen_by_the_guest_at_once() {
    let folder = folder();
    for engine in ["Sync", "Async"] {
        let first = file(folder.path(), "first", 4 * MIB);
        let second = folder.path().join("second");
        let mut larger = File::create(&second).expect("a file");
        larger.set_len(8 << 30).expect("its size");
        larger.seek(SeekFrom::Start((8 << 30) - 512)).expect("its end");
        larger.write_all(&[b'Z'; 512]).expect("a sector");
        let devices = json!({"drives": [{"drive_id": "d", "is_root_device": false, "path_on_host": first,
                                         "io_engine": engine}]});
        let script = "echo sectors: $(blockdev --getsz /dev/vda)
while [ $(blockdev --getsz /dev/vda) = 8192 ]; do sleep 0.2; done
echo sectors: $(blockdev --getsz /dev/vda)
echo last: $(dd if=/dev/vda bs=512 skip=16777215 count=1 2>/dev/null | tr -dc Z | wc -c)";
        let mut guest = guest(&[], script, &devices);
        guest.await_console("sectors: 8192");
        let change = json!({"drive_id": "d", "path_on_host": "/nonexistent"});
        assert_eq!(guest.api("PATCH", "/drives/d", &change).0, 400);
        let change = json!({"drive_id": "d", "path_on_host": second});
        guest.ask("PATCH", "/drives/d", &change);
        let console = finish(guest);
        assert!(console.contains("sectors: 16777216"), "{console}");
        assert!(console.contains("last: 512"), "{console}");
    }
}

/// For how long a rate is measured, in seconds of the guest's time.
const RATE_SECONDS: u64 = 60;

#[test]
fn rates_are_held_within_five_percent_of_the_guests_time() {
    let folder = folder();
    // 1 MiB a second by bytes, 100 a second by requests; the buckets' first filling is a fortieth of a second.
    let bandwidth = json!({"bandwidth": {"size": MIB / 40, "refill_time": 25}});
    let ops = json!({"ops": {"size": 3, "refill_time": 30}});
    let drive = |name: &str, engine: &str, limits: &Value| {
        json!({"drive_id": name, "is_root_device": false, "io_engine": engine, "rate_limiter": limits,
               "path_on_host": file(folder.path(), name, 64 * MIB)})
    };
    let devices = json!({"drives": [
        tools(), drive("sync", "Sync", &bandwidth), drive("async", "Async", &bandwidth),
        drive("count", "Sync", &ops),
    ]});
    let count = RATE_SECONDS * MIB / (64 << 10);
    let script = format!(
        "{TOOLS}
measure() {{
  read from rest < /proc/uptime
  tool /usr/bin/dd if=/dev/$1 of=/dev/null bs=$2 count=$3 iflag=direct 2>/dev/null
  read to rest < /proc/uptime
  echo \"$1 took $from $to end\"
}}
measure vdb 64k {count} & measure vdc 64k {count} & measure vdd 4k {} & wait",
        100 * RATE_SECONDS
    );
    let console = finish(guest(&["erofs"], &script, &devices));
    for disk in ["vdb", "vdc", "vdd"] {
        let line = console.lines().find_map(|line| line.trim().strip_prefix(&format!("{disk} took ")));
        let words: Vec<f64> =
            line.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
        let [from, to] = words[..] else { panic!("{disk}: {console}") };
        let (took, asked) = (to - from, RATE_SECONDS as f64);
        println!("{disk}: {took:.2} s for what {asked} s allow");
        assert!((took / asked - 1.0).abs() < 0.05, "{disk}: {took:.2} s for what {asked} s allow");
    }
}

#[test]
fn a_root_in_memory_boots_and_a_read_only_one_stays_as_it_is() {
    let folder = folder();
    let disk = folder.path().join("root");
    let make = "truncate -s 16M \"$0\" && mkdir -p \"$0.d\" && echo kept > \"$0.d/file\" && \
                mke2fs -q -t ext4 -d \"$0.d\" \"$0\"";
    let _ = run(Command::new("sh").args(["-c", make]).arg(&disk), LIMIT).ok();
    let before = fs::read(&disk).expect("the disk");
    let devices = |read_only: bool| json!({"pmem": [{"id": "p", "path_on_host": disk, "root_device": true, "read_only": read_only}]});
    let modules = ["virtio_pmem", "nd_pmem"];
    // The guest's root writes wherever it likes: through the device, and to the memory itself.
    let script = "echo words: $(cat /proc/cmdline)
mount -o ro,noload /dev/pmem0 /mnt && echo file: $(cat /mnt/file); umount /mnt
dd if=/dev/zero of=/dev/pmem0 bs=4k seek=1 count=16 conv=fsync 2>&1 | tail -n 1; echo over";
    let console = finish(guest(&modules, script, &devices(true)));
    assert!(console.contains("root=/dev/pmem0 ro") && console.contains("file: kept"), "{console}");
    assert!(fs::read(&disk).expect("the disk") == before, "a read-only file was changed");
    let script = "echo words: $(cat /proc/cmdline)
mount /dev/pmem0 /mnt && echo file: $(cat /mnt/file); echo more > /mnt/more; umount /mnt; echo over";
    let console = finish(guest(&modules, script, &devices(false)));
    assert!(console.contains("root=/dev/pmem0 rw") && console.contains("file: kept"), "{console}");
    let show = run(Command::new("debugfs").args(["-R", "cat more"]).arg(&disk), LIMIT).ok();
    assert_eq!(show.stdout, "more\n");
}

#[test]
fn a_host_without_io_uring_is_told_in_one_sentence() {
    let folder = folder();
    let mut config = bulkhead_tests::vmm::config();
    config["drives"] = json!([{"drive_id": "d", "is_root_device": false, "io_engine": "Async",
                               "path_on_host": file(folder.path(), "drive", MIB)}]);
    let path = folder.path().join("config.json");
    fs::write(&path, config.to_string()).expect("a configuration");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", "inject=io_uring_setup:error=EPERM"]);
    command.arg(asset("bulkhead-vmm")).args(["--no-api", "--config-file"]).arg(&path);
    let ended = run(&mut command, LIMIT);
    assert_eq!(ended.status, 1, "{}{}", ended.stdout, ended.stderr);
    let expected = "This host has no io_uring for drive d; its io_engine can be Sync";
    assert!(ended.stderr.contains(expected) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
}
