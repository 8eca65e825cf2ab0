//! mmdebstrap, which runs for minutes, ends with who asked for it, however that one ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use bulkhead_image::{BuildOptions, Cancellation, Source};
use rustix::process::{Pid, Signal, kill_process};
use support::run;

/// How long it may take until all of it has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stands for mmdebstrap: says that it is there, and waits with a child. Both have the pipe until they end.
const STANDS_IN: &str = "#!/bin/sh\nexec 9>\"$PIPE\"\necho there >&9\nsleep 1000 &\nwait\n";

/// bulkhead-image that makes a Debian, and what its mmdebstrap says: a word when it is there, and the end of all of it.
fn begin(folder: &Path) -> (Child, Receiver<&'static str>) {
    let (program, pipe) = (folder.join("mmdebstrap"), folder.join("pipe"));
    fs::write(&program, STANDS_IN).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    run("mkfifo", &[&pipe.to_string_lossy()]);
    let (tell, told) = mpsc::channel();
    let reader = pipe.clone();
    thread::spawn(move || {
        let mut pipe = BufReader::new(File::open(reader).unwrap());
        pipe.read_line(&mut String::new()).unwrap();
        tell.send("there").unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        tell.send("gone").unwrap();
    });
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
    let child = Command::new(env!("CARGO_BIN_EXE_bulkhead-image"))
        .args(["build", "root:debian:bookworm", "-o"])
        .arg(folder.join("image"))
        .env("PATH", path)
        .env("PIPE", pipe)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, told)
}

#[test]
fn it_ends_with_its_caller_whatever_ends_that_one() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let folder = tempfile::tempdir().unwrap();
        let (mut caller, told) = begin(folder.path());
        assert_eq!(told.recv_timeout(PATIENCE), Ok("there"));
        kill_process(Pid::from_child(&caller), signal).unwrap();
        assert!(!caller.wait().unwrap().success());
        assert_eq!(told.recv_timeout(PATIENCE), Ok("gone"), "{signal:?}");
        assert!(!folder.path().join("image").exists());
    }
}

#[test]
fn a_build_that_is_cancelled_ends_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    // Minutes of zeros.
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(source.join("zeros"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let words = format!("dir:{}", source.display());
    let mut options = BuildOptions::default();
    let cancellation = Cancellation::default();
    options.limits.cancellation = cancellation.clone();
    let output = folder.path().join("image");
    let (ended, end) = mpsc::channel();
    let build = output.clone();
    thread::spawn(move || {
        let source: Source = words.parse().unwrap();
        ended.send(bulkhead_image::build(&source, &build, &options).map(drop).is_err())
    });
    assert!(end.recv_timeout(Duration::from_millis(100)).is_err(), "it takes longer than that");
    cancellation.cancel();
    assert_eq!(end.recv_timeout(PATIENCE), Ok(true));
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name != "source");
    assert!(names.is_empty() && !output.exists(), "{names:?}");
}
