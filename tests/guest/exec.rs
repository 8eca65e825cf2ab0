//! `bulkhead exec`: another process in a container that runs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bulkhead_tests::root::resident_kib;
use bulkhead_tests::{Daemon, Finished, asset};
use serde_json::json;

/// A container that only waits.
fn waiting(daemon: &Daemon, name: &str, options: &[&str]) {
    let image = asset("busybox.img");
    let words = [&["run", "-d", "--name", name], options, &[image.as_str(), "sleep", "100000"]].concat();
    let _ = daemon.bulkhead(&words).ok();
}

fn shell(daemon: &Daemon, name: &str, options: &[&str], script: &str) -> Finished {
    daemon.bulkhead(&[&["exec"], options, &[name, "sh", "-c", script]].concat())
}

/// `bulkhead exec` with this input.
fn typed(daemon: &Daemon, words: &[&str], input: &[u8]) -> Finished {
    let mut command = daemon.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("bulkhead exec");
    let mut stdin = child.stdin.take().expect("an input");
    let input = input.to_vec();
    std::thread::spawn(move || stdin.write_all(&input));
    bulkhead_tests::finish(child, Duration::from_secs(60), "bulkhead exec")
}

#[test]
fn a_process_is_the_container_s_and_its_streams_and_status_are_ours() {
    let daemon = Daemon::start();
    waiting(&daemon, "web", &["-e", "A=own", "-e", "B=own", "-w", "/tmp", "--hostname", "box"]);
    let script = "echo $A $B; pwd; hostname; echo err >&2; ls /proc | grep -cE '^[0-9]+$'; \
        cat /proc/1/cmdline | tr '\\0' ' '; exit 42";
    let run = shell(&daemon, "web", &["-e", "B=other"], script);
    assert_eq!(run.status, 42, "{}", run.stderr);
    // sleep, this shell and what it runs.
    assert!(
        run.stdout.starts_with("own other\n/tmp\nbox\n") && run.stdout.ends_with("sleep 100000 "),
        "{}",
        run.stdout
    );
    assert_eq!(run.stderr, "err\n");
    let run = shell(&daemon, "web", &["-w", "/etc", "-u", "1000:1001"], "pwd; id -u; id -g; kill -TERM $$");
    assert_eq!((run.status, run.stdout.as_str()), (143, "/etc\n1000\n1001\n"), "{}", run.stderr);
    let cgroups = shell(&daemon, "web", &[], "cat /proc/self/cgroup /proc/1/cgroup | sort -u").ok();
    assert_eq!(cgroups.stdout, "0::/\n");
    // Half a close: the process's input ends, its output comes.
    let run = typed(&daemon, &["exec", "-i", "web", "sh", "-c", "sort; echo done >&2; exit 3"], b"b\na\n");
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (3, "a\nb\n", "done\n"));
    let much: Vec<u8> =
        (0..2_000_000_u32).map(|number| b'a' + u8::try_from(number % 23).unwrap_or(0)).collect();
    let run = typed(&daemon, &["exec", "-i", "web", "cat"], &much);
    assert!(run.status == 0 && run.stdout.as_bytes() == much, "{} bytes came back", run.stdout.len());
    // What nobody sends is empty, and a process that is left behind does not hold us up.
    let run = shell(&daemon, "web", &[], "cat; sleep 1000 & echo left").ok();
    assert_eq!(run.stdout, "left\n");
    let _ = daemon.bulkhead(&["exec", "-d", "web", "sh", "-c", "echo $A > /detached"]).ok();
    assert_eq!(
        shell(&daemon, "web", &[], "until cat /detached 2>/dev/null; do sleep 0.1; done").ok().stdout,
        "own\n"
    );
}

#[test]
fn what_cannot_be_run_is_told_with_a_shell_s_status() {
    let daemon = Daemon::start();
    waiting(&daemon, "web", &[]);
    for (words, status, sentence) in [
        (&["exec", "web", "no-such-program"][..], 127, "not found in $PATH"),
        (&["exec", "web", "/no/such"], 127, "No such file"),
        (&["exec", "web", "/etc/passwd"], 126, "Permission denied"),
        (&["exec", "-w", "/none", "web", "true"], 126, "/none"),
        // CVE-2024-21626: a folder outside of the container, by what a process has open.
        (&["exec", "-w", "/proc/self/fd/7", "web", "true"], 126, "/proc/self/fd/7"),
        (&["exec", "-w", "tmp", "web", "true"], 1, "workdir"),
        (&["exec", "-u", "nobody-knows", "web", "true"], 126, "no user nobody-knows"),
        (&["exec", "--privileged", "web", "true"], 1, "no more privileges"),
        (&["exec", "none", "true"], 1, "no machine none"),
    ] {
        let run = daemon.bulkhead(words);
        assert_eq!(run.status, status, "{words:?} {}", run.stderr);
        assert!(run.stderr.contains(sentence) && run.stderr.lines().count() == 1, "{words:?} {}", run.stderr);
    }
    let _ = daemon.bulkhead(&["pause", "web"]).ok();
    let run = daemon.bulkhead(&["exec", "web", "true"]);
    assert!(run.status == 1 && run.stderr.contains("is paused"), "{} {}", run.status, run.stderr);
    let _ = daemon.bulkhead(&["unpause", "web"]).ok();
    let _ = daemon.bulkhead(&["stop", "-t", "0", "web"]).ok();
    let run = daemon.bulkhead(&["exec", "web", "true"]);
    assert!(run.status == 1 && run.stderr.contains("does not run"), "{} {}", run.status, run.stderr);
}

