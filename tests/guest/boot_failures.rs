//! A boot that fails says why: in one sentence, with the console's last lines, on every way that a user looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bulkhead_protocol::exit::ExitRecord;
use bulkhead_tests::bare::{QUIET, initramfs};
use bulkhead_tests::vmm::{boot, config};
use bulkhead_tests::{Daemon, Footprint, asset};
use serde_json::json;

/// `ud2`, and a jump to itself.
const FAULT: [u8; 2] = [0x0f, 0x0b];
const LOOP: [u8; 2] = [0xeb, 0xfe];

/// The kernel with its first mebibyte of code replaced by one instruction, again and again.
fn damaged_kernel(folder: &Path, instruction: [u8; 2]) -> PathBuf {
    let mut kernel = fs::read(asset("vmlinux")).expect("the kernel");
    // ELF64: the program headers' place, size and number, and the place in the file of the first that has code.
    let number = |at: usize, size: usize| {
        let bytes = kernel.get(at..at + size).expect("a header");
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let headers = (0..count).map(|index| table + index * size);
    let code: Vec<usize> = headers.filter(|at| number(*at, 4) == 1 && number(at + 4, 4) & 1 != 0).collect();
    let places: Vec<(usize, usize)> = code.iter().map(|at| (number(at + 8, 8), number(at + 32, 8))).collect();
    for (place, length) in places {
        let end = place + length.min(1 << 20);
        kernel[place..end].chunks_exact_mut(2).for_each(|pair| pair.copy_from_slice(&instruction));
    }
    let path = folder.join(format!("kernel-{:02x}", instruction[0]));
    fs::write(&path, kernel).expect("a damaged kernel");
    path
}

/// An initramfs whose first process runs `script`.
fn first_process(folder: &Path, name: &str, script: &str) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("a folder");
    initramfs(&folder, script)
}

/// Two thirds of our initramfs, as it is (`cat`) or packed (`gzip`).
fn cut_initramfs(folder: &Path, pack: &str) -> PathBuf {
    let path = folder.join(format!("cut-{pack}"));
    let initramfs = fs::File::open(asset("initramfs")).expect("the initramfs");
    let packed = Command::new(pack).stdin(initramfs).output().expect("a filter").stdout;
    fs::write(&path, &packed[..packed.len() * 2 / 3]).expect("a cut initramfs");
    path
}

struct Case {
    what: &'static str,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// The time that it is given, in seconds.
    limit: &'static str,
    /// In the sentence.
    says: &'static [&'static str],
    /// In one of the console's lines; nothing where there is no console.
    shows: &'static str,
    reason: &'static str,
}

