//! The kernel's command line.

/// What a guest gets when its configuration says nothing: Firecracker's default.
pub const DEFAULT: &str =
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";

/// Linux's `COMMAND_LINE_SIZE` on x86, the terminating zero included.
pub const MAX: usize = 2048;

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandLineError {
    /// Too long.
    #[error("it has {0} bytes; a kernel takes {limit}", limit = MAX - 1)]
    TooLong(usize),
    /// A byte that would end it or start another line.
    #[error("byte {0} of it is not printable ASCII")]
    Character(usize),
}

/// What the root file system is on, where the configuration names it (`is_root_device`, `root_device`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// As Linux's `root=` takes it.
    pub device: String,
    /// Mount it read-only.
    pub read_only: bool,
}

/// Tells a kernel that there is no PCI bus, which spares it some eighty port accesses to find out.
const NO_PCI: &str = "pci=off";

/// Puts the command line together: what was asked (or the default), then as Firecracker does [`NO_PCI`]
/// (where nothing is said of PCI) and the root drive, before a ` -- ` that hands the rest to init.
pub fn build(asked: Option<&str>, root: Option<&Root>) -> Result<String, CommandLineError> {
    let asked = asked.unwrap_or(DEFAULT).trim();
    let (kernel, init) = match asked.split_once(" -- ") {
        Some((kernel, init)) => (kernel.trim_end(), Some(init)),
        None => (asked, None),
    };
    let mut line = kernel.to_owned();
    if !kernel.split_ascii_whitespace().any(|word| word.starts_with("pci=")) {
        line.push(' ');
        line.push_str(NO_PCI);
    }
    if let Some(root) = root {
        let device = &root.device;
        let mode = if root.read_only { "ro" } else { "rw" };
        line.push_str(&format!(" root={device} {mode}"));
    }
    if let Some(init) = init {
        line.push_str(" -- ");
        line.push_str(init);
    }
    check(&line)?;
    Ok(line)
}

fn check(line: &str) -> Result<(), CommandLineError> {
    if line.len() >= MAX {
        return Err(CommandLineError::TooLong(line.len()));
    }
    match line.bytes().position(|byte| !(b' '..=b'~').contains(&byte) && byte != b'\t') {
        Some(at) => Err(CommandLineError::Character(at)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_absence_of_pci_is_added_unasked() {
        assert_eq!(build(Some("console=ttyS0 quiet"), None).unwrap(), "console=ttyS0 quiet pci=off");
        assert_eq!(build(Some("pci=on quiet"), None).unwrap(), "pci=on quiet");
        assert_eq!(build(None, None).unwrap(), format!("{DEFAULT} pci=off"));
    }

    #[test]
    fn a_root_drive_is_named_before_the_words_for_init() {
        let root = Root { device: "/dev/pmem0".into(), read_only: true };
        let line = build(Some("quiet -- a b"), Some(&root)).unwrap();
        assert_eq!(line, "quiet pci=off root=/dev/pmem0 ro -- a b");
        let root = Root { device: "PARTUUID=0eaa91a0-01".into(), read_only: false };
        let line = build(Some("quiet"), Some(&root)).unwrap();
        assert_eq!(line, "quiet pci=off root=PARTUUID=0eaa91a0-01 rw");
    }

    #[test]
    fn length_and_characters_are_checked() {
        assert_eq!(build(Some(&"x".repeat(2040)), None), Err(CommandLineError::TooLong(2048)));
        assert!(build(Some(&"x".repeat(2039)), None).is_ok());
        assert_eq!(build(Some("a\nb"), None), Err(CommandLineError::Character(1)));
        assert_eq!(build(Some("a\0b"), None), Err(CommandLineError::Character(1)));
    }
}
