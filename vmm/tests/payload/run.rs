//! Starting the program with a payload, and what is left when it has ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long any payload may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine that runs a payload.
pub struct Running {
    pub child: Child,
    folder: TempDir,
}

/// What is left of one.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub console: String,
    pub errors: String,
    pub record: Value,
}

/// `utime` and `stime` of proc_pid_stat(5).
fn thread_ticks(task: &Path) -> u64 {
    let stat = fs::read_to_string(task.join("stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Starts `kernel` with `sections` besides boot source and one vCPU with 16 MiB.
pub fn start(kernel: &[u8], sections: Value) -> Running {
    start_with(kernel, sections, &[])
}

/// The same with more arguments.
pub fn start_with(kernel: &[u8], sections: Value, arguments: &[&str]) -> Running {
    assert!(
        Path::new("/dev/kvm").exists(),
        "/dev/kvm is missing: payload tests need a host (or a lab) that has it"
    );
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("kernel"), kernel).unwrap();
    let mut config = json!({
        "boot-source": {"kernel_image_path": at("kernel")},
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 16},
    });
    config.as_object_mut().unwrap().extend(sections.as_object().unwrap().clone());
    fs::write(at("config.json"), config.to_string()).unwrap();
    let output = |name| Stdio::from(File::create(at(name)).unwrap());
    // The shell turns a file into descriptor 7, which nothing else here has open.
    let child = Command::new("sh")
        .args(["-c", r#"exec "$0" "$@" 7>record"#, env!("CARGO_BIN_EXE_bulkhead-vmm")])
        .args(["--config-file", "config.json", "--api-sock", "api.sock", "--exit-record-fd", "7"])
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(output("console"))
        .stderr(output("errors"))
        .spawn()
        .unwrap();
    Running { child, folder }
}

/// Runs `kernel` to its end.
pub fn run(kernel: &[u8]) -> Ended {
    start(kernel, json!({})).wait()
}

impl Drop for Running {
    /// A test that fails leaves no machine behind.
    fn drop(&mut self) {
        // It has mostly ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// A file beside the machine's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the guest has printed so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("console")).unwrap()).into_owned()
    }

    /// Waits until the guest has printed so many bytes.
    pub fn await_output(&self, length: usize) {
        let start = Instant::now();
        while self.console().len() < length {
            assert!(start.elapsed() < PATIENCE, "no {length} bytes on the console within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the process has open: descriptors and what they are.
    pub fn descriptors(&self) -> BTreeMap<String, String> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let open = folder.map(|entry| entry.unwrap().path());
        // One that is closed meanwhile is none.
        open.filter_map(|path| Some((name(&path), fs::read_link(&path).ok()?.to_string_lossy().into_owned())))
            .collect()
    }

    /// Waits until the guest has printed `text`.
    pub fn await_console(&self, text: &str) {
        let start = Instant::now();
        while !self.console().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no {text:?} on the console within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Asks the API; gives the status and the body.
    pub fn api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.path("api.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// The processor time of every thread so far, in clock ticks.
    pub fn ticks(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.map(|task| thread_ticks(&task.unwrap().path())).sum()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Feeds standard input as long as the program takes it, for `time`, and on a slow machine until it has taken so much;
    /// tells how many bytes.
    pub fn feed(&mut self, time: Duration, at_least: u64) -> u64 {
        let mut input = self.child.stdin.take().unwrap();
        let fed = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = fed.clone();
        std::thread::spawn(move || {
            while input.write_all(&[b'x'; 4096]).is_ok() {
                count.fetch_add(4096, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let fed = || fed.load(std::sync::atomic::Ordering::SeqCst);
        std::thread::sleep(time);
        let start = Instant::now();
        while fed() < at_least && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        fed()
    }

    /// Waits for the end; one that takes too long fails the test.
    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if start.elapsed() > PATIENCE => {
                    self.child.kill().unwrap();
                    self.child.wait().unwrap();
                    panic!("the machine did not end within {PATIENCE:?}");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut record = String::new();
        File::open(self.path("record")).unwrap().read_to_string(&mut record).unwrap();
        for socket in ["api.sock", "v.sock"] {
            assert!(!self.path(socket).exists(), "{socket} is left behind");
        }
        Ended {
            status,
            console: self.console(),
            errors: fs::read_to_string(self.path("errors")).unwrap(),
            record: serde_json::from_str(&record).unwrap_or(Value::Null),
        }
    }
}
