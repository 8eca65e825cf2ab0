//! Inserts the kernel modules that the initramfs brought.

use std::fs::File;
use std::io;

use bulkhead_protocol::boot::MODULES_ORDER;

use super::BootError;
use crate::console;

/// The longest list of modules that is read, in bytes.
const MAX_LIST: u64 = 64 << 10;

/// Inserts every module of the list, in its order.
///
/// A module that cannot be inserted is named on the console and passed over: what needs it says so itself,
/// and a guest that lacks, say, a network card's driver may well not need it.
pub fn insert_all() -> Result<(), BootError> {
    let Some(list) = super::read_bounded(MODULES_ORDER, MAX_LIST)? else {
        return Ok(());
    };
    for path in paths(&String::from_utf8_lossy(&list)) {
        if let Err(error) = insert(path) {
            console::say(&format!("cannot insert the module {path}: {error}"));
        }
    }
    Ok(())
}

fn paths(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn insert(path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn empty_lines_and_remarks_are_no_modules() {
        let list = "/a.ko\n\n# a remark\n  /b.ko  \n";
        assert_eq!(paths(list).collect::<Vec<_>>(), ["/a.ko", "/b.ko"]);
    }
}
