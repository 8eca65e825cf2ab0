use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;

use super::*;

fn pipe() -> (File, Outlet) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), Outlet::to(writer.into()))
}

#[test]
fn a_line_is_written_when_it_ends() {
    let (mut reader, writer) = pipe();
    let mut console = Output::to(writer);
    for byte in b"one\ntwo" {
        console.write_all(&[*byte]).unwrap();
    }
    let mut seen = [0; 16];
    assert_eq!(reader.read(&mut seen).unwrap(), 4);
    console.flush_partial();
    assert_eq!(reader.read(&mut seen).unwrap(), 3);
    assert_eq!(console.tail(), "one\ntwo");
}

#[test]
fn a_reader_that_does_not_read_costs_bounded_memory_and_no_time() {
    let (_reader, writer) = pipe();
    let mut console = Output::to(writer);
    let line = [b'x'; 1023];
    for _ in 0..1024 {
        console.write_all(&line).unwrap();
        console.write_all(b"\n").unwrap();
    }
    assert!(console.pending.len() <= PENDING);
    assert!(console.dropped > 0);
    assert_eq!(console.tail().len(), TAIL);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let (reader, writer) = pipe();
    drop(reader);
    let mut console = Output::to(writer);
    console.write_all(b"hello\n").unwrap();
    assert!(console.out.is_none());
}

#[test]
fn a_file_gets_four_mebibytes_and_a_note() {
    let mut file = tempfile::tempfile().unwrap();
    let mut console = Output::to(Outlet::to(file.try_clone().unwrap().into()));
    let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
    for _ in 0..5000 {
        console.write_all(&line).unwrap();
    }
    console.finish();
    let length = file.metadata().unwrap().len();
    assert!((FILE_LIMIT..FILE_LIMIT + 100).contains(&length), "{length}");
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert!(text.contains("further output is dropped"));
}

#[test]
fn what_is_beyond_the_limit_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let metrics = Arc::<UartMetrics>::default();
    let limit = TokenBucket { size: 100, one_time_burst: Some(50), refill_time: 3_600_000 };
    let mut console = Output::to_file(&path).unwrap().limited(Some(limit), metrics.clone());
    for _ in 0..100 {
        console.write_all(b"123456789\n").unwrap();
    }
    console.finish();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 150);
    assert_eq!(metrics.rate_limiter_dropped_bytes.total(), 850);
    assert_eq!(console.tail().len(), 1000);
}
