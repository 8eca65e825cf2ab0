use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::driver::hostile_memory;

const TABLE: u64 = 0x1000;
const INDIRECT_TABLE: u64 = 0x8000;

/// Address, length, flags, next.
type Entry = (u64, u32, u16, u16);

fn write_table(memory: &GuestMemory, table: u64, entries: &[Entry]) {
    for (index, &(address, length, flags, next)) in (0..).zip(entries) {
        let descriptor = Descriptor { address, length, flags, next };
        memory.write_obj(descriptor, GuestAddress(table + 16 * index)).unwrap();
    }
}

fn read(direct: &[Entry], indirect: &[Entry], size: u16) -> Result<(Vec<u64>, Vec<u64>), NeedsReset> {
    let memory = hostile_memory();
    write_table(&memory, TABLE, direct);
    write_table(&memory, INDIRECT_TABLE, indirect);
    let mut chain = Chain::default();
    chain.read(&memory, DescriptorTable { address: GuestAddress(TABLE), length: size }, 0, true)?;
    let addresses = |segments: &[Segment]| segments.iter().map(|segment| segment.address.0).collect();
    Ok((addresses(&chain.readable), addresses(&chain.writable)))
}

#[test]
fn buffers_are_sorted_by_direction_and_empty_ones_left_out() {
    let chain = [(1, 1, NEXT, 1), (2, 0, NEXT, 2), (3, 1, NEXT | WRITE, 3), (4, 1, WRITE, 0)];
    assert_eq!(read(&chain, &[], 8), Ok((vec![1], vec![3, 4])));
    // An empty readable one behind a writable one is still out of order.
    assert_eq!(read(&[(1, 1, NEXT | WRITE, 1), (2, 0, 0, 0)], &[], 8), Err(NeedsReset));
}

#[test]
fn a_chain_may_be_as_long_as_its_table_and_no_longer() {
    let chain = |length: u16| -> Vec<Entry> {
        (0..length)
            .map(|index| (index.into(), 1, if index + 1 == length { 0 } else { NEXT }, index + 1))
            .collect()
    };
    assert_eq!(read(&chain(8), &[], 8).unwrap().0.len(), 8);
    assert_eq!(read(&chain(9), &[], 8), Err(NeedsReset));
    let table = |length: u32| [(INDIRECT_TABLE, 16 * length, INDIRECT, 0)];
    assert_eq!(read(&table(1024), &chain(1024), 8).unwrap().0.len(), 1024);
    assert_eq!(read(&table(1025), &chain(1025), 8), Err(NeedsReset));
    assert_eq!(read(&table(65536), &chain(1), 8), Err(NeedsReset));
    assert_eq!(read(&table(4), &chain(5), 8), Err(NeedsReset));
}

#[test]
fn cycles_of_every_length_end() {
    for length in 1..=8_u16 {
        let cycle: Vec<Entry> = (0..length).map(|index| (1, 1, NEXT, (index + 1) % length)).collect();
        assert_eq!(read(&cycle, &[], 8), Err(NeedsReset), "{length}");
        let into = [(INDIRECT_TABLE, 16 * u32::from(length), INDIRECT, 0)];
        assert_eq!(read(&into, &cycle, 8), Err(NeedsReset), "{length}, indirect");
    }
}

#[test]
fn lengths_may_sum_up_to_less_than_4_gib() {
    let pair = |a, b| [(1, a, NEXT, 1), (2, b, 0, 0)];
    assert!(read(&pair(u32::MAX - 1, 1), &[], 8).is_ok());
    assert_eq!(read(&pair(u32::MAX, 1), &[], 8), Err(NeedsReset));
    // The length of an indirect table is none of the data.
    let indirect = [(1, u32::MAX - 1, NEXT, 1), (INDIRECT_TABLE, 16, INDIRECT, 0)];
    assert!(read(&indirect, &[(2, 1, 0, 0)], 8).is_ok());
}

#[test]
fn a_table_at_the_end_of_everything_is_refused() {
    let memory = hostile_memory();
    for address in [u64::MAX, u64::MAX - 15, 1 << 20, (1 << 20) - 8] {
        let table = DescriptorTable { address: GuestAddress(address), length: 8 };
        for head in 0..10 {
            assert_eq!(Chain::default().read(&memory, table, head, true), Err(NeedsReset));
        }
    }
}

#[test]
fn a_chain_that_was_read_stays_as_it_was() {
    let memory = hostile_memory();
    let table = DescriptorTable { address: GuestAddress(TABLE), length: 8 };
    write_table(&memory, TABLE, &[(0x4000, 8, NEXT, 1), (0x5000, 8, WRITE, 0)]);
    let mut chain = Chain::default();
    chain.read(&memory, table, 0, true).unwrap();
    // The guest thinks better of it.
    write_table(&memory, TABLE, &[(1 << 40, u32::MAX, NEXT | WRITE, 7), (u64::MAX, u32::MAX, INDIRECT, 9)]);
    let pieces =
        |span: Span<'_>| span.pieces().map(|piece| (piece.address.0, piece.length)).collect::<Vec<_>>();
    assert_eq!(pieces(chain.readable()), [(0x4000, 8)]);
    assert_eq!(pieces(chain.writable()), [(0x5000, 8)]);
}