#[test]
fn a_process_has_no_more_than_its_container_and_nothing_of_initd() {
    let daemon = Daemon::start();
    let look =
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; cat /proc/self/oom_score_adj; ulimit -n";
    let image = asset("busybox.img");
    let options =
        ["--cap-drop", "CHOWN", "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:100"];
    let first = daemon.bulkhead(&[&["run", "--rm"][..], &options, &[&image, "sh", "-c", look]].concat()).ok();
    waiting(&daemon, "web", &options);
    let run = shell(&daemon, "web", &[], look).ok();
    assert_eq!(run.stdout, first.stdout);
    // CVE-2022-29162, CVE-2025-27612.
    for set in ["CapInh", "CapAmb"] {
        assert!(run.stdout.contains(&format!("{set}:\t0000000000000000")), "{}", run.stdout);
    }
    // CVE-2016-9962, CVE-2024-21626: three streams, and what ls opens to look.
    assert_eq!(shell(&daemon, "web", &[], "ls /proc/self/fd | tr '\\n' ' '").ok().stdout, "0 1 2 3 ");
    let run = daemon.bulkhead(&["exec", "web", "readlink", "/proc/self/ns/user"]).ok();
    let one = daemon.bulkhead(&["exec", "web", "readlink", "/proc/1/ns/user"]).ok();
    assert_eq!(run.stdout, one.stdout);

    waiting(&daemon, "own", &["--userns", "private"]);
    let run =
        shell(&daemon, "own", &["-u", "7:8"], "cat /proc/self/uid_map; id -u; echo said > /dev/stdout").ok();
    let words: Vec<_> = run.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "65536", "65536", "7", "said"], "{}", run.stderr);
}

#[test]
fn a_container_cannot_write_to_what_enters_it() {
    let daemon = Daemon::start();
    // CVE-2019-5736: everything that comes by is opened to be written to.
    let hunt = "while :; do for exe in /proc/[0-9]*/exe; do case $exe in /proc/1/*) ;; *) \
        sh -c \"echo owned > $exe\" && echo $exe >> /hit;; esac; done 2>/dev/null; done";
    let image = asset("busybox.img");
    // busybox is a file of the container's own: it is a read-only root that makes writing to it fail.
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--read-only",
        "--tmpfs",
        "/run",
        &image,
        "sh",
        "-c",
        &hunt.replace("/hit", "/run/hit"),
    ];
    let _ = daemon.bulkhead(&words).ok();
    for _ in 0..5 {
        // What runs is initd itself, which says that it does nothing here.
        let run = daemon.bulkhead(&["exec", "web", "/proc/self/exe"]);
        assert_eq!(run.status, 2, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("bulkhead"), "{}", run.stderr);
    }
    assert_eq!(shell(&daemon, "web", &[], "cat /run/hit 2>/dev/null; echo seen").ok().stdout, "seen\n");
    assert!(daemon.ready("web").contains("200 OK"));
}

#[test]
fn a_terminal_has_the_client_s_size_and_its_changes() {
    let daemon = Daemon::start();
    waiting(&daemon, "web", &[]);
    let mut stream = Stream::open(
        &daemon,
        "web",
        &json!({
            "command": ["sh", "-c", "tty; stty size; echo $TERM; read line; stty size; echo $line; kill -9 $$"],
            "stdin": true, "tty": {"rows": 24, "columns": 80}
        }),
    );
    let seen = stream.until("xterm");
    assert!(seen.contains("/dev/pts/") && seen.contains("24 80"), "{seen}");
    stream.send(3, &[0, 50, 0, 132]);
    stream.send(0, b"typed\r");
    let (seen, status) = stream.end();
    assert!(seen.contains("typed\r\n50 132\r\ntyped"), "{seen}");
    assert_eq!(status, 137);
    // The container's own console stays what it was.
    assert!(shell(&daemon, "web", &[], "test ! -c /dev/console || ! mount | grep /dev/console").status == 0);
    // Who leaves hangs up.
    let stream = Stream::open(
        &daemon,
        "web",
        &json!({
            "command": ["sh", "-c", "echo $$ > /pid; sleep 1000"], "tty": {"rows": 1, "columns": 1}, "stdin": true
        }),
    );
    let _ = shell(&daemon, "web", &[], "until test -s /pid; do sleep 0.1; done").ok();
    drop(stream);
    let _ = shell(&daemon, "web", &[], "while kill -0 $(cat /pid) 2>/dev/null; do sleep 0.1; done").ok();
}

