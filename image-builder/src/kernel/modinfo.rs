//! Reads the section `.modinfo` of a kernel module: words `key=value`, each ended by a NUL.

use super::KernelError;

/// What a module says of itself, as far as the order of insertion depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// Its own name, with underscores.
    pub name: String,
    /// Modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Modules that it wants inserted before it, without using their symbols.
    pub soft: Vec<String>,
}

/// Reads the ELF object `bytes` (64-bit, little endian), which is called `file` in errors.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<ModInfo, KernelError> {
    let section = section(bytes, b".modinfo").map_err(|what| KernelError::Module(file.to_owned(), what))?;
    let mut info = ModInfo::default();
    for word in section.split(|byte| *byte == 0) {
        let Ok(word) = std::str::from_utf8(word) else { continue };
        match word.split_once('=') {
            Some(("name", name)) => info.name = normal(name),
            Some(("depends", list)) => {
                info.depends = list.split(',').filter(|name| !name.is_empty()).map(normal).collect();
            }
            Some(("softdep", list)) => info.soft.extend(soft_before(list)),
            _ => {}
        }
    }
    if info.name.is_empty() {
        return Err(KernelError::Module(file.to_owned(), "it does not say its name"));
    }
    Ok(info)
}

/// Module names are compared with underscores in place of dashes.
pub(super) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The names behind `pre:` in `pre: a b post: c`.
fn soft_before(list: &str) -> Vec<String> {
    let mut before = false;
    let mut names = Vec::new();
    for word in list.split_whitespace() {
        match word {
            "pre:" => before = true,
            "post:" => before = false,
            name if before => names.push(normal(name)),
            _ => {}
        }
    }
    names
}

fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Result<&'a [u8], &'static str> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return Err("it is not a 64-bit little-endian ELF file");
    }
    // Offsets within the ELF header: e_shoff 40, e_shentsize 58, e_shnum 60, e_shstrndx 62.
    let table = u64_at(elf, 40)?;
    let (entry_size, count) = (u16_at(elf, 58)?, u16_at(elf, 60)?);
    let strings = u16_at(elf, 62)?;
    if entry_size != 64 {
        return Err("its section headers have an unknown size");
    }
    let header = |index: u16| {
        let start = usize::try_from(table).ok().and_then(|table| table.checked_add(usize::from(index) * 64));
        let header = start.and_then(|start| elf.get(start..start.checked_add(64)?));
        header.ok_or("its section headers lie outside the file")
    };
    let body = |header: &[u8]| {
        // Offsets within a section header: sh_offset 24, sh_size 32.
        let (offset, size) = (u64_at(header, 24)?, u64_at(header, 32)?);
        let range = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
        let range = range.and_then(|(offset, size)| elf.get(offset..offset.checked_add(size)?));
        range.ok_or("a section lies outside the file")
    };
    let names = body(header(strings)?)?;
    for index in 1..count {
        let header = header(index)?;
        let name = names.get(u32_at(header, 0)? as usize..).unwrap_or_default();
        if name.strip_prefix(wanted).is_some_and(|rest| rest.first() == Some(&0)) {
            return body(header);
        }
    }
    Err("it has no section .modinfo")
}

const CUT: &str = "it ends within a header";

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, &'static str> {
    bytes.get(offset..offset + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes).ok_or(CUT)
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, &'static str> {
    bytes.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).ok_or(CUT)
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, &'static str> {
    bytes.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).ok_or(CUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with the sections null, `.modinfo` and `.shstrtab`.
    fn object(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let table = 64 + modinfo.len() + names.len();
        elf[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        for (offset, value) in [(58, 64_u16), (60, 3), (62, 2)] {
            elf[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
        }
        elf.extend_from_slice(modinfo);
        elf.extend_from_slice(names);
        let sections = [(0_u32, 0, 0), (1, 64, modinfo.len()), (10, 64 + modinfo.len(), names.len())];
        for (name, offset, size) in sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf
    }

    #[test]
    fn names_are_compared_with_underscores() {
        let words = b"license=GPL\0softdep=pre: crc32c-x post: late\0depends=virtio-ring,virtio\0name=a-b\0";
        let info = read("x.ko", &object(words)).unwrap();
        assert_eq!(info.name, "a_b");
        assert_eq!(info.depends, ["virtio_ring", "virtio"]);
        assert_eq!(info.soft, ["crc32c_x"]);
    }

    #[test]
    fn a_module_cut_anywhere_is_an_error() {
        let elf = object(b"name=a\0");
        for cut in 0..elf.len() {
            assert!(read("x.ko", &elf[..cut]).is_err(), "cut at {cut}");
        }
    }
}
