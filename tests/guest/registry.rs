//! `bulkhead pull` and `bulkhead run REFERENCE`, from Docker's registry as Debian has it.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_tests::{Daemon, asset};

/// Where the registry is: nothing else has the port, in a network of the lab's own.
const HOST: &str = "127.0.0.1:5000";

/// A registry; it ends with the test.
struct Registry {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, data) = (folder.path().join("config.yml"), folder.path().join("data"));
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {HOST}\n",
            data.display()
        );
        fs::write(&config, text).expect("the registry's configuration");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(HOST).is_err() {
            assert!(Instant::now() < end, "the registry does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        Self { child, _folder: folder }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_skopeo_pushed_is_pulled_and_run() {
    let registry = Registry::start();
    let (from, reference) = (format!("oci:{}/oci:latest", asset("sources")), format!("{HOST}/team/hello:1"));
    let pushed = bulkhead_tests::run(
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--dest-tls-verify=false", &from])
            .arg(format!("docker://{reference}")),
        Duration::from_secs(120),
    );
    assert_eq!(pushed.status, 0, "{}", pushed.stderr);

    let daemon = Daemon::with_options(&["--insecure-registry", HOST]);
    let run = |arguments: &[&str]| daemon.bulkhead(&[&["run", "--rm"], arguments, &[&reference]].concat());
    let absent = run(&["--pull", "never"]);
    assert_eq!(absent.status, 125, "{}", absent.stderr);
    let first = run(&[]);
    assert_eq!((first.status, first.text()), (7, "hello from the appliance"), "{}", first.stderr);
    let images = daemon.bulkhead(&["images"]);
    assert!(images.text().contains(&reference), "{}", images.text());

    // What is there needs no registry any more, unless it is asked for.
    drop(registry);
    let again = run(&[]);
    assert_eq!((again.status, again.text()), (7, "hello from the appliance"), "{}", again.stderr);
    let newest = run(&["--pull", "always"]);
    assert_eq!((newest.status, newest.stderr.lines().count()), (125, 1), "{}", newest.stderr);
    assert_eq!(daemon.bulkhead(&["rmi", &reference]).status, 0);
    assert_eq!(run(&["--pull", "never"]).status, 125);
}