#[test]
fn output_without_a_reader_is_held_up_and_nothing_is_left_of_who_leaves() {
    let daemon = Daemon::start();
    waiting(&daemon, "web", &["-m", "128"]);
    let sums = "awk '/MemAvailable/ {print $2}' /proc/meminfo";
    let free = |daemon: &Daemon| -> i64 { shell(daemon, "web", &[], sums).ok().text().parse().expect("KiB") };
    let (before, served) = (free(&daemon), resident_kib(daemon.pid()));
    // CVE-2022-31030, CVE-2022-23471, CVE-2025-64329.
    let spec = json!({"command": ["yes"], "stdin": true});
    let streams: Vec<_> = (0..8).map(|_| Stream::open(&daemon, "web", &spec)).collect();
    std::thread::sleep(Duration::from_secs(5));
    let (after, serves) = (free(&daemon), resident_kib(daemon.pid()));
    assert!(before - after < 12 << 10, "{before} KiB were free, {after} are");
    assert!(serves < served + (8 << 10), "the daemon had {served} KiB, and has {serves}");
    let count = "ps | grep -c '[y]es$'";
    assert_eq!(shell(&daemon, "web", &[], count).text(), "8");
    drop(streams);
    // They write to nobody, and end of it.
    let _ = shell(&daemon, "web", &[], "while ps | grep -q '[y]es$'; do sleep 0.1; done").ok();
    // One that says nothing runs on, as Docker's do.
    drop(Stream::open(&daemon, "web", &json!({"command": ["sleep", "7777"]})));
    assert_eq!(shell(&daemon, "web", &[], "sleep 1; ps | grep -c '[s]leep 7777'").text(), "1");
    // There are so many places and no more, and they come back.
    let spec = json!({"command": ["sleep", "8888"], "detach": true});
    let mut refused = None;
    for _ in 0..64 {
        let answer = post_exec(&daemon, "web", &spec, "");
        if !answer.starts_with("HTTP/1.1 204") {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the last is one too many");
    assert!(refused.starts_with("HTTP/1.1 409") && refused.contains("64 additional processes"), "{refused}");
    assert!(daemon.ready("web").contains("200 OK"));
    let answer = post_exec(&daemon, "web", &json!({"command": ["true"]}), "");
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
}

/// A client that has no library of ours.
struct Stream(UnixStream);

fn post_exec(daemon: &Daemon, name: &str, spec: &serde_json::Value, headers: &str) -> String {
    let mut stream = ask(daemon, name, spec, &format!("connection: close\r\n{headers}"));
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn ask(daemon: &Daemon, name: &str, spec: &serde_json::Value, headers: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.path("bulkhead.sock")).expect("the daemon");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    let body = spec.to_string();
    let request = format!(
        "POST /api/v1/machines/{name}/exec HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    stream
}

impl Stream {
    fn open(daemon: &Daemon, name: &str, spec: &serde_json::Value) -> Self {
        let mut stream = ask(daemon, name, spec, "connection: upgrade\r\nupgrade: bulkhead-exec\r\n");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self(stream)
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("a short payload");
        self.0.write_all(&[&[kind, 0, 0, 0, 0, 0, 0, length], payload].concat()).expect("a frame");
    }

    fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).expect("a header");
        let mut payload = vec![0; u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize];
        self.0.read_exact(&mut payload).expect("a payload");
        (head[0], payload)
    }

    /// The output up to a word.
    fn until(&mut self, word: &str) -> String {
        let (mut seen, end) = (String::new(), Instant::now() + Duration::from_secs(60));
        while !seen.contains(word) {
            assert!(Instant::now() < end, "{seen}");
            let (kind, payload) = self.hear();
            assert_eq!(kind, 1, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&payload));
        }
        seen
    }

    /// The rest of the output, and the status.
    fn end(mut self) -> (String, u8) {
        let mut seen = String::new();
        loop {
            match self.hear() {
                (4, code) => return (seen, code[0]),
                (_, payload) => seen.push_str(&String::from_utf8_lossy(&payload)),
            }
        }
    }
}
