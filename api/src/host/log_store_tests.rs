use super::*;

fn frame(sequence: u64, text: &str) -> Frame {
    Frame { stream: Stream::Stdout, sequence, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

fn text(reader: &mut LogReader) -> String {
    let mut all = String::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        all.push_str(str::from_utf8(&frame.payload).unwrap());
    }
    all
}

#[test]
fn goes_on_where_a_crash_tore_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output.log");
    let mut writer = LogWriter::open(&path).unwrap();
    writer.append(&frame(0, "hello ")).unwrap();
    writer.append(&frame(6, "world")).unwrap();
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut writer = LogWriter::open(&path).unwrap();
        let next = writer.next_sequence();
        assert!(next == 0 || next == 6, "{cut}: {next}");
        // The guest sends from the beginning; nothing is kept twice.
        writer.append(&frame(0, "hello ")).unwrap();
        writer.append(&frame(6, "world")).unwrap();
        assert_eq!(text(&mut LogReader::open(&path, 0)), "hello world", "cut at {cut}");
    }
}

#[test]
fn overlaps_are_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output.log");
    let mut writer = LogWriter::open(&path).unwrap();
    writer.append(&frame(0, "hello")).unwrap();
    writer.append(&frame(3, "lo world")).unwrap();
    writer.append(&frame(100, "!")).unwrap();
    assert_eq!(text(&mut LogReader::open(&path, 0)), "hello world!");
    assert_eq!(text(&mut LogReader::open(&path, 4)), "o world!");
    assert_eq!(text(&mut LogReader::open(&path, 1000)), "");
    assert_eq!(writer.next_sequence(), 101);
}

#[test]
fn a_reader_follows_over_a_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output.log");
    let mut reader = LogReader::open(&path, 0);
    assert_eq!(text(&mut reader), "", "nothing is there yet");
    let mut writer = LogWriter::with_limit(&path, 100).unwrap();
    let mut expected = String::new();
    let mut seen = String::new();
    for number in 0..40 {
        let line = format!("line {number}\n");
        writer.append(&frame(writer.next_sequence(), &line)).unwrap();
        expected.push_str(&line);
        if number % 3 == 0 {
            seen.push_str(&text(&mut reader));
        }
    }
    seen.push_str(&text(&mut reader));
    assert_eq!(seen, expected);
    assert!(std::fs::metadata(&path).unwrap().len() < 200);
    assert!(std::fs::metadata(older(&path)).unwrap().len() < 200);
    let kept = text(&mut LogReader::open(&path, 0));
    assert!(expected.ends_with(&kept) && kept.len() < expected.len());
    let next = writer.next_sequence();
    drop(writer);
    assert_eq!(LogWriter::with_limit(&path, 100).unwrap().next_sequence(), next);
}