#[test]
fn a_guest_that_does_not_come_up_says_why() {
    let before = Footprint::take();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    let kernel = PathBuf::from(asset("vmlinux"));
    let case = |what, kernel: &Path, initramfs: PathBuf, limit, says, shows, reason| Case {
        what,
        kernel: kernel.to_owned(),
        initramfs,
        limit,
        says,
        shows,
        reason,
    };
    fs::write(path.join("none"), []).expect("an empty file");
    let exits = first_process(path, "exits", "echo 'cannot go on \u{1b}[31m'; exit 3");
    let hangs = first_process(path, "hangs", "echo 'it stands still'; sleep 1000");
    let eats =
        first_process(path, "eats", "mount -t ramfs fills /tmp; exec dd if=/dev/zero of=/tmp/fills bs=1M");
    let faults = damaged_kernel(path, FAULT);
    let silent = damaged_kernel(path, LOOP);
    let own = PathBuf::from(asset("initramfs"));
    let cases = [
        case(
            "no root",
            &kernel,
            path.join("none"),
            "60",
            &["no root file system", "VFS: "],
            "VFS: ",
            "panic",
        ),
        case("cut", &kernel, cut_initramfs(path, "cat"), "60", &["initramfs", "cut off"], "", "vmm-error"),
        case(
            "cut gzip",
            &kernel,
            cut_initramfs(path, "gzip"),
            "60",
            &["its initramfs is damaged"],
            "unpacking",
            "panic",
        ),
        case(
            "init exits",
            &kernel,
            exits,
            "60",
            &["its init exited with status 3"],
            "cannot go on [31m",
            "panic",
        ),
        case("no memory", &kernel, eats, "60", &["it ran out of memory"], "deadlocked", "panic"),
        case(
            "it hangs",
            &kernel,
            hangs,
            "8",
            &["reach its init within 8 s"],
            "it stands still",
            "start-timeout",
        ),
        case("a fault", &faults, own.clone(), "60", &["triple fault before its kernel"], "", "triple-fault"),
        case("silence", &silent, own, "3", &["within 3 s", "printed nothing"], "", "start-timeout"),
    ];
    let assets = path.join("assets");
    fs::create_dir(&assets).expect("a folder");
    std::os::unix::fs::symlink(asset("bulkhead-vmm"), assets.join("bulkhead-vmm")).expect("a link");
    {
        let daemon = Daemon::with_assets(&assets);
        for case in &cases {
            fails(&daemon, &assets, case);
        }
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}

fn fails(daemon: &Daemon, assets: &Path, case: &Case) {
    for (name, target) in [("vmlinux", &case.kernel), ("initramfs", &case.initramfs)] {
        let _ = fs::remove_file(assets.join(name));
        std::os::unix::fs::symlink(target, assets.join(name)).expect("a link");
    }
    let start = Instant::now();
    let limit = ["run", "--name", "broken", "-m", "128", "--start-timeout", case.limit];
    let run = daemon.bulkhead(&[limit.as_slice(), &[&asset("busybox.img"), "true"]].concat());
    assert_eq!(run.status, 125, "{}: {}", case.what, run.stderr);
    assert!(start.elapsed() < Duration::from_secs(60), "{}: it took {:?}", case.what, start.elapsed());
    let (sentence, console) = run.stderr.split_once('\n').unwrap_or((&run.stderr, ""));
    assert!(sentence.starts_with("bulkhead: ") && sentence.contains("broken"), "{}: {sentence}", case.what);
    assert!(case.says.iter().all(|word| sentence.contains(word)), "{}: {}", case.what, run.stderr);
    assert!(console.lines().all(|line| line.starts_with("    ")), "{}: {console}", case.what);
    assert!(!run.stderr.contains('\u{1b}'), "{}: {}", case.what, run.stderr);
    assert_eq!(console.is_empty(), case.shows.is_empty(), "{}: {console}", case.what);
    assert!(console.contains(case.shows), "{}: {console}", case.what);

    let status = &daemon.inspect("broken")["status"];
    assert_eq!((&status["phase"], &status["exit"]["reason"]), (&json!("failed"), &json!(case.reason)));
    assert_eq!(status["message"].as_str(), sentence.strip_prefix("bulkhead: "), "{status}");
    let lines = status["console"].as_array().expect("lines");
    assert_eq!(lines.len(), console.lines().count(), "{status}");
    let logs = daemon.bulkhead(&["logs", "broken"]).ok().stderr;
    assert!(case.shows.is_empty() || logs.contains(case.shows) && logs.contains(case.says[0]), "{logs}");
    let events = daemon.bulkhead(&["events", "--no-follow"]).ok().stdout;
    assert!(events.contains("failed") && events.contains(case.says[0]), "{events}");
    let _ = daemon.bulkhead(&["rm", "broken"]).ok();
}

#[test]
fn a_bare_vmm_says_why_and_takes_no_printed_panic_for_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let with = |kernel: &str, initramfs: &Path| {
        let mut config = config();
        config["boot-source"] =
            json!({"kernel_image_path": kernel, "initrd_path": initramfs, "boot_args": QUIET});
        boot(&config)
    };
    let exits = first_process(folder.path(), "exits", "exit 7");
    let ended = with(&asset("vmlinux"), &exits);
    let mut lines = ended.process.stderr.lines();
    assert_eq!(lines.next(), Some("The guest kernel panicked: its init exited with status 7"));
    assert!(lines.any(|line| line.starts_with("    [") && line.contains("Kernel panic")), "{ended:?}");
    assert!(
        matches!(&ended.record, Some(ExitRecord::Panic { cause, .. }) if cause.contains("status 7")),
        "{ended:?}"
    );

    let script = "echo '[    9.000000] Kernel panic - not syncing: not at all'; reboot -f";
    let ended = with(&asset("vmlinux"), &first_process(folder.path(), "prints", script));
    assert!(ended.process.stdout.contains("not at all"), "{ended:?}");
    assert_eq!((ended.record, ended.process.stderr.as_str()), (Some(ExitRecord::Reset), ""));

    let faults = damaged_kernel(folder.path(), FAULT);
    let ended = with(&faults.to_string_lossy(), &exits);
    assert!(
        matches!(&ended.record, Some(ExitRecord::TripleFault { console }) if console.is_empty()),
        "{ended:?}"
    );
    assert!(ended.process.stderr.contains("triple fault before its kernel printed anything"), "{ended:?}");
}
