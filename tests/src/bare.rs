//! A bare machine that is spoken with: its API, its console, and a first process that is a shell script.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{asset, run};

/// How long anything may take in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a file is looked at: rarely, since a lab with one processor has nothing to spare.
const LOOK: Duration = Duration::from_millis(100);

/// Words for the kernel that keep it quiet and its end quick.
pub const QUIET: &str = "console=ttyS0 reboot=k panic=-1 quiet loglevel=1 8250.nr_uarts=1 cryptomgr.notests";

/// A machine with an API. It ends with this.
pub struct Bare {
    child: Child,
    folder: tempfile::TempDir,
}

impl Bare {
    /// Starts the VMM with `config`, or waiting for its configuration when that is `null`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(config: &Value) -> Self {
        Self::start_with(config, Stdio::null())
    }

    /// The same, with an input that [`Bare::enter`] types on.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_with_input(config: &Value) -> Self {
        Self::start_with(config, Stdio::piped())
    }

    fn start_with(config: &Value, input: Stdio) -> Self {
        let folder = tempfile::Builder::new().prefix("bulkhead-bare-").tempdir().expect("a temporary folder");
        let mut command = Command::new(asset("bulkhead-vmm"));
        command.current_dir(folder.path()).args(["--api-sock", "api.sock", "--id", "bare"]);
        if !config.is_null() {
            fs::write(folder.path().join("config.json"), config.to_string()).expect("a configuration file");
            command.args(["--config-file", "config.json"]);
        }
        let file = |name| File::create(folder.path().join(name)).expect("a file for output");
        let child = command.stdin(input).stdout(file("console")).stderr(file("errors")).spawn();
        Self { child: child.expect("bulkhead-vmm"), folder }
    }

    /// A file of the machine's own folder, in which it runs.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the API; gives the status and the body.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let end = Instant::now() + PATIENCE;
        let mut stream = loop {
            match UnixStream::connect(self.path("api.sock")) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "no API: {error}"),
            }
            std::thread::sleep(LOOK);
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Asks the API for something that it grants.
    ///
    /// # Panics
    /// When it does not answer 204.
    pub fn ask(&self, method: &str, path: &str, body: &Value) {
        let (status, answer) = self.api(method, path, body);
        assert_eq!(status, 204, "{method} {path} {body}: {answer}");
    }

    /// What a group of figures has counted since the start; `metrics` is the file that the configuration names.
    /// A line comes each minute, too, and tells only what is new since the one before: so all are added up.
    ///
    /// # Panics
    /// When the file has no such group.
    #[must_use]
    pub fn counted(&self, metrics: &Path, group: &str) -> Value {
        self.ask("PUT", "/actions", &json!({"action_type": "FlushMetrics"}));
        let mut sum = serde_json::Map::new();
        for line in fs::read_to_string(metrics).expect("figures").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            for (name, count) in line[group].as_object().expect("a group of figures") {
                let before = sum.get(name).and_then(Value::as_u64).unwrap_or(0);
                sum.insert(name.clone(), json!(before + count.as_u64().expect("a count")));
            }
        }
        Value::Object(sum)
    }

    /// Types a line on the console of a machine with an input.
    ///
    /// # Panics
    /// When it has none, or takes nothing.
    pub fn enter(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("an input");
        writeln!(input, "{line}").expect("to type");
    }

    /// What the guest has printed so far.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = fs::read(self.path("console")).expect("the console");
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// Waits until the guest has printed `text`; gives everything that it has printed.
    ///
    /// # Panics
    /// When it ends before, or does not within its time.
    pub fn await_console(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().expect("wait");
            let console = self.console();
            if console.contains(text) {
                return console;
            }
            let errors = || fs::read_to_string(self.path("errors")).unwrap_or_default();
            assert!(ended.is_none(), "ended without {text:?}: {console}\n{}", errors());
            assert!(Instant::now() < end, "no {text:?} within {PATIENCE:?}: {console}\n{}", errors());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for the end; gives the status and the console.
    ///
    /// # Panics
    /// When it does not end within its time.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return (status.code(), self.console());
            }
            assert!(Instant::now() < end, "it does not end: {}", self.console());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An initramfs with busybox in which `script` is the first process; `/proc`, `/sys` and `/dev` are mounted.
/// It lies in `folder`.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn initramfs(folder: &Path, script: &str) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "dev", "proc", "sys", "etc", "tmp"] {
        fs::create_dir_all(root.join(name)).expect("a folder");
    }
    let first = format!(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\n\
         mount -t devtmpfs dev /dev\n{script}\n"
    );
    fs::write(root.join("init"), first).expect("the first process");
    let archive = folder.join("initramfs");
    let make = format!(
        "cp $(command -v busybox) bin/busybox && chmod 755 init && mknod dev/console c 5 1 && \
         find . | cpio --quiet -o -H newc > {}",
        archive.display()
    );
    let _ = run(Command::new("sh").args(["-ec", &make]).current_dir(&root), PATIENCE).ok();
    archive
}

/// A configuration that boots `kernel` with that initramfs, with `sections` besides or instead.
#[must_use]
pub fn boot(kernel: &str, initramfs: &Path, boot_args: &str, sections: Value) -> Value {
    let mut config = json!({
        "boot-source": {"kernel_image_path": kernel, "initrd_path": initramfs, "boot_args": boot_args},
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
    });
    if let (Value::Object(config), Value::Object(sections)) = (&mut config, sections) {
        config.extend(sections);
    }
    config
}
