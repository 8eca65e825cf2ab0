//! Overlays of drives: what a guest writes, and what is left of it when its machine is killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bulkhead_tests::{Daemon, asset, run};
use serde_json::{Value, json};

use super::storage::{LIMIT, MIB, TOOLS, file, folder, guest, tools};

/// Runs a program of the host; gives its status and all that it says.
fn host(program: &str, arguments: &[&str]) -> (i32, String) {
    let done = run(Command::new(program).args(arguments), LIMIT);
    (done.status, done.stdout + &done.stderr)
}

/// A text for a path.
fn text(path: &Path) -> &str {
    path.to_str().expect("a name")
}

/// An overlay by `qemu-img`, as a drive.
fn overlay(name: &str, base: &Path, path: &Path) -> Value {
    let (status, words) =
        host("qemu-img", &["create", "-q", "-f", "qcow2", "-b", text(base), "-F", "raw", text(path)]);
    assert_eq!(status, 0, "{words}");
    json!({"drive_id": name, "is_root_device": false, "cache_type": "Writeback",
           "path_on_host": base, "overlay": path})
}

/// A temporary file system of 4 MiB, and a process that reads a file again and again. Both end with this.
struct Surroundings<'a> {
    small: &'a Path,
    reader: Child,
}

impl Drop for Surroundings<'_> {
    fn drop(&mut self) {
        let _ = self.reader.kill();
        let _ = self.reader.wait();
        let _ = host("umount", &["--lazy", text(self.small)]);
    }
}

#[test]
fn a_killed_vmm_leaves_an_overlay_whole_and_what_was_flushed_in_it() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let base = file(folder.path(), "base", 24 * MIB);
    let (small, sums) = (path("small"), path("sums"));
    fs::create_dir(&small).expect("a folder");
    assert_eq!(host("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs", text(&small)]).0, 0);
    let read = "while cksum \"$0\"; do sleep 2; done";
    let mut reader = Command::new("sh");
    reader.args(["-c", read, text(&base)]).stdin(Stdio::null());
    let reader = reader.stdout(fs::File::create(&sums).expect("a file")).spawn().expect("a reader");
    let surroundings = Surroundings { small: &small, reader };
    let full = small.join("full.qcow2");
    let devices = json!({"drives": [
        tools(), overlay("first", &base, &path("first.qcow2")), overlay("full", &base, &full),
    ]});
    let script = format!(
        "{TOOLS}
tool /usr/bin/fio --name=overlay --filename=/dev/vdb --size=12m --rw=randwrite --bsrange=512-64k --ba=512 \\
  --verify=crc32c --verify_fatal=1 --verify_state_save=0 --direct=1 --ioengine=libaio --iodepth=32 \\
  --fdatasync=50 --end_fsync=1 --aux-path=/tmp --output-format=terse > /mnt/tmp/out 2>&1
echo \"fio: $?\"; tail -n 3 /mnt/tmp/out
tool /usr/sbin/blkdiscard --offset 0 --length 4M /dev/vdb; echo \"discard: $?\"
tool /usr/bin/dd if=/dev/zero of=/dev/vdc bs=1M count=8 oflag=direct 2>/dev/null; echo \"full: $?\"
i=0
while true; do
  i=$((i + 1)); yes $i | dd bs=4096 count=1 iflag=fullblock 2>/dev/null > /mnt/tmp/block
  tool /usr/bin/dd if=/tmp/block of=/dev/vdb bs=4096 seek=$((4096 + i)) oflag=direct conv=fdatasync,notrunc 2>/dev/null
  echo \"flushed $i.\"
done"
    );
    let mut machine = guest(&["erofs"], &script, &devices);
    let console = machine.await_console("flushed 12.");
    for line in ["fio: 0", "discard: 0", "full: 1"] {
        assert!(console.contains(line), "{line}: {console}");
    }
    assert_eq!(host("kill", &["-9", &machine.pid().to_string()]).0, 0);
    let (status, console) = machine.wait();
    assert_eq!(status, None, "killed");
    let mut flushed =
        console.lines().filter_map(|line| line.trim().strip_prefix("flushed ")?.strip_suffix('.'));
    let flushed: usize = flushed.next_back().and_then(|number| number.parse().ok()).expect("a number");

    for overlay in [&path("first.qcow2"), &full] {
        let (status, words) = host("qemu-img", &["check", text(overlay)]);
        // 3: clusters are lost, and nothing else is wrong.
        assert!(status == 0 || status == 3, "{status}: {words}");
    }
    let (_, words) = host("qemu-img", &["info", text(&path("first.qcow2"))]);
    assert!(words.contains("corrupt: false") && words.contains("backing file format: raw"), "{words}");
    let raw = path("raw");
    let (status, words) = host("qemu-img", &["convert", "-O", "raw", text(&path("first.qcow2")), text(&raw)]);
    assert_eq!(status, 0, "{words}");
    let disk = fs::read(&raw).expect("the disk");
    for number in 1..=flushed {
        let expected = format!("{number}\n");
        let block = &disk[(4096 + number) * 4096..][..4096];
        assert!(block.starts_with(expected.as_bytes()), "block {number} of {flushed} is lost");
    }
    assert!(disk[(20 * MIB) as usize..].iter().all(|byte| *byte == 0xa5));
    drop(surroundings);
    assert!(fs::read(&base).expect("the base").iter().all(|byte| *byte == 0xa5), "the base has changed");
    let sums = fs::read_to_string(&sums).expect("sums");
    let mut lines: Vec<_> = sums.lines().collect();
    lines.dedup();
    assert_eq!(lines.len(), 1, "{sums}");
}

#[test]
fn what_a_container_writes_is_kept_until_its_machine_is_deleted_and_has_a_limit() {
    let daemon = Daemon::start();
    let script = "cat /kept; echo more >> /kept; mkdir /folder 2>/dev/null
dd if=/dev/zero of=/large bs=1M count=80 2>/dev/null || echo no room; rm /large
echo $(($(df -k / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2) / 1024)) MiB";
    let arguments = ["run", "-d", "--name", "kept", "--storage-opt", "size=64m", &asset("busybox.img")];
    let _ = daemon.bulkhead(&[&arguments[..], &["sh", "-c", script]].concat()).ok();
    assert_eq!(daemon.bulkhead(&["wait", "kept"]).ok().text(), "0");
    let first = daemon.bulkhead(&["logs", "kept"]).ok().stdout;
    assert!(first.starts_with("no room\n"), "{first}");
    let size = first.lines().last().and_then(|line| line.strip_suffix(" MiB")?.parse::<u32>().ok());
    assert!(size.is_some_and(|size| (48..64).contains(&size)), "{first}");

    let base = daemon.path("state/layers/64.ext4");
    let before = fs::read(&base).expect("the base");
    let id = daemon.inspect("kept")["metadata"]["id"].as_str().expect("an id").to_owned();
    let layer = daemon.path("state/machines").join(id).join("layer.qcow2");
    let (status, words) = host("qemu-img", &["check", text(&layer)]);
    assert_eq!(status, 0, "{words}");
    let _ = daemon.bulkhead(&["start", "kept"]).ok();
    assert_eq!(daemon.bulkhead(&["wait", "kept"]).ok().text(), "0");
    let both = daemon.bulkhead(&["logs", "kept"]).ok().stdout;
    assert!(both.ends_with(&format!("more\n{first}")), "{both}");
    assert!(fs::read(&base).expect("the base") == before, "the base has changed");
    let _ = daemon.bulkhead(&["rm", "kept"]).ok();
    assert!(!layer.exists() && base.exists());
}
