//! A bare guest that runs a shell script: a kernel, an initramfs of busybox and modules, and the devices that
//! the test gives it. Made where the suites run: the lab's kernel and the guests' are one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::vmm::{BOOT_ARGS, config};
use crate::{asset, run};

/// What every guest here needs.
const MODULES: [&str; 2] = ["virtio_mmio", "virtio_blk"];

/// A machine that runs a script.
pub struct Scripted {
    child: Child,
    console: Arc<Mutex<String>>,
    folder: tempfile::TempDir,
}

impl Scripted {
    /// Starts a guest that inserts `modules` (and what they need), runs `script` with busybox's shell, and
    /// switches itself off. `devices` are sections of its configuration.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(modules: &[&str], script: &str, devices: &Value) -> Self {
        let folder = tempfile::Builder::new().prefix("bulkhead-guest-").tempdir().expect("a folder");
        let mut config = config();
        config["boot-source"] = json!({
            "kernel_image_path": asset("vmlinux"),
            "initrd_path": initramfs(folder.path(), modules, script),
            "boot_args": BOOT_ARGS,
        });
        config["machine-config"]["mem_size_mib"] = json!(256);
        config.as_object_mut().expect("a map").extend(devices.as_object().expect("sections").clone());
        let file = folder.path().join("config.json");
        fs::write(&file, config.to_string()).expect("a configuration file");
        let mut child = Command::new(asset("bulkhead-vmm"))
            .arg("--config-file")
            .arg(&file)
            .arg("--api-sock")
            .arg(folder.path().join("api.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("errors")).expect("a file"))
            .spawn()
            .expect("bulkhead-vmm");
        let console = Arc::new(Mutex::new(String::new()));
        let (into, mut from) = (console.clone(), child.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                into.lock().expect("the text").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, console, folder }
    }

    /// What the guest has printed so far.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.lock().expect("the text").clone()
    }

    /// Waits until the guest has printed `text`.
    ///
    /// # Panics
    /// When it does not within `limit`, or ends before.
    pub fn await_console(&mut self, text: &str, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.console().contains(text) {
            let over = self.child.try_wait().expect("wait").is_some() || Instant::now() >= end;
            assert!(
                !over || self.console().contains(text),
                "no {text:?}: {}{}",
                self.console(),
                self.errors()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types a line on the guest's console.
    ///
    /// # Panics
    /// When the machine is gone.
    pub fn line(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{text}").expect("a line");
    }

    /// A request to the machine's API: status and body.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let mut stream = UnixStream::connect(self.folder.path().join("api.sock")).expect("the API");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Waits for the end of the guest; what it printed.
    ///
    /// # Panics
    /// When it does not end within `limit`, or ends badly.
    #[must_use]
    pub fn wait(mut self, limit: Duration) -> String {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < end, "not done: {}{}", self.console(), self.errors());
            thread::sleep(Duration::from_millis(50));
        };
        assert!(status.success(), "{status}: {}{}", self.console(), self.errors());
        self.console()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // Gone already, after `wait`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the initramfs in `folder`.
fn initramfs(folder: &Path, modules: &[&str], script: &str) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "dev", "proc", "sys", "mnt", "modules"] {
        fs::create_dir_all(root.join(name)).expect("a folder");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    let mut inserts = String::new();
    for path in module_files(modules) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        fs::copy(&path, root.join("modules").join(&name)).expect("a module");
        inserts.push_str(&format!("insmod /modules/{name}\n"));
    }
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin:/usr/bin:/usr/sbin\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev\n\
         {inserts}{script}\npoweroff -f\n"
    );
    fs::write(root.join("init"), init).expect("a script");
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).expect("its mode");
    let archive = folder.join("initramfs");
    let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc > \"$1\"";
    let _ = run(Command::new("sh").args(["-c", pack]).arg(&root).arg(&archive), Duration::from_secs(60)).ok();
    archive
}

/// The files of `modules` and of what they need, each after what it needs.
fn module_files(modules: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES.iter().chain(modules) {
        let shown = run(
            Command::new("modprobe").args(["--show-depends", "--ignore-install", module]),
            Duration::from_secs(30),
        )
        .ok();
        for path in shown.stdout.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let path = PathBuf::from(path.trim());
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    files
}
