//! The SMBIOS tables (DMTF DSP0134, version 3.7): who made the machine and which one it is, for programs such as
//! cloud-init and for `/sys/class/dmi`.
//!
//! The 64-bit entry point lies where a kernel without EFI looks for it; behind it the structures that every
//! machine has to have as far as they make sense here: BIOS (type 0), system (1), chassis (3), the end (127).

use vm_memory::{Bytes, GuestAddress};

use super::BootError;
use crate::memory::{GuestMemory, layout};

/// Section 5.2.2: the entry point's length.
const ENTRY_POINT: usize = 24;
/// Where the structures start, behind the entry point.
const STRUCTURES: u64 = layout::SMBIOS.start + 32;

/// Which machine it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its maker.
    pub manufacturer: String,
    /// What it is.
    pub product: String,
    /// Its serial number; may be empty.
    pub serial: String,
    /// Its UUID, as it is written from left to right.
    pub uuid: [u8; 16],
}

/// Writes entry point and structures.
pub fn write_smbios(memory: &GuestMemory, identity: &Identity) -> Result<(), BootError> {
    let structures = [bios(), system(identity), chassis(identity), Structure::new(127, 3).finish()].concat();
    let room = (layout::SMBIOS.end - STRUCTURES) as usize;
    if structures.len() > room {
        return Err(BootError::SmbiosTooLarge(structures.len(), room));
    }
    memory.write_slice(&structures, GuestAddress(STRUCTURES))?;
    memory.write_slice(&entry_point(structures.len() as u32), GuestAddress(layout::SMBIOS.start))?;
    Ok(())
}

fn entry_point(size: u32) -> [u8; ENTRY_POINT] {
    let mut bytes = [0; ENTRY_POINT];
    bytes[..5].copy_from_slice(b"_SM3_");
    // Length; version 3.7; revision of the entry point.
    bytes[6..11].copy_from_slice(&[ENTRY_POINT as u8, 3, 7, 0, 1]);
    bytes[12..16].copy_from_slice(&size.to_le_bytes());
    bytes[16..].copy_from_slice(&STRUCTURES.to_le_bytes());
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[5] = sum.wrapping_neg();
    bytes
}

/// Section 7.1.
fn bios() -> Vec<u8> {
    let mut structure = Structure::new(0, 0);
    structure.text("Bulkhead");
    structure.text(env!("CARGO_PKG_VERSION"));
    structure.put(&[0, 0]);
    // A date that never changes: kernels distrust old ones.
    structure.text("01/01/2026");
    structure.put(&[0]);
    // "Characteristics are not supported"; "this is a virtual machine"; no versions of BIOS and controller.
    structure.put(&(1u64 << 3).to_le_bytes());
    structure.put(&[0, 1 << 4, 0xff, 0xff, 0xff, 0xff]);
    structure.put(&[0, 0]);
    structure.finish()
}

/// Section 7.2. The first three parts of the UUID are little-endian.
fn system(identity: &Identity) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = identity.uuid;
    let mut structure = Structure::new(1, 1);
    structure.text(&identity.manufacturer);
    structure.text(&identity.product);
    structure.text(env!("CARGO_PKG_VERSION"));
    structure.text(&identity.serial);
    structure.put(&[d, c, b, a, f, e, h, g]);
    structure.put(&rest);
    // Woken by its power switch; no SKU number, no family.
    structure.put(&[6, 0, 0]);
    structure.finish()
}

/// Section 7.4: of the kind "other", in a state that is "unknown" or "safe".
fn chassis(identity: &Identity) -> Vec<u8> {
    let mut structure = Structure::new(3, 2);
    structure.text(&identity.manufacturer);
    structure.put(&[1, 0]);
    structure.text(&identity.serial);
    structure.put(&[0, 3, 3, 3, 2]);
    structure.put(&[0; 8]);
    structure.put(&[0]);
    structure.finish()
}

/// One structure in the making (section 6.1): header, fields, the strings that they number.
struct Structure {
    bytes: Vec<u8>,
    strings: Vec<u8>,
    count: u8,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Self { bytes: vec![kind, 0, low, high], strings: Vec::new(), count: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A field that names a string; 0 where that is empty.
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            self.bytes.push(0);
            return;
        }
        self.count += 1;
        self.bytes.push(self.count);
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes[1] = self.bytes.len() as u8;
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        self.strings.push(0);
        [self.bytes, self.strings].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            manufacturer: "Maker".into(),
            product: "Thing".into(),
            serial: "ds=nocloud".into(),
            uuid: *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
        }
    }

    /// Type, fields behind the header, strings.
    type Parsed = (u8, Vec<u8>, Vec<String>);

    fn parse(mut bytes: &[u8]) -> Vec<Parsed> {
        let mut structures = Vec::new();
        while let [kind, length, ..] = *bytes {
            let (fields, rest) = bytes.split_at(length.into());
            let end = rest.windows(2).position(|pair| pair == [0, 0]).unwrap();
            let strings = rest[..end].split(|byte| *byte == 0).filter(|text| !text.is_empty());
            let strings = strings.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
            structures.push((kind, fields[4..].to_vec(), strings));
            bytes = &rest[end + 2..];
        }
        structures
    }

    #[test]
    fn the_entry_point_leads_to_every_structure() {
        let memory = crate::memory::map(2 << 20).unwrap();
        write_smbios(&memory, &identity()).unwrap();
        let mut entry = [0; ENTRY_POINT];
        memory.read_slice(&mut entry, GuestAddress(layout::SMBIOS.start)).unwrap();
        assert_eq!(&entry[..5], b"_SM3_");
        assert_eq!(entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        let size = u32::from_le_bytes(entry[12..16].try_into().unwrap());
        let address = u64::from_le_bytes(entry[16..].try_into().unwrap());
        let mut bytes = vec![0; size as usize];
        memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        let structures = parse(&bytes);
        assert_eq!(structures.iter().map(|structure| structure.0).collect::<Vec<_>>(), [0, 1, 3, 127]);
        // The lengths that the specification gives: 0x1a, 0x1b, 0x16 with no contained elements, 4.
        assert_eq!(structures.iter().map(|structure| structure.1.len()).collect::<Vec<_>>(), [22, 23, 18, 0]);
        let (_, fields, strings) = &structures[1];
        assert_eq!(strings, &["Maker", "Thing", env!("CARGO_PKG_VERSION"), "ds=nocloud"]);
        assert_eq!(&fields[4..20], b"\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
    }

    #[test]
    fn an_empty_serial_is_no_string() {
        let system = system(&Identity { serial: String::new(), ..identity() });
        assert_eq!(parse(&system)[0].1[3], 0);
        assert_eq!(parse(&system)[0].2.len(), 3);
    }
}
