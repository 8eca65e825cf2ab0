//! The smallest root that is of use: one static busybox, links for its applets, and what programs expect of a
//! file system. The program is read and never run: its list of applets stands in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::RootError;
use crate::oci::layer::Assembly;
use crate::oci::open_file;
use crate::tree::{Attributes, Extent, Inode, Kind, ROOT, Time};

/// Where Debian's package busybox-static has it.
pub const BUSYBOX: &str = "/bin/busybox";

/// The largest program that is taken, in bytes; Debian's has 2 MiB.
const MAX_PROGRAM: u64 = 64 << 20;

/// How many applets a program may have; Debian's has 270.
const MAX_APPLETS: usize = 2000;

/// How the list of applets starts in the program: names in order, each with a NUL behind it.
const FIRST_APPLETS: &[u8] = b"\0[\0[[\0";

/// ELF: program headers that matter here (`elf(5)`).
const PT_INTERP: u32 = 3;

const FOLDERS: [(&str, u16); 13] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

const LINKS: [(&str, &str); 4] =
    [("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin"), ("var/run", "../run")];

const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
    ("etc/profile", "PS1='\\w \\$ '\n"),
];

/// Fills an empty root.
pub(super) fn assemble(program: &Path, assembly: &mut Assembly<'_>, time: u64) -> Result<(), RootError> {
    let bytes = read(program)?;
    let unusable = |why| RootError::NotUsable(program.to_owned(), why);
    check_static(&bytes).map_err(unusable)?;
    let applets = applets(&bytes).ok_or_else(|| unusable("it tells no list of applets"))?;
    let mtime = Time { seconds: i64::try_from(time).unwrap_or(i64::MAX), nanoseconds: 0 };
    let mut making = Making { assembly, mtime };
    making.assembly.tree.inode_mut(ROOT).attributes.mtime = mtime;
    for (path, mode) in FOLDERS {
        making.add(path, mode, Kind::Directory(BTreeMap::new()))?;
    }
    for (path, target) in LINKS {
        making.add(path, 0o777, Kind::Symlink(target.as_bytes().into()))?;
    }
    for (path, text) in FILES {
        making.file(path, 0o644, text.as_bytes())?;
    }
    making.file("bin/busybox", 0o755, &bytes)?;
    for applet in applets.iter().filter(|applet| **applet != "busybox") {
        making.add(&format!("bin/{applet}"), 0o777, Kind::Symlink(b"busybox".as_slice().into()))?;
    }
    Ok(())
}

fn read(program: &Path) -> Result<Vec<u8>, RootError> {
    let failed = |error| RootError::Busybox(program.to_owned(), error);
    let mut bytes = Vec::new();
    open_file(program).and_then(|file| file.take(MAX_PROGRAM + 1).read_to_end(&mut bytes)).map_err(failed)?;
    match bytes.len() as u64 > MAX_PROGRAM {
        true => Err(RootError::NotUsable(program.to_owned(), "it is larger than 64 MiB")),
        false => Ok(bytes),
    }
}

struct Making<'m, 'a> {
    assembly: &'m mut Assembly<'a>,
    mtime: Time,
}

impl Making<'_, '_> {
    fn add(&mut self, path: &str, mode: u16, kind: Kind) -> Result<(), RootError> {
        let mut parents: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        let name = parents.pop().unwrap_or_default();
        let tree = &mut self.assembly.tree;
        let found =
            tree.directory(&parents, None).map_err(|error| RootError::Place(path.to_owned(), error))?;
        let attributes = Attributes { mode, mtime: self.mtime, ..Attributes::default() };
        tree.add(found.directory, name, 1, Inode { attributes, kind });
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u16, mut bytes: &[u8]) -> Result<(), RootError> {
        let length = bytes.len() as u64;
        let map = [Extent { offset: 0, length }];
        let body = self.assembly.bodies.store(length, &map, &mut bytes).map_err(RootError::Store)?;
        self.add(path, mode, Kind::File(body))
    }
}

/// Says why a program cannot run alone on a 64-bit x86 (`elf(5)`).
fn check_static(bytes: &[u8]) -> Result<(), &'static str> {
    let short = "it ends within its ELF header";
    let number = |offset: usize, length: usize| -> Result<u64, &'static str> {
        let field = offset.checked_add(length).and_then(|end| bytes.get(offset..end)).ok_or(short)?;
        Ok(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01\x01") {
        return Err("it is no 64-bit ELF program");
    }
    let (kind, machine) = (number(16, 2)?, number(18, 2)?);
    if machine != 62 || !matches!(kind, 2 | 3) {
        return Err("it is no program for x86-64");
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let place = usize::try_from(table.saturating_add(index * size)).map_err(|_| short)?;
        if number(place, 4)? == u64::from(PT_INTERP) {
            return Err("it is not static");
        }
    }
    Ok(())
}

/// The names of the applets, as the program itself lists them.
fn applets(bytes: &[u8]) -> Option<Vec<&str>> {
    let start = bytes.windows(FIRST_APPLETS.len()).position(|window| window == FIRST_APPLETS)? + 1;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+[".contains(byte);
    let names = bytes[start..].split(|byte| *byte == 0).take(MAX_APPLETS);
    let names = names.take_while(|name| !name.is_empty() && name.len() < 64 && name.iter().all(plain));
    let names: Vec<&str> = names.filter_map(|name| std::str::from_utf8(name).ok()).collect();
    // In order as far as they are one list; what stands behind it is something else.
    let end = names.windows(2).position(|pair| pair[0] >= pair[1]).map_or(names.len(), |place| place + 1);
    Some(names[..end].to_vec()).filter(|names| names.contains(&"sh"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_applets_are_those_that_the_program_lists() {
        let bytes = std::fs::read(BUSYBOX).unwrap();
        check_static(&bytes).unwrap();
        let listed = Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        assert_eq!(applets(&bytes).unwrap(), listed.lines().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_static_program_is_refused() {
        assert_eq!(check_static(b"#!/bin/sh\n"), Err("it is no 64-bit ELF program"));
        let dynamic = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check_static(&dynamic), Err("it is not static"));
        for length in 7..64 {
            assert!(check_static(&dynamic[..length]).is_err(), "{length}");
        }
        let mut foreign = dynamic.clone();
        foreign[18] = 183;
        assert_eq!(check_static(&foreign), Err("it is no program for x86-64"));
        foreign.clone_from(&dynamic);
        foreign[32..40].fill(0xff);
        assert_eq!(check_static(&foreign), Err("it ends within its ELF header"));
        assert_eq!(applets(b"x\0[\0[[\0ash\0cat\0"), None);
    }
}
