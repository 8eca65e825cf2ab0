//! One way to make a disk, in a process of its own: what its programs took is known of all that a process waited for.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

use super::super::process::now;
use super::report::Figures;
use super::{LAYOUT, OURS};

/// Which way, for the process that goes it.
pub const WAY: &str = "BULKHEAD_BENCH_WAY";

/// The folder that has the layout, for the same process.
pub const FOLDER: &str = "BULKHEAD_BENCH_FOLDER";

/// The folder that a way works in, beneath that one.
pub const WORK: &str = "work";

/// What a way leaves there: the disk.
const DISK: &str = "disk";

/// A way: its name and its commands for a shell, in the working folder. `$LAYOUT` is the image's.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub name: &'static str,
    /// Its commands, for `sh`.
    script: &'static str,
    /// Whether its disk is uncompressed EROFS, as ours is: then their sizes compare.
    pub erofs: bool,
}

/// Ours, then what people put together. All of them end with the disk in a file.
pub const WAYS: [Way; 4] = [
    Way {
        name: OURS,
        script: "bulkhead-image build \"oci:$LAYOUT:latest\" --output disk >/dev/null",
        erofs: true,
    },
    Way {
        name: "umoci, mkfs.erofs",
        script: "umoci unpack --image \"$LAYOUT:latest\" bundle >/dev/null &&
            mkfs.erofs -T0 disk bundle/rootfs >/dev/null",
        erofs: true,
    },
    Way {
        name: "buildah, mkfs.erofs",
        script: "b='buildah --root storage --runroot run --storage-driver overlay' &&
            c=$($b from --signature-policy policy.json \"oci:$LAYOUT:latest\") &&
            mkfs.erofs -T0 disk \"$($b mount \"$c\")\" >/dev/null && $b umount \"$c\" >/dev/null",
        erofs: true,
    },
    Way {
        name: "umoci, mke2fs -d",
        script: "umoci unpack --image \"$LAYOUT:latest\" bundle >/dev/null &&
            mke2fs -q -t ext4 -d bundle/rootfs disk 1G",
        erofs: false,
    },
];

/// Goes the way that the environment names; prints the figures.
pub fn run() -> Result<u8> {
    let name = env::var(WAY).context("No way is named")?;
    let way = WAYS.iter().find(|way| way.name == name).context("There is no such way")?;
    let folder = PathBuf::from(env::var_os(FOLDER).context("No folder is named")?);
    let work = folder.join(WORK);
    fs::create_dir(&work).context("Cannot make the working folder")?;
    fs::write(work.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
        .context("Cannot write buildah's policy")?;
    let before = bytes()?;
    let begin = now();
    let output = Command::new("sh")
        .args(["-c", way.script])
        .env("LAYOUT", folder.join(LAYOUT))
        .current_dir(&work)
        .stdin(Stdio::null())
        .output()
        .context("Cannot start a shell")?;
    let ms = (now() - begin) * 1000.0;
    if !output.status.success() {
        bail!("It ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let after = bytes()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("Cannot ask what the programs took")?;
    let disk = fs::metadata(work.join(DISK)).context("There is no disk")?;
    // Both are far below 2^53 microseconds.
    #[allow(clippy::cast_precision_loss)]
    let time = |time: TimeVal| time.num_microseconds() as f64 / 1000.0;
    let figures = Figures {
        ms,
        processor_ms: time(usage.user_time()) + time(usage.system_time()),
        memory_kib: u64::try_from(usage.max_rss()).unwrap_or_default(),
        read: after.0 - before.0,
        written: after.1 - before.1,
        // What a file that has holes really takes.
        disk: std::os::unix::fs::MetadataExt::blocks(&disk) * 512,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(0)
}

/// What this process and all that it waited for read and wrote by system calls, in bytes.
fn bytes() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/io").context("Cannot read /proc/self/io")?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("/proc/self/io has no {name}"))
    };
    Ok((field("rchar:")?, field("wchar:")?))
}
