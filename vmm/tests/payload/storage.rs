//! Files behind guests: what a guest may write, and what the API may change of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::code::Code;
use crate::run::{Running, start};

/// Where the first file as memory is in a small machine.
const PMEM: u64 = 4 << 30;
/// Prints the first byte of the file, writes `X` over it, and prints it again. Long mode only.
fn overwrite() -> Code {
    let code = Code::default().map(PMEM);
    // mov rsi, PMEM
    let code = code.bytes(&[0x48, 0xbe]).bytes(&PMEM.to_le_bytes());
    // mov al, [rsi]; mov dx, 0x3f8; out dx, al; mov al, 'X'; mov [rsi], al; mov al, [rsi]; out dx, al
    code.bytes(&[0x8a, 0x06, 0x66, 0xba, 0xf8, 0x03, 0xee])
        .bytes(&[0xb0, b'X', 0x88, 0x06, 0x8a, 0x06, 0xee])
        .print("\n")
        .power_off()
}

#[test]
fn a_guest_writes_to_its_memory_files_but_never_to_read_only_ones() {
    for (read_only, seen, left) in [(false, "AX\n", b'X'), (true, "AA\n", b'A')] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'A'; 4096]).unwrap();
        let pmem = json!({"id": "p", "path_on_host": file.path(), "read_only": read_only});
        let ended = start(&overwrite().long_mode(), json!({"pmem": [pmem]})).wait();
        assert_eq!((ended.status, ended.console.as_str()), (Some(0), seen), "{ended:?}");
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!((bytes[0], bytes.len()), (left, 4096));
        assert!(bytes[1..].iter().all(|byte| *byte == b'A'));
    }
}

#[test]
fn files_that_cannot_be_memory_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let huge = folder.path().join("huge");
    std::fs::File::create(&huge).unwrap().set_len(1 << 41).unwrap();
    let cases = [
        (json!("/nonexistent"), "Cannot make device p: Cannot open drive /nonexistent"),
        (json!("/"), "Drive / is a directory"),
        (json!("/dev/zero"), "Drive /dev/zero is a character device"),
        (json!(empty), "empty as memory: it is empty"),
        (json!(huge), "The files of pmem do not fit"),
    ];
    for (path, expected) in cases {
        let pmem = json!({"pmem": [{"id": "p", "path_on_host": path, "read_only": true}]});
        let ended = start(&Code::default().power_off().pvh(), pmem).wait();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.errors.contains(expected), "{expected}: {ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    }
}

/// Calls the API; status and body.
fn call(running: &Running, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if method == "GET" { String::new() } else { body.to_string() };
    let mut stream = UnixStream::connect(running.path("api.sock")).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn drives_and_memory_files_are_changed_while_the_guest_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, size: u64| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    };
    let (first, second, memory) = (file("first", 1 << 20), file("second", 2 << 20), file("memory", 1 << 20));
    for io_engine in ["Sync", "Async"] {
        let config = json!({
            "drives": [{"drive_id": "d", "is_root_device": false, "path_on_host": first,
                        "io_engine": io_engine}],
            "pmem": [{"id": "p", "path_on_host": memory}],
            "metrics": {"metrics_path": folder.path().join("metrics")},
        });
        let running = start(&Code::default().print("up\n").halt().pvh(), config);
        running.await_console("up");
        let limits = |size: u64| json!({"ops": {"size": size, "refill_time": 1000}});
        let done = [
            ("/drives/d", json!({"drive_id": "d", "path_on_host": second})),
            ("/drives/d", json!({"drive_id": "d", "rate_limiter": limits(5)})),
            ("/drives/d", json!({"drive_id": "d"})),
            ("/pmem/p", json!({"id": "p", "rate_limiter": limits(6)})),
        ];
        for (path, body) in done {
            assert_eq!(call(&running, "PATCH", path, &body), (204, Value::Null), "{path} {body}");
        }
        let refused = [
            ("/drives/x", json!({"drive_id": "x"}), "Invalid drive x: there is no such drive"),
            ("/drives/d", json!({"drive_id": "e"}), "does not match"),
            ("/drives/d", json!({"drive_id": "d", "path_on_host": "/dev/null"}), "is a character device"),
            (
                "/drives/d",
                json!({"drive_id": "d", "path_on_host": folder.path(),
                                 "rate_limiter": limits(9)}),
                "is a directory",
            ),
            (
                "/drives/d",
                json!({"drive_id": "d", "path_on_host": "/nonexistent"}),
                "Cannot change device d: Cannot open drive /nonexistent: No such file",
            ),
            ("/pmem/x", json!({"id": "x"}), "Invalid pmem x: there is no such device"),
            ("/pmem/p", json!({"id": "p", "path_on_host": first}), "unknown field `path_on_host`"),
        ];
        for (path, body, expected) in refused {
            let (status, answer) = call(&running, "PATCH", path, &body);
            let message = answer["fault_message"].as_str().unwrap_or_default();
            assert!(status == 400 && message.contains(expected), "{path} {body}: {status} {message}");
        }
        for path in ["/drives/d", "/pmem/p"] {
            let body = json!({"drive_id": "d", "is_root_device": false, "path_on_host": first});
            let body = if path == "/pmem/p" { json!({"id": "p", "path_on_host": first}) } else { body };
            let (status, answer) = call(&running, "PUT", path, &body);
            assert!(status == 400 && answer.to_string().contains("after starting"), "{answer}");
        }
        let config = call(&running, "GET", "/vm/config", &json!({})).1;
        assert_eq!(config["drives"][0]["path_on_host"], json!(second));
        assert_eq!(config["drives"][0]["rate_limiter"]["ops"]["size"], 5);
        assert_eq!(config["drives"][0]["io_engine"], io_engine);
        assert_eq!(config["pmem"][0]["rate_limiter"]["ops"]["size"], 6);
        running.signal("TERM");
        running.wait();
        let metrics = std::fs::read_to_string(folder.path().join("metrics")).unwrap();
        let metrics: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&metrics["block_d"]["update_count"], &metrics["block"]["update_fails"]),
            (&json!(1), &json!(3))
        );
        assert_eq!(metrics["pmem_p"]["flush_count"], 0);
    }
}

