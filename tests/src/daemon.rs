//! A daemon of one's own.

use std::fs::{File, Metadata, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_protocol::agent::PORT;
use serde_json::Value;

use crate::{Finished, asset, run};

/// How long one command may take; a lab is slow.
const LIMIT: Duration = Duration::from_secs(120);

/// `bulkhead serve` on folders of its own. Dropping it removes every machine, ends it and looks for leftovers.
pub struct Daemon {
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// Whose it is; without one, root's.
    user: Option<User>,
    /// The folder of the VMM, the guest kernel and the initramfs, where it is not the program's own.
    /// Further words for `serve`.
    options: Vec<String>,
}

/// A user without privileges, whose group may use KVM, as that of the name `kvm` may on a host with udev.
struct User {
    /// Of user and group; nobody else's.
    id: u32,
    /// What `/dev/kvm` was before.
    kvm: Metadata,
}

/// The device that starts guests.
const KVM: &str = "/dev/kvm";

impl User {
    fn new() -> Self {
        let (id, kvm) = (4242, std::fs::metadata(KVM).expect("/dev/kvm"));
        chown(KVM, None, Some(id)).expect("a group for /dev/kvm");
        std::fs::set_permissions(KVM, Permissions::from_mode(0o660)).expect("a mode for /dev/kvm");
        Self { id, kvm }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = chown(KVM, None, Some(self.kvm.gid()));
        let _ = std::fs::set_permissions(KVM, self.kvm.permissions());
    }
}

impl Daemon {
    /// Starts one.
    ///
    /// # Panics
    /// When guests do not boot here, or the daemon does not answer.
    #[must_use]
    pub fn start() -> Self {
        Self::of(None, Vec::new())
    }

    /// Starts one that an ordinary user runs, who also types every command.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    #[must_use]
    pub fn start_as_a_user() -> Self {
        Self::of(Some(User::new()), Vec::new())
    }

    /// Starts one that takes the VMM, the guest kernel and the initramfs from `assets`.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    #[must_use]
    pub fn with_assets(assets: &Path) -> Self {
        Self::with_options(&["--assets", &assets.to_string_lossy()])
    }

    /// Starts one with these words behind `serve`.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    #[must_use]
    pub fn with_options(options: &[&str]) -> Self {
        Self::of(None, options.iter().map(|word| (*word).to_owned()).collect())
    }

    fn of(user: Option<User>, options: Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().expect("a temporary folder");
        if let Some(user) = &user {
            chown(folder.path(), Some(user.id), Some(user.id)).expect("a folder of the user's");
        }
        let mut daemon = Self { folder, child: None, user, options };
        let doctor = run(daemon.program().arg("doctor"), LIMIT);
        assert_eq!(doctor.status, 0, "guests do not boot here: {}{}", doctor.stdout, doctor.stderr);
        daemon.serve();
        daemon
    }

    /// Starts the program on the same folders, as after a crash.
    ///
    /// # Panics
    /// When it does not answer within its time.
    pub fn serve(&mut self) {
        let log = File::create(self.path("serve.log")).expect("a log file");
        let child = self
            .program()
            .args(["serve", "--socket", &self.socket()])
            .args(["--state-dir", &self.text("state"), "--run-dir", &self.text("run")])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("bulkhead serve");
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "bulkhead serve does not answer: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the program as a crash would, without a chance to clean up.
    ///
    /// # Panics
    /// When it does not run.
    pub fn crash(&mut self) {
        let mut child = self.child.take().expect("a running daemon");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// `bulkhead ARGUMENTS`, to its end.
    #[must_use]
    pub fn bulkhead(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments), LIMIT)
    }

    /// `bulkhead ARGUMENTS`, not yet started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.args(["--socket", &self.socket()]).args(arguments);
        command
    }

    fn program(&self) -> Command {
        let mut command = Command::new(asset("bulkhead"));
        if let Some(user) = &self.user {
            command.uid(user.id).gid(user.id);
        }
        command
    }

    /// The program's process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running daemon").id()
    }

    /// `bulkhead inspect NAME`.
    ///
    /// # Panics
    /// When it fails or does not answer with JSON.
    #[must_use]
    pub fn inspect(&self, name: &str) -> Value {
        let answer = self.bulkhead(&["inspect", name]).ok();
        serde_json::from_str(&answer.stdout).expect("JSON")
    }

    /// Asks the machine's initd, over its socket, who it is: the whole HTTP answer.
    ///
    /// # Panics
    /// When it does not answer within ten seconds.
    #[must_use]
    pub fn ready(&self, name: &str) -> String {
        self.ask_initd(name, "GET", "/v1/ready", "")
    }

    /// Asks the machine's initd something, past the daemon: the whole HTTP answer.
    ///
    /// # Panics
    /// When it does not answer within ten seconds.
    #[must_use]
    pub fn ask_initd(&self, name: &str, method: &str, path: &str, body: &str) -> String {
        let answer = self.ask(name, "v.sock", &format!("CONNECT {PORT}\n{method} {path}"), body);
        // The VMM's own line, `OK PORT`, comes first.
        answer.split_once('\n').map(|(_, answer)| answer.to_owned()).unwrap_or_default()
    }

    /// Asks the machine's VMM for its configuration as it stands.
    ///
    /// # Panics
    /// When it does not answer within ten seconds, or not with JSON.
    #[must_use]
    pub fn vmm_config(&self, name: &str) -> Value {
        let answer = self.ask(name, "a.sock", "GET /vm/config", "");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer with a body");
        serde_json::from_str(body).expect("JSON")
    }

    /// Asks something of the machine's VMM: the whole HTTP answer.
    ///
    /// # Panics
    /// When it does not answer within ten seconds.
    #[must_use]
    pub fn vmm_put(&self, name: &str, path: &str, body: &Value) -> String {
        self.ask(name, "a.sock", &format!("PUT {path}"), &body.to_string())
    }

    /// Sends a request to a socket in the machine's folder and reads until the other side hangs up.
    fn ask(&self, name: &str, socket: &str, request: &str, body: &str) -> String {
        let id = self.inspect(name)["metadata"]["id"].as_str().expect("an id").to_owned();
        let socket = self.path("run").join("m").join(id).join(socket);
        let mut stream = UnixStream::connect(&socket).unwrap_or_else(|error| panic!("{socket:?}: {error}"));
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        let ask = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(ask.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A path in the daemon's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn socket(&self) -> String {
        self.text("bulkhead.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    /// Removes every machine.
    fn clear(&self) {
        let Ok(output) = self.command(&["ps", "-a", "--quiet"]).output() else { return };
        for id in String::from_utf8_lossy(&output.stdout).lines() {
            let _ = self.command(&["rm", "--force", id]).output();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_none() && Path::new(&self.text("state")).exists() && !thread::panicking() {
            self.serve();
        }
        self.clear();
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        if let Some(mut child) = self.child.take() {
            if let Ok(pid) = i32::try_from(child.id()) {
                terminate(pid);
            }
            let _ = child.wait();
        }
    }
}

#[allow(unsafe_code, reason = "kill(2) has no safe form in std")]
fn terminate(pid: i32) {
    // SAFETY: kill takes two numbers and touches no memory; the child has not been waited for, so that
    // its id is still its own.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}
