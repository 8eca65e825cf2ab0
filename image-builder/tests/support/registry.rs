//! Docker's registry, as Debian has it, on a port of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use super::run;

/// `me:secret`, by bcrypt.
const USERS: &str = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// What a registry may want besides plain HTTP.
#[derive(Default, Clone, Copy)]
pub struct Wants {
    pub tls: bool,
    pub password: bool,
}

/// A registry; it ends with the test.
pub struct DockerRegistry {
    child: Child,
    pub folder: tempfile::TempDir,
    /// Host and port.
    pub host: String,
}

impl DockerRegistry {
    pub fn new(wants: Wants) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            path("data")
        );
        if wants.tls {
            certificate(folder.path());
            config +=
                &format!("  tls:\n    certificate: {}\n    key: {}\n", path("cert.pem"), path("key.pem"));
        }
        if wants.password {
            fs::write(path("users"), USERS).unwrap();
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("users"));
        }
        fs::write(path("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is needed for this test (tools/requirements)");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let port = line.split("listening on 127.0.0.1:").nth(1)?;
            port.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u16>().ok()
        });
        let port = port.expect("the registry says where it listens");
        // A pipe that is full would stop it.
        thread::spawn(move || lines.for_each(drop));
        let name = if wants.tls { "localhost" } else { "127.0.0.1" };
        Self { child, host: format!("{name}:{port}"), folder }
    }

    /// The authority that vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Has skopeo copy between the registry and a local source.
    pub fn skopeo(&self, from: &str, to: &str, flags: &[&str]) {
        let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        run("skopeo", &[&["--insecure-policy", "copy", "--all"], &tls[..], flags, &[from, to]].concat());
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes an authority, `ca.pem`, and a certificate of its for `localhost`.
fn certificate(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca, ca_key) = (path("ca.pem"), path("ca.key"));
    let authority =
        ["req", "-x509", "-days", "2", "-subj", "/CN=Test authority", "-keyout", &ca_key, "-out", &ca];
    run("openssl", &[&authority[..], &key].concat());
    let request = path("request.pem");
    let wanted = ["req", "-subj", "/CN=localhost", "-keyout", &path("key.pem"), "-out", &request];
    run("openssl", &[&wanted[..], &key].concat());
    fs::write(path("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let signing = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-extfile", &path("names")];
    let files = ["-in", &request, "-out", &path("cert.pem")];
    run("openssl", &[&["x509", "-req", "-days", "2"], &signing[..], &files].concat());
}
