//! Programs that keep credentials (github.com/docker/docker-credential-helpers): `docker-credential-NAME get` reads
//! a registry's name and answers with JSON.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Credentials, CredentialsError};

/// How long a helper may think; it may ask its user.
const TIME: Duration = Duration::from_secs(60);

/// How long it may stay behind its answer.
const GRACE: Duration = Duration::from_secs(2);

/// Bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// The user's name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper; none where it has nothing for the registry.
pub(super) fn ask(name: &str, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with(['-', '.']) || name.len() > 64 || !name.bytes().all(plain) {
        return Err(CredentialsError::HelperName(name.chars().take(64).collect()));
    }
    let program = format!("docker-credential-{name}");
    let failed = |error| CredentialsError::Helper(program.clone(), error);
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What it says might be the secret.
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says no by its status.
        let _ = stdin.write_all(registry.as_bytes());
    }
    let answer = read(&mut child);
    if answer.is_none() {
        let _ = child.kill();
    }
    let status = ended(&mut child).map_err(failed)?;
    let answer = answer.ok_or_else(|| CredentialsError::HelperAnswer(program.clone()))?;
    if !status.success() {
        // That there are none is told by a status and this sentence (`credentials/error.go`).
        let none = String::from_utf8_lossy(&answer).contains("credentials not found");
        return if none { Ok(None) } else { Err(CredentialsError::HelperAnswer(program)) };
    }
    let parsed = serde_json::from_slice(&answer);
    let Answer { username, secret } = parsed.map_err(|_| CredentialsError::HelperAnswer(program))?;
    match username.as_str() {
        "" => Ok(None),
        TOKEN_USER => Ok(Some(Credentials::IdentityToken(secret))),
        _ => Credentials::basic(&username, &secret).map(Some),
    }
}

/// Waits for a helper that has said all it says, and ends it if it stays.
fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < GRACE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    child.wait()
}

/// All that a helper says, if it ends in time and says no more than is taken.
fn read(child: &mut Child) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MAX_ANSWER + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.ok().map(|_| bytes));
    });
    let bytes = receiver.recv_timeout(TIME).ok().flatten();
    bytes.filter(|bytes| bytes.len() as u64 <= MAX_ANSWER)
}
