use std::io::Cursor;

use vm_memory::Bytes;

use super::*;

/// An ELF file of two segments and a PVH note, in whole.
fn elf() -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    put(&mut file, 16, &2u16.to_le_bytes());
    put(&mut file, 18, &62u16.to_le_bytes());
    put(&mut file, 24, &0x10_0040u64.to_le_bytes());
    put(&mut file, 32, &64u64.to_le_bytes());
    put(&mut file, 54, &56u16.to_le_bytes());
    put(&mut file, 56, &3u16.to_le_bytes());
    header(&mut file, 0, 1, 0x200, 0x10_0000, 0x100, 0x100);
    header(&mut file, 1, 1, 0x300, 0x10_1000, 0x80, 0x1000);
    header(&mut file, 2, 4, 0x380, 0x10_0000, 20, 20);
    put(&mut file, 0x200, &[0xaa; 0x100]);
    put(&mut file, 0x300, &[0xbb; 0x80]);
    let note = [&4u32.to_le_bytes()[..], &4u32.to_le_bytes(), &18u32.to_le_bytes(), b"Xen\0"].concat();
    put(&mut file, 0x380, &note);
    put(&mut file, 0x390, &0x10_0080u32.to_le_bytes());
    file
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn header(file: &mut [u8], index: usize, kind: u32, offset: u64, address: u64, in_file: u64, in_memory: u64) {
    let at = 64 + 56 * index;
    put(file, at, &kind.to_le_bytes());
    for (field, value) in [(8, offset), (24, address), (32, in_file), (40, in_memory)] {
        put(file, at + field, &value.to_le_bytes());
    }
}

fn loaded(file: Vec<u8>) -> Result<(LoadedKernel, GuestMemory), String> {
    let memory = crate::memory::map(4 << 20).unwrap();
    match load_kernel(&memory, &mut Cursor::new(file), "/k") {
        Ok(kernel) => Ok((kernel, memory)),
        Err(error) => Err(crate::chain(&error)),
    }
}

fn refusal(file: Vec<u8>) -> String {
    loaded(file).map(drop).expect_err("refused")
}

#[test]
fn an_elf_with_a_note_is_entered_there() {
    let (kernel, memory) = loaded(elf()).unwrap();
    assert_eq!(kernel.entry, Entry::Pvh { address: 0x10_0080 });
    assert_eq!(kernel.end, 0x10_2000);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x10_0000)).unwrap(), 0xaa);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x10_107f)).unwrap(), 0xbb);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x10_1080)).unwrap(), 0);
}

#[test]
fn an_elf_without_a_note_is_entered_in_long_mode() {
    let mut file = elf();
    put(&mut file, 0x388, &[17]);
    assert_eq!(loaded(file).unwrap().0.entry, Entry::Linux64 { address: 0x10_0040 });
}

#[test]
fn a_file_cut_anywhere_is_refused_in_one_sentence() {
    let whole = elf();
    for length in 0..0x394 {
        let message = refusal(whole[..length].to_vec());
        assert!(message.starts_with("Cannot load kernel image /k: "), "{length}: {message}");
    }
}

#[test]
fn impossible_headers_are_refused() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change); 12] = [
        ("neither an ELF", |file| file[0] = 0),
        ("64-bit x86", |file| file[4] = 1),
        ("64-bit x86", |file| file[18] = 3),
        ("65535 program headers", |file| put(file, 56, &[0xff; 2])),
        ("program header table reaches", |file| put(file, 32, &[0xff; 8])),
        ("segment at 0x100000 reaches", |file| header(file, 0, 1, u64::MAX, 0x10_0000, 0x100, 0x100)),
        ("larger in the file", |file| header(file, 0, 1, 0x200, 0x10_0000, 0x100, 0xff)),
        ("needs guest memory", |file| header(file, 0, 1, 0x200, 0xff000, 0x100, 0x100)),
        ("needs guest memory", |file| header(file, 0, 1, 0x200, u64::MAX, 0x100, 0x100)),
        ("overlap", |file| header(file, 1, 1, 0x300, 0x10_00ff, 0x80, 0x1000)),
        ("lies in none", |file| put(file, 0x390, &[0, 0, 0, 1])),
        ("reaches beyond the notes", |file| put(file, 0x384, &[0xff; 4])),
    ];
    for (expected, change) in cases {
        let mut file = elf();
        change(&mut file);
        let message = refusal(file);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn bits_flipped_in_the_headers_never_panic() {
    let whole = elf();
    for byte in (0..64 + 3 * 56).chain(0x380..0x394) {
        for bit in 0..8 {
            let mut file = whole.clone();
            file[byte] ^= 1 << bit;
            drop(loaded(file));
        }
    }
}

/// A bzImage's headers with a kilobyte of code.
fn bzimage() -> Vec<u8> {
    let mut file = vec![0; 0x800];
    file[0x1f1] = 1;
    put(&mut file, 0x1f4, &(0x400u32 / 16).to_le_bytes());
    put(&mut file, 0x202, b"HdrS");
    put(&mut file, 0x206, &0x020fu16.to_le_bytes());
    file[0x211] = 1;
    put(&mut file, 0x214, &0x10_0000u32.to_le_bytes());
    put(&mut file, 0x236, &1u16.to_le_bytes());
    put(&mut file, 0x258, &0x10_0000u64.to_le_bytes());
    put(&mut file, 0x260, &0x10_0000u32.to_le_bytes());
    put(&mut file, 0x400, &[0xcc; 0x400]);
    file
}

#[test]
fn a_bzimage_is_entered_in_long_mode() {
    let (kernel, memory) = loaded(bzimage()).unwrap();
    assert_eq!(kernel.entry, Entry::Linux64 { address: 0x10_0200 });
    assert_eq!(kernel.end, 0x20_0000);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x10_0000)).unwrap(), 0xcc);
    assert!(kernel.setup_header.is_some());
}

#[test]
fn bzimages_that_cannot_boot_are_refused() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change); 4] = [
        ("no 64-bit entry", |file| put(file, 0x206, &0x020au16.to_le_bytes())),
        ("no 64-bit entry", |file| file[0x236] = 0),
        ("cut off", |file| file.truncate(0x7ff)),
        ("needs guest memory", |file| put(file, 0x260, &[0xff; 4])),
    ];
    for (expected, change) in cases {
        let mut file = bzimage();
        change(&mut file);
        let message = refusal(file);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    for length in 0..0x7ff {
        drop(loaded(bzimage()[..length].to_vec()));
    }
}