/// Where the first virtio device's configuration space is.
const CONFIG: u32 = 0xc000_1100;

/// Prints the first two bytes of the first device's configuration space, a line each time, for ever.
fn print_capacity() -> Code {
    // mov esi, CONFIG; mov edx, 0x3f8
    let code = Code::default().bytes(&[0xbe]).bytes(&CONFIG.to_le_bytes()).bytes(&[0xba, 0xf8, 3, 0, 0]);
    // again: mov al, [esi]; out dx, al; mov al, [esi + 1]; out dx, al; mov al, 10; out dx, al; jmp again
    code.bytes(&[0x8a, 0x06, 0xee, 0x8a, 0x46, 0x01, 0xee, 0xb0, 0x0a, 0xee, 0xeb, 0xf4])
}

#[test]
fn a_header_of_another_format_names_no_file_not_even_after_a_restart_or_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    // QCOW2's: a backing file of 11 bytes at 0x200, and 64 KiB of clusters for 1 TiB.
    let mut header =
        [b"QFI\xfb", &2u32.to_be_bytes()[..], &0x200u64.to_be_bytes(), &11u32.to_be_bytes()].concat();
    header.extend([&16u32.to_be_bytes()[..], &(1u64 << 40).to_be_bytes()].concat());
    header.resize(0x200, 0);
    header.extend(b"/etc/passwd");
    std::fs::write(&disk, &header).unwrap();
    // As many sectors as can be printed.
    let size = u64::from(u16::from_le_bytes(*b"AB")) * 512;
    std::fs::File::options().write(true).open(&disk).unwrap().set_len(size).unwrap();
    let drive = json!({"drive_id": "d", "is_root_device": false, "path_on_host": disk});
    let mut drives = json!([drive]);
    for _ in 0..2 {
        let running = start(&print_capacity().pvh(), json!({"drives": drives}));
        running.await_output(3);
        for _ in 0..2 {
            let change = json!({"drive_id": "d", "path_on_host": disk});
            assert_eq!(call(&running, "PATCH", "/drives/d", &change).0, 204);
            let seen = running.console().len();
            running.await_output(seen + 30);
            assert!(running.descriptors().values().all(|target| !target.ends_with("passwd")));
        }
        // The next machine gets the drive as this one tells it.
        drives = call(&running, "GET", "/vm/config", &json!({})).1["drives"].clone();
        running.signal("TERM");
        let console = running.wait().console;
        let lines: Vec<&str> = console.lines().filter(|line| line.len() == 2).collect();
        assert!(lines.len() > 10 && lines.iter().all(|line| *line == "AB"), "{console}");
    }
    let left = std::fs::read(&disk).unwrap();
    assert_eq!((left.len() as u64, &left[..header.len()]), (size, &header[..]));
}
