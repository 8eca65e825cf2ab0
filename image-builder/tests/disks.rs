//! Disks of other machines: what qemu-img writes is read, what is written qemu-img reads, and lies are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use support::server::{Asked, Server, answer, head, until_closed};
use support::{bulkhead_image, refusal, run};

const MIB: u64 = 1 << 20;

/// A disk with data at its start, in its middle, across pieces and at its end.
fn disk(folder: &Path) -> PathBuf {
    let path = folder.join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len(20 * MIB).unwrap();
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(300_000)
    .collect();
    for (place, length) in [(0, 512), (5 * MIB - 100, 300_000), (13 * MIB + 32_768, 1000), (20 * MIB - 1, 1)]
    {
        file.write_all_at(&noise[..length], place).unwrap();
    }
    path
}

fn digest(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A refusal of something that would write into a folder of its own, below `folder`.
fn refused_beside(words: &[&str], folder: &Path) -> String {
    refusal(words, &folder.join("output"))
}

fn output_in(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder.join("output")).unwrap();
    folder.join("output/out")
}

fn convert(from: &Path, from_format: &str, to: &Path, format: &str) {
    let made = bulkhead_image(&[
        "convert",
        &shown(from),
        &shown(to),
        "--source-format",
        from_format,
        "--format",
        format,
    ]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn what_qemu_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2, back) = (disk(folder.path()), folder.path().join("q"), folder.path().join("back"));
    for options in [
        &["-o", "compat=0.10"][..],
        &["-o", "compat=1.1,lazy_refcounts=on"],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "cluster_size=512"],
        &["-c", "-o", "cluster_size=4096"],
        &["-o", "cluster_size=2M"],
        &["-o", "preallocation=metadata"],
    ] {
        let (raw, qcow2) = (shown(&raw), shown(&qcow2));
        run("qemu-img", &[&["convert", "-f", "raw", "-O", "qcow2"], options, &[&raw, &qcow2]].concat());
        convert(Path::new(&qcow2), "qcow2", &back, "raw");
        run("cmp", &[&raw, &shown(&back)]);
        assert!(fs::metadata(&back).unwrap().blocks() * 512 < MIB, "{options:?}: holes are written");
    }
}

#[test]
fn what_is_written_qemu_reads() {
    let folder = tempfile::tempdir().unwrap();
    let raw = disk(folder.path());
    let path = |name: &str| folder.path().join(name);
    run(
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=512",
            &shown(&raw),
            &shown(&path("small")),
        ],
    );
    File::create(path("empty")).unwrap().set_len(3 << 40).unwrap();
    File::create(path("odd")).unwrap().write_all(&[1; 1000]).unwrap();
    for (source, format) in
        [(&raw, "raw"), (&path("small"), "qcow2"), (&path("empty"), "raw"), (&path("odd"), "raw")]
    {
        convert(source, format, &path("made"), "qcow2");
        let said = run("qemu-img", &["check", "-f", "qcow2", &shown(&path("made"))]);
        assert!(said.contains("No errors were found"), "{said}");
        run("qemu-img", &["compare", "-f", format, "-F", "qcow2", &shown(source), &shown(&path("made"))]);
        convert(source, format, &path("again"), "qcow2");
        assert_eq!(digest(&path("made")), digest(&path("again")));
    }
    assert!(fs::metadata(path("made")).unwrap().len() < MIB);
}

#[test]
fn compressed_disks_are_taken_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let raw = disk(folder.path());
    let path = |name: &str| shown(&folder.path().join(name));
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &shown(&raw), &path("disk.qcow2")]);
    for (program, end) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        for (name, format) in [("disk.raw", "raw"), ("disk.qcow2", "qcow2")] {
            run(program, &["-kqf", &path(name)]);
            let source = path(&format!("{name}.{end}"));
            let hex = digest(Path::new(&source));
            let made = bulkhead_image(&[
                "import",
                &source,
                "-o",
                &path("out"),
                "--source-format",
                format,
                "--compressed",
                "--sha256",
                &hex,
            ]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            run("cmp", &[&path("out"), &path("disk.raw")]);
            fs::remove_file(path("out")).unwrap();
        }
    }
    let (hex, output) = (digest(&raw), shown(&output_in(folder.path())));
    let words = ["--source-format", "raw", "--compressed", "--sha256"];
    let text = refused_beside(
        &[&["import", &shown(&raw), "-o", &output], &words[..], &[&hex]].concat(),
        folder.path(),
    );
    assert!(text.ends_with("is compressed neither with gzip nor with xz nor with zstd"), "{text}");
    // Nobody said so: a disk's bytes stay what they are.
    convert(&folder.path().join("disk.raw.gz"), "raw", &folder.path().join("same"), "raw");
    let (packed, same) = (fs::read(path("disk.raw.gz")).unwrap(), fs::read(path("same")).unwrap());
    assert_eq!(same[..packed.len()], packed);
    assert_eq!(same.len() % 512, 0);
}

