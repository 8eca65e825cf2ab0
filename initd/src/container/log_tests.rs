use super::*;

/// Everything from `since` on, as (stream, sequence number, text).
fn all(log: &Log, mut since: u64) -> Vec<(Stream, u64, String)> {
    let mut pieces = Vec::new();
    while let Next::Piece(stream, sequence, bytes) = log.read(since) {
        since = sequence + bytes.len() as u64;
        pieces.push((stream, sequence, String::from_utf8(bytes.to_vec()).unwrap()));
    }
    pieces
}

#[test]
fn streams_keep_their_order() {
    let log = Log::new();
    log.append(Stream::Out, b"one ");
    log.append(Stream::Out, b"two");
    log.append(Stream::Err, b"oops");
    log.append(Stream::Out, b"three");
    let expected = [
        (Stream::Out, 0, "one two".into()),
        (Stream::Err, 7, "oops".into()),
        (Stream::Out, 11, "three".into()),
    ];
    assert_eq!(all(&log, 0), expected);
    assert_eq!(all(&log, 9), [(Stream::Err, 9, "ps".into()), (Stream::Out, 11, "three".into())]);
    assert_eq!(log.read(16), Next::Nothing);
    assert_eq!(log.read(1000), Next::Nothing);
    log.end();
    assert_eq!(log.read(16), Next::End);
    assert_eq!(log.read(11), Next::Piece(Stream::Out, 11, Bytes::from_static(b"three")));
}

#[test]
fn memory_is_bounded_and_the_newest_is_kept() {
    let log = Log::new();
    for round in 0..100_u64 {
        log.append(if round % 2 == 0 { Stream::Out } else { Stream::Err }, &vec![b'a'; 50_000]);
    }
    assert!(log.ring().bytes.len() <= LOG_BYTES);
    assert!(log.ring().bytes.capacity() <= 4 * LOG_BYTES);
    let pieces = all(&log, 0);
    let (_, sequence, text) = pieces.last().unwrap();
    assert_eq!(sequence + text.len() as u64, 5_000_000);
    let kept: usize = pieces.iter().map(|(.., text)| text.len()).sum();
    assert_eq!(kept, LOG_BYTES);
    assert_eq!(pieces[0].1, 5_000_000 - LOG_BYTES as u64);
}

#[test]
fn single_bytes_on_both_streams_cost_no_more() {
    let log = Log::new();
    for _ in 0..100_000 {
        log.append(Stream::Out, b"o");
        log.append(Stream::Err, b"e");
    }
    assert!(log.ring().records.len() <= MAX_RECORDS);
    assert_eq!(log.ring().bytes.len(), MAX_RECORDS);
    assert_eq!(all(&log, 199_999), [(Stream::Err, 199_999, "e".into())]);
}

#[test]
fn one_write_larger_than_the_log_leaves_its_end() {
    let log = Log::new();
    log.append(Stream::Out, b"start");
    let mut flood = vec![b'x'; LOG_BYTES + 10];
    flood.extend(b"end");
    log.append(Stream::Out, &flood);
    let pieces = all(&log, 0);
    assert!(pieces.iter().all(|(.., text)| text.len() <= MAX_LOG_FRAME));
    assert!(pieces.last().unwrap().2.ends_with("xend"));
    assert_eq!(pieces[0].1, 5 + 13);
}

#[test]
fn frames_are_as_the_protocol_says() {
    let frame = frame(Stream::Err, 0x0102, b"hello");
    assert_eq!(frame[..], *b"\x02\0\0\0\0\0\0\x05\0\0\0\0\0\0\x01\x02hello");
}

#[tokio::test]
async fn the_end_is_told() {
    let log = std::sync::Arc::new(Log::new());
    let waiting = std::sync::Arc::clone(&log);
    let task = tokio::spawn(async move { waiting.ended().await });
    tokio::task::yield_now().await;
    log.append(Stream::Out, b"x");
    assert!(!task.is_finished());
    log.end();
    task.await.unwrap();
}
