//! Mount options as `mount(8)` writes them, sorted into attributes and words for the file system.

use rustix::mount::MountAttrFlags;

/// Options, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Attributes of the mount to set.
    pub set: MountAttrFlags,
    /// Attributes that the options clear, where there are others before.
    pub clear: MountAttrFlags,
    /// The attributes hold for mounts below, too.
    pub recursive_attributes: bool,
    /// `bind` or `rbind`.
    pub bind: Option<Bind>,
    /// The file system's own options.
    pub data: Vec<(String, Option<String>)>,
}

/// How much a bind mount takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// One mount.
    One,
    /// It and all below.
    Recursive,
}

impl Options {
    /// No option at all.
    pub fn none() -> Self {
        let none = MountAttrFlags::empty();
        Self { set: none, clear: none, recursive_attributes: false, bind: None, data: Vec::new() }
    }

    /// Sorts the options. The error names what is not offered.
    pub fn parse(options: &[String]) -> Result<Self, String> {
        let mut parsed = Self::none();
        for option in options.iter().map(String::as_str).filter(|option| !option.is_empty()) {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) -> Result<(), String> {
        let noatime = MountAttrFlags::MOUNT_ATTR_NOATIME;
        let strict = MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        match option {
            "defaults" | "async" | "newinstance" => {}
            // All mounts of a container are private to it.
            "private" | "rprivate" | "slave" | "rslave" => {}
            "shared" | "rshared" | "unbindable" | "runbindable" => {
                return Err(format!("the option {option} is not offered"));
            }
            "bind" => self.bind = Some(Bind::One),
            "rbind" => self.bind = Some(Bind::Recursive),
            "ro" => self.put(MountAttrFlags::MOUNT_ATTR_RDONLY),
            "rw" => self.take(MountAttrFlags::MOUNT_ATTR_RDONLY),
            "nosuid" => self.put(MountAttrFlags::MOUNT_ATTR_NOSUID),
            "suid" => self.take(MountAttrFlags::MOUNT_ATTR_NOSUID),
            "nodev" => self.put(MountAttrFlags::MOUNT_ATTR_NODEV),
            "dev" => self.take(MountAttrFlags::MOUNT_ATTR_NODEV),
            "noexec" => self.put(MountAttrFlags::MOUNT_ATTR_NOEXEC),
            "exec" => self.take(MountAttrFlags::MOUNT_ATTR_NOEXEC),
            "nosymfollow" => self.put(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
            "noatime" => {
                self.take(strict);
                self.put(noatime);
            }
            "strictatime" => {
                self.take(noatime);
                self.put(strict);
            }
            "relatime" | "atime" => self.take(noatime | strict),
            "nodiratime" => self.put(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
            "diratime" => self.take(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
            "tmpcopyup" | "idmap" | "ridmap" => return Err(format!("the option {option} is not offered")),
            _ => return self.add_other(option),
        }
        Ok(())
    }

    /// `rro` and its like, and the file system's own words.
    fn add_other(&mut self, option: &str) -> Result<(), String> {
        let recursive = ["rro", "rrw", "rnosuid", "rnodev", "rnoexec", "rnoatime"];
        if recursive.contains(&option) {
            self.recursive_attributes = true;
            return self.add(&option[1..]);
        }
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (option, None),
        };
        self.data.push((key.to_owned(), value));
        Ok(())
    }

    fn put(&mut self, flag: MountAttrFlags) {
        self.set |= flag;
        self.clear -= flag;
    }

    fn take(&mut self, flag: MountAttrFlags) {
        self.clear |= flag;
        self.set -= flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split(',').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_and_data_are_told_apart() {
        let options = parse("nosuid,strictatime,mode=755,size=65536k,ro,rprivate").unwrap();
        let expected = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_STRICTATIME
            | MountAttrFlags::MOUNT_ATTR_RDONLY;
        assert_eq!(options.set, expected);
        let data =
            [("mode".to_owned(), Some("755".to_owned())), ("size".to_owned(), Some("65536k".to_owned()))];
        assert_eq!(options.data, data);
    }

    #[test]
    fn later_options_win() {
        let options = parse("ro,rw").unwrap();
        assert!(options.set.is_empty());
        assert_eq!(options.clear, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert!(parse("rw,ro").unwrap().clear.is_empty());
    }

    #[test]
    fn binds_and_recursion_are_seen() {
        let options = parse("rbind,rro").unwrap();
        assert_eq!(options.bind, Some(Bind::Recursive));
        assert!(options.recursive_attributes && options.set == MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert!(parse("rshared").is_err());
    }
}