#[test]
fn a_disk_that_is_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let raw = disk(folder.path());
    let output = shown(&output_in(folder.path()));
    let import = |source: &str, hex: &str| {
        refused_beside(
            &["import", source, "-o", &output, "--source-format", "raw", "--sha256", hex],
            folder.path(),
        )
    };
    let text = import(&shown(&raw), &"0".repeat(64));
    assert!(text.contains("has the SHA-256 ") && text.contains(&digest(&raw)), "{text}");
    assert!(import(&shown(&raw), "abc").contains("is not a SHA-256"));
    assert!(import("/dev/zero", &"0".repeat(64)).contains("not a regular file"));
}

/// Headers that name other files, promise too much, or lead outside.
#[test]
fn a_hostile_qcow2_is_refused_and_no_other_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (disk(folder.path()), folder.path().join("q"));
    let output = shown(&output_in(folder.path()));
    let secret = folder.path().join("secret");
    fs::write(&secret, vec![b's'; 1 << 20]).unwrap();
    let refused = |expected: &str| {
        let words = ["convert", &shown(&qcow2), &output, "--source-format", "qcow2", "--format", "raw"];
        let text = refused_beside(&words, folder.path());
        assert!(text.contains(expected), "{text}");
    };
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &shown(&secret), "-F", "raw", &shown(&qcow2)]);
    refused("it is based on another file");
    let options = format!("data_file={},data_file_raw=on", folder.path().join("data").display());
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, &shown(&qcow2), "1M"]);
    refused("its data is in another file");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", &shown(&qcow2), "1M"],
    );
    refused("it has features that are not known here");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &shown(&raw), &shown(&qcow2)]);
    let good = fs::read(&qcow2).unwrap();
    let changed = |changes: &[(usize, &[u8])], expected: &str| {
        let mut bytes = good.clone();
        changes.iter().for_each(|(at, field)| bytes[*at..*at + field.len()].copy_from_slice(field));
        fs::write(&qcow2, bytes).unwrap();
        refused(expected);
    };
    changed(&[(0, b"QFI\0")], "it has no header");
    changed(&[(4, &[0, 0, 0, 4])], "its version is neither 2 nor 3");
    changed(&[(20, &[0, 0, 0, 63])], "its clusters are not of 512 bytes to 2 MiB");
    changed(&[(24, &[0x7f; 8])], "has more than");
    changed(&[(32, &[0, 0, 0, 2])], "it is encrypted");
    changed(&[(36, &[0; 4])], "its first table is too small");
    changed(&[(40, &[0x7f; 8])], "a table lies outside of it");
    changed(&[(72, &[0, 0, 0, 0, 0, 0, 0, 2])], "it is marked as damaged");
    fs::write(&qcow2, &good[..50]).unwrap();
    refused("it has no header");
}

#[test]
fn a_qcow2_with_any_byte_of_its_tables_changed_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (folder.path().join("raw"), folder.path().join("q"));
    fs::write(&raw, vec![7; 300_000]).unwrap();
    run(
        "qemu-img",
        &[
            "convert",
            "-c",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=4096",
            &shown(&raw),
            &shown(&qcow2),
        ],
    );
    let good = fs::read(&qcow2).unwrap();
    let limits = bulkhead_image::limits::Limits { size: MIB, data: MIB, ..Default::default() };
    use bulkhead_image::disk_image::{DiskFormat, DiskSource, DiskSpec, convert};
    use bulkhead_image::store::Quiet;
    let spec = DiskSpec {
        source: DiskSource::File(qcow2.clone()),
        source_format: DiskFormat::Qcow2,
        compressed: false,
        sha256: None,
        format: DiskFormat::Qcow2,
        output: folder.path().join("out"),
        store: None,
    };
    let (mut taken, mut refused) = (0, 0);
    for place in (0..good.len()).filter(|place| *place < 112 || good[*place] != 0) {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&qcow2, bytes).unwrap();
        match convert(&spec, &limits, &Quiet) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
}

