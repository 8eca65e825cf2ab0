use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::driver::hostile_memory;

fn segments(pieces: &[(u64, u32)]) -> Vec<Segment> {
    pieces.iter().map(|&(address, length)| Segment { address: GuestAddress(address), length }).collect()
}

#[test]
fn every_split_keeps_every_byte_in_order() {
    let memory = hostile_memory();
    let all: Vec<u8> = (1..=20).collect();
    let segments = segments(&[(0x100, 3), (0x200, 1), (0x300, 9), (0x400, 7)]);
    let whole = Span::new(&segments);
    whole.write(&memory, &all).unwrap();
    for first in 0..=20_u64 {
        for second in 0..=20 - first {
            let (a, rest) = whole.split_at(first);
            let (b, c) = rest.split_at(second);
            assert_eq!((a.len(), b.len(), c.len()), (first, second, 20 - first - second));
            let mut joined = Vec::new();
            for span in [a, b, c] {
                let pieces: u64 = span.pieces().map(|piece| u64::from(piece.length)).sum();
                assert_eq!(pieces, span.len());
                assert!(span.pieces().all(|piece| piece.length != 0));
                let mut bytes = vec![0; span.len() as usize];
                span.read(&memory, &mut bytes).unwrap();
                joined.extend(bytes);
            }
            assert_eq!(joined, all);
        }
    }
}

#[test]
fn splitting_beyond_the_end_leaves_nothing() {
    let segments = segments(&[(0x100, 3)]);
    let (front, rest) = Span::new(&segments).split_at(u64::MAX);
    assert_eq!((front.len(), rest.len()), (3, 0));
    assert!(rest.is_empty() && rest.pieces().next().is_none());
    assert!(Span::new(&[]).split_at(1).1.is_empty());
}

#[test]
fn holes_ends_and_wrapping_addresses_are_no_memory() {
    let memory = hostile_memory();
    let hole = 1 << 20;
    for address in [hole - 1, hole, 2 * hole - 1, 3 * hole - 1, 1 << 40, u64::MAX - 1, u64::MAX] {
        let segments = segments(&[(0x100, 2), (address, 2)]);
        let span = Span::new(&segments);
        assert_eq!(span.read(&memory, &mut [0; 4]), Err(NoMemory), "{address:#x}");
        assert_eq!(span.write(&memory, &[0; 4]), Err(NoMemory), "{address:#x}");
        // What comes before is still reachable.
        assert_eq!(span.split_at(2).0.read(&memory, &mut [0; 2]), Ok(()));
    }
}

#[test]
fn more_than_the_span_is_refused() {
    let memory = hostile_memory();
    let segments = segments(&[(0x100, 2)]);
    assert_eq!(Span::new(&segments).read(&memory, &mut [0; 3]), Err(NoMemory));
    assert_eq!(Span::new(&segments).write(&memory, &[0; 3]), Err(NoMemory));
    assert_eq!(Span::new(&segments).read(&memory, &mut []), Ok(()));
    memory.write_obj(0_u8, GuestAddress(0)).unwrap();
}
