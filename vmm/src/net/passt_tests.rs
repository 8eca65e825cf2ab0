use std::io::{Read, Write};
use std::time::Duration;

use super::*;

/// Ours, and the end that passt would have, which waits.
fn pair() -> (Passt, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (Passt::over(ours, Path::new("/test.sock")).unwrap(), theirs)
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [(frame.len() as u32).to_be_bytes().as_slice(), frame].concat()
}

fn send(passt: &mut Passt, frame: &[u8]) -> Sent {
    let put = |place: &mut [u8]| {
        place.copy_from_slice(frame);
        Ok::<_, ()>(())
    };
    passt.send(frame.len(), put).unwrap()
}

#[test]
fn frames_arrive_however_the_stream_is_cut() {
    let frames: Vec<Vec<u8>> = (0..40_usize).map(|n| vec![n as u8; 14 + n * 97]).collect();
    let stream: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
    for piece in [1, 2, 3, 5, 1000, 4096, stream.len()] {
        let (mut passt, mut peer) = pair();
        let mut arrived = Vec::new();
        for bytes in stream.chunks(piece) {
            peer.write_all(bytes).unwrap();
            while let Some(frame) = passt.frame().unwrap() {
                arrived.push(frame.to_vec());
                passt.taken();
            }
        }
        assert_eq!(arrived, frames, "in pieces of {piece}");
    }
}

#[test]
fn a_frame_is_there_until_it_is_taken() {
    let (mut passt, mut peer) = pair();
    peer.write_all(&[framed(&[1; 20]), framed(&[2; 30])].concat()).unwrap();
    assert_eq!(passt.frame(), Ok(Some([1; 20].as_slice())));
    assert_eq!(passt.frame(), Ok(Some([1; 20].as_slice())));
    passt.taken();
    assert_eq!(passt.frame(), Ok(Some([2; 30].as_slice())));
    passt.taken();
    assert_eq!(passt.frame(), Ok(None));
}

#[test]
fn the_longest_frames_pass_both_ways_and_memory_stays_where_it_is() {
    let (mut passt, mut peer) = pair();
    let place = passt.inbox.bytes.as_ptr();
    let sender = std::thread::spawn(move || {
        for round in 0..50_u8 {
            peer.write_all(&framed(&vec![round; FRAME_MAX])).unwrap();
        }
        peer
    });
    for round in 0..50_u8 {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while passt.frame().unwrap().is_none() {
            assert!(std::time::Instant::now() < end, "frame {round}");
        }
        assert_eq!(passt.frame(), Ok(Some(vec![round; FRAME_MAX].as_slice())));
        passt.taken();
    }
    assert_eq!(passt.inbox.bytes.as_ptr(), place);
    let mut peer = sender.join().unwrap();
    assert!(passt.has_room());
    assert_eq!(send(&mut passt, &[9; FRAME_MAX]), Sent::Away);
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; PREFIX + FRAME_MAX];
        peer.read_exact(&mut bytes).unwrap();
        (bytes, peer)
    });
    while !passt.outbox.filled.is_empty() {
        passt.flush();
    }
    assert_eq!(reader.join().unwrap().0, framed(&[9; FRAME_MAX]));
}

#[test]
fn a_stream_that_is_full_loses_nothing_and_says_when_there_is_room() {
    let (mut passt, mut peer) = pair();
    assert_eq!(passt.room(), None, "nothing waits");
    let mut sent = 0_u32;
    while passt.has_room() {
        assert_eq!(send(&mut passt, &[sent as u8; 1514]), Sent::Away);
        sent += 1;
    }
    assert!(sent > 80, "{sent}");
    assert!(passt.room().is_some() && passt.writable.wait(0, &mut [EpollEvent::default()]).unwrap() == 0);
    for number in 0..sent {
        let mut frame = [0; PREFIX + 1514];
        // What is in the outbox comes when there is room for it.
        passt.flush();
        peer.read_exact(&mut frame).unwrap();
        assert_eq!(frame[..], framed(&[number as u8; 1514]), "{number}");
    }
    assert!(passt.has_room() && passt.room().is_none());
}

#[test]
fn an_end_and_a_length_that_cannot_be_are_told_once() {
    for bytes in
        [&[][..], &[0, 0, 0, 0], &13_u32.to_be_bytes(), &65_554_u32.to_be_bytes(), &[0xff; 9], &[0, 0]]
    {
        let (mut passt, mut peer) = pair();
        peer.write_all(bytes).unwrap();
        drop(peer);
        assert_eq!(passt.frame(), Err(Lost), "{bytes:?}");
        assert_eq!(passt.frame(), Ok(None));
        assert_eq!((passt.frames(), passt.room()), (None, None));
        assert!(passt.has_room());
        assert_eq!(send(&mut passt, &[1; 60]), Sent::Nowhere);
    }
}

#[test]
fn a_reader_that_ends_is_noticed_by_who_writes() {
    let (mut passt, peer) = pair();
    drop(peer);
    assert_eq!(send(&mut passt, &[1; 60]), Sent::Away);
    passt.flush();
    assert_eq!(send(&mut passt, &[1; 60]), Sent::Nowhere);
    assert_eq!(passt.frame(), Ok(None));
}

#[test]
fn what_is_for_the_hosts_loopback_goes_nowhere() {
    let packet = |kind: [u8; 2], destination: &[u8]| {
        let behind = if kind == [8, 0] { 16 } else { 24 };
        [&[2; 12], kind.as_slice(), &vec![0x45; behind], destination, &[0x45; 20]].concat()
    };
    let (mut passt, _peer) = pair();
    for address in [[127, 0, 0, 1], [127, 255, 255, 255], [0, 0, 0, 0], [0, 1, 2, 3]] {
        assert_eq!(send(&mut passt, &packet([8, 0], &address)), Sent::Nowhere, "{address:?}");
    }
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    for address in ["::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"] {
        assert_eq!(send(&mut passt, &packet([0x86, 0xdd], &v6(address))), Sent::Nowhere, "{address}");
    }
    assert_eq!(passt.outbox.filled, 0..0);
    for address in [[126, 0, 0, 1], [128, 0, 0, 1], [1, 127, 0, 0], [255, 255, 255, 255]] {
        assert_eq!(send(&mut passt, &packet([8, 0], &address)), Sent::Away, "{address:?}");
    }
    for address in ["fe80::1", "ff02::1", "64:ff9b::7f00:1", "0:0:0:0:1::"] {
        assert_eq!(send(&mut passt, &packet([0x86, 0xdd], &v6(address))), Sent::Away, "{address}");
    }
    for cut in 0..31 {
        let frame = &packet([8, 0], &[127, 0, 0, 1])[..cut.max(FRAME_MIN)];
        let sent = if frame.len() > 30 { Sent::Nowhere } else { Sent::Away };
        assert_eq!(send(&mut passt, frame), sent, "{cut}");
    }
}

#[test]
fn nobody_at_the_socket_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let error = Passt::connect(&path).err().unwrap();
    assert_eq!(error.to_string(), format!("Cannot connect to passt at {}", path.display()));
}
