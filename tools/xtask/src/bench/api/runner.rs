//! The half inside the lab: a VMM without a machine, asked by one who waits for each answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use super::super::process::now;
use super::super::subject::{Kind, Subject};
use super::super::{carry, outcome, strace};
use super::Plan;
use super::client::{HTTP, QMP, Question, ask};
use super::report::{ByRequest, Figures, Report};

/// How long a VMM may take until it listens, and until it ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many requests there are in a short and in a long run under strace: the difference is what they cost.
const COUNTED: (u32, u32) = (50, 250);

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let mut plan: Plan = carry::plan()?;
    let requests = plan.requests;
    let results = outcome::of_each(&mut plan.subjects, |subject| measure(subject, requests))?;
    let status = outcome::status(&results);
    carry::give(&Report { host: outcome::host(), results })?;
    Ok(status)
}

fn measure(subject: &Subject, requests: u32) -> Result<ByRequest> {
    let questions: &[Question] = if subject.kind == Kind::QemuMicrovm { &QMP } else { &HTTP };
    let mut figures = BTreeMap::new();
    for question in questions {
        let server = Server::start(subject, None)?;
        // What is made at the first request is not what a request costs.
        ask(&server.socket, question, 20)?;
        let begin = now();
        ask(&server.socket, question, requests)?;
        let took = now() - begin;
        drop(server);
        let (few, many) = (calls(subject, question, COUNTED.0)?, calls(subject, question, COUNTED.1)?);
        let more = f64::from(COUNTED.1 - COUNTED.0);
        let by_name = many.iter().map(|(name, count)| {
            let before = few.get(name).copied().unwrap_or(0);
            #[allow(clippy::cast_precision_loss, reason = "counts of a short run")]
            let each = count.saturating_sub(before) as f64 / more;
            (name.clone(), each)
        });
        let by_name: BTreeMap<String, f64> = by_name.filter(|(_, each)| *each >= 0.01).collect();
        let per_second = f64::from(requests) / took;
        eprintln!("bench: {} {}: {per_second:.0} a second", subject.name, question.name);
        figures.insert(question.name.to_owned(), Figures { per_second, calls: by_name });
    }
    Ok(figures)
}

/// A VMM that serves its API; it ends with this.
struct Server {
    child: Child,
    /// The VMM itself, which may be the child's child.
    process: Pid,
    socket: PathBuf,
}

impl Server {
    /// Starts it, under strace with a file for its counts.
    fn start(subject: &Subject, counts: Option<&Path>) -> Result<Self> {
        let socket = Path::new(carry::FOLDER).join("api.sock");
        let _ = fs::remove_file(&socket);
        let mut command = match counts {
            Some(file) => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(file).arg(&subject.program);
                strace
            }
            None => Command::new(&subject.program),
        };
        match subject.kind {
            Kind::Bulkhead | Kind::Firecracker => {
                command.arg("--api-sock").arg(&socket);
            }
            Kind::QemuMicrovm => {
                command.args("-M microvm,pic=off,pit=off,rtc=on -accel kvm -cpu host -S".split(' '));
                command.args("-nodefaults -no-user-config -display none -m 128".split(' '));
                command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("Cannot start {}", command.get_program().display()))?;
        let end = Instant::now() + PATIENCE;
        while !socket.exists() {
            if Instant::now() > end {
                bail!("{} does not listen", subject.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
        // The socket is there a moment before it is listened on.
        thread::sleep(Duration::from_millis(100));
        let own = child.id();
        let process = if counts.is_some() { child_of(own)? } else { own };
        let process = i32::try_from(process).ok().and_then(Pid::from_raw).context("It has no process")?;
        Ok(Self { child, process, socket })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = rustix::process::kill_process(self.process, Signal::TERM);
        let _ = self.child.wait();
    }
}

fn child_of(process: u32) -> Result<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {path}"))?;
    let first = text.split_whitespace().next().and_then(|child| child.parse().ok());
    first.context("strace has no child")
}

/// System calls by name of a VMM that was asked so often, from its start to its end.
fn calls(subject: &Subject, question: &Question, times: u32) -> Result<BTreeMap<String, u64>> {
    let file = Path::new(carry::FOLDER).join("strace");
    let server = Server::start(subject, Some(&file))?;
    ask(&server.socket, question, times)?;
    drop(server);
    let text = fs::read_to_string(&file).context("strace counted nothing")?;
    Ok(strace::counts(&text))
}