#[test]
fn a_disk_is_fetched_and_goes_on_where_the_connection_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let raw = disk(folder.path());
    let bytes = fs::read(&raw).unwrap()[..2 * usize::try_from(MIB).unwrap()].to_vec();
    let hex = hex::encode(Sha256::digest(&bytes));
    let served = bytes.clone();
    let server = Server::new(move |asked, stream| {
        let whole = served.len();
        match asked
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        {
            None => {
                head(stream, 200, &[("ETag", "\"one\"")], whole as u64);
                let _ = stream.write_all(&served[..whole / 3]);
            }
            Some(from) => {
                let range = format!("bytes {from}-{}/{whole}", whole - 1);
                answer(stream, 206, &[("Content-Range", &range), ("ETag", "\"one\"")], &served[from..]);
            }
        }
    });
    let output = output_in(folder.path());
    let words = ["-o", &shown(&output), "--source-format", "raw", "--sha256", &hex];
    let made = bulkhead_image(&[&["import", &server.url("/disk")], &words[..]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(fs::read(&output).unwrap() == bytes);
    assert_eq!(server.asked().len(), 2);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"one\""));
    fs::remove_file(&output).unwrap();

    let another = Server::new(|_, stream| answer(stream, 200, &[], b"another disk"));
    let text = refused_beside(&[&["import", &another.url("/disk")], &words[..]].concat(), folder.path());
    assert!(text.contains("not the one that was asked for"), "{text}");
    let missing = Server::new(|_, stream| answer(stream, 404, &[], b""));
    let text = refused_beside(&[&["import", &missing.url("/disk")], &words[..]].concat(), folder.path());
    assert!(text.ends_with("answers with the status 404"), "{text}");
    let silent = Server::new(|_, _| {});
    let text = refused_beside(&[&["import", &silent.url("/disk")], &words[..]].concat(), folder.path());
    assert!(text.contains("No answer from "), "{text}");
    assert_eq!(silent.asked().len(), 5);
}

/// Where a request begins, if it asks for a part.
fn asked_from(asked: &Asked) -> Option<usize> {
    asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn refer(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Answers as a server does that gives pieces.
fn serve(bytes: &[u8], asked: &Asked, stream: &mut TcpStream) {
    let whole = bytes.len();
    match asked_from(asked) {
        None => answer(stream, 200, &[], bytes),
        Some(from) if from < whole => {
            let range = format!("bytes {from}-{}/{whole}", whole - 1);
            answer(stream, 206, &[("Content-Range", &range)], &bytes[from..]);
        }
        Some(_) => answer(stream, 416, &[("Content-Range", &format!("bytes */{whole}"))], b""),
    }
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(disk(folder.path())).unwrap();
    let hex = hex::encode(Sha256::digest(&bytes));
    let served = bytes.clone();
    let server = Server::new(move |asked, stream| match asked_from(asked) {
        None => {
            head(stream, 200, &[], served.len() as u64);
            let _ = stream.write_all(&served[..served.len() / 2]);
            until_closed(stream);
        }
        Some(_) => serve(&served, asked, stream),
    });
    let (output, store) = (output_in(folder.path()), folder.path().join("store"));
    let (shown_output, shown_store) = (shown(&output), shown(&store));
    let words = |server: &Server| {
        let of = ["-o", &shown_output, "--store", &shown_store, "--source-format", "raw", "--sha256", &hex];
        [&["import".to_owned(), server.url("/disk")][..], &of.map(str::to_owned)].concat()
    };
    let partial = store.join("partial").join(&hex);
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead-image")).args(words(&server)).spawn().unwrap();
    let half = bytes.len() as u64 / 2;
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < half {
        assert!(start.elapsed() < Duration::from_secs(30) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!output.exists());

    let import = |server: &Server| {
        let made = bulkhead_image(&refer(&words(server)));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(fs::read(&output).unwrap() == bytes);
        assert!(fs::read_dir(store.join("partial")).unwrap().next().is_none(), "something waits");
        fs::remove_file(&output).unwrap();
    };
    import(&server);
    let from: Vec<_> = server.asked().iter().map(asked_from).collect();
    assert_eq!(from, [None, Some(half as usize)]);

    // What waits may be of something else, and longer.
    for wrong in [vec![1; 1000], vec![1; bytes.len()], vec![1; bytes.len() + 1]] {
        let served = bytes.clone();
        let whole = Server::new(move |asked, stream| serve(&served, asked, stream));
        fs::write(&partial, &wrong).unwrap();
        import(&whole);
    }
    // Nothing came, or something else: nothing waits.
    for server in [
        Server::new(|_, stream| answer(stream, 404, &[], b"")),
        Server::new(|_, stream| answer(stream, 200, &[], b"x")),
    ] {
        refused_beside(&refer(&words(&server)), folder.path());
        assert!(fs::read_dir(store.join("partial")).unwrap().next().is_none(), "something waits");
    }
}
