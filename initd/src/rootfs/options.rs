//! Mount options as `mount(8)` writes them (OCI runtime specification, `config.md`, "Linux mount options"),
//! sorted into attributes and words for the file system.

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

/// Options, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Attributes of the mount alone.
    pub attributes: Attributes,
    /// Attributes of the mount and of those below it.
    pub recursive: Attributes,
    /// `bind` or `rbind`.
    pub bind: Option<Bind>,
    /// What becomes of mounts that are made or taken below it, elsewhere or here.
    pub propagation: Option<MountPropagationFlags>,
    /// The ids of its files are mapped: `idmap` or `ridmap`.
    pub idmap: Option<Bind>,
    /// What lies there already is changed.
    pub remount: bool,
    /// A tmpfs begins with a copy of what it covers.
    pub copy_up: bool,
    /// The file system's own options.
    pub data: Vec<(String, Option<String>)>,
}

/// Attributes that options set, and those that they clear where there are others before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Set.
    pub set: MountAttrFlags,
    /// Cleared.
    pub clear: MountAttrFlags,
}

/// How much a bind mount takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// One mount.
    One,
    /// It and all below.
    Recursive,
}

/// Every option that is no file system's own.
pub const NAMES: [&str; 61] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "idmap",
    "newinstance",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "tmpcopyup",
    "unbindable",
    "remount",
    "rremount",
    "user",
    "nouser",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "nolazytime",
];

impl Attributes {
    const NONE: Self = Self { set: MountAttrFlags::empty(), clear: MountAttrFlags::empty() };

    /// Nothing is set and nothing cleared.
    pub fn is_empty(&self) -> bool {
        (self.set | self.clear).is_empty()
    }

    fn put(&mut self, flag: MountAttrFlags) {
        self.set |= flag;
        self.clear -= flag;
    }

    fn take(&mut self, flag: MountAttrFlags) {
        self.clear |= flag;
        self.set -= flag;
    }

    /// How times of access are kept is one value of several bits, which the kernel changes as a whole.
    fn atime(&mut self, way: MountAttrFlags) {
        let all = MountAttrFlags::MOUNT_ATTR__ATIME;
        self.clear |= all;
        self.set = (self.set - all) | way;
    }

    /// Takes on an option; says whether it is an attribute's.
    fn add(&mut self, option: &str) -> bool {
        match option {
            "ro" => self.put(MountAttrFlags::MOUNT_ATTR_RDONLY),
            "rw" => self.take(MountAttrFlags::MOUNT_ATTR_RDONLY),
            "nosuid" => self.put(MountAttrFlags::MOUNT_ATTR_NOSUID),
            "suid" => self.take(MountAttrFlags::MOUNT_ATTR_NOSUID),
            "nodev" => self.put(MountAttrFlags::MOUNT_ATTR_NODEV),
            "dev" => self.take(MountAttrFlags::MOUNT_ATTR_NODEV),
            "noexec" => self.put(MountAttrFlags::MOUNT_ATTR_NOEXEC),
            "exec" => self.take(MountAttrFlags::MOUNT_ATTR_NOEXEC),
            "nosymfollow" => self.put(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
            "symfollow" => self.take(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
            "noatime" => self.atime(MountAttrFlags::MOUNT_ATTR_NOATIME),
            "strictatime" | "norelatime" => self.atime(MountAttrFlags::MOUNT_ATTR_STRICTATIME),
            "relatime" | "atime" | "nostrictatime" => self.atime(MountAttrFlags::MOUNT_ATTR_RELATIME),
            "nodiratime" => self.put(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
            "diratime" => self.take(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
            _ => return false,
        }
        true
    }
}

impl Options {
    /// No option at all.
    pub fn none() -> Self {
        Self {
            attributes: Attributes::NONE,
            recursive: Attributes::NONE,
            bind: None,
            propagation: None,
            idmap: None,
            remount: false,
            copy_up: false,
            data: Vec::new(),
        }
    }

    /// Sorts the options. What is not known here is the file system's.
    pub fn parse(options: &[String]) -> Self {
        let mut parsed = Self::none();
        for option in options.iter().map(String::as_str).filter(|option| !option.is_empty()) {
            parsed.add(option);
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        match option {
            // What the kernel has no use for here, or does anyway.
            "defaults" | "newinstance" | "user" | "nouser" | "silent" | "loud" | "iversion"
            | "noiversion" => {}
            "async" => self.data.retain(|(key, _)| key != "sync"),
            "nolazytime" => self.data.retain(|(key, _)| key != "lazytime"),
            "remount" | "rremount" => self.remount = true,
            "bind" => self.bind = self.bind.or(Some(Bind::One)),
            "rbind" => self.bind = Some(Bind::Recursive),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(Bind::One),
            "ridmap" => self.idmap = Some(Bind::Recursive),
            _ => {
                if let Some(propagation) = propagation(option) {
                    self.propagation = Some(propagation);
                } else if !self.attributes.add(option)
                    && !option.strip_prefix('r').is_some_and(|option| self.recursive.add(option))
                {
                    let (key, value) = match option.split_once('=') {
                        Some((key, value)) => (key, Some(value.to_owned())),
                        None => (option, None),
                    };
                    self.data.push((key.to_owned(), value));
                }
            }
        }
    }
}

/// How mounts spread, by the option's name; also the values of `linux.rootfsPropagation`.
pub fn propagation(name: &str) -> Option<MountPropagationFlags> {
    let (plain, recursive) = match name.strip_prefix('r') {
        Some(rest) => (rest, MountPropagationFlags::REC),
        None => (name, MountPropagationFlags::empty()),
    };
    Some(
        recursive
            | match plain {
                "shared" => MountPropagationFlags::SHARED,
                "slave" => MountPropagationFlags::DOWNSTREAM,
                "private" => MountPropagationFlags::PRIVATE,
                "unbindable" => MountPropagationFlags::UNBINDABLE,
                _ => return None,
            },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Options {
        Options::parse(&text.split(',').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_and_data_are_told_apart() {
        let options = parse("nosuid,strictatime,mode=755,size=65536k,ro,rprivate");
        let expected = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_STRICTATIME
            | MountAttrFlags::MOUNT_ATTR_RDONLY;
        assert_eq!(options.attributes.set, expected);
        assert!(options.recursive.is_empty());
        assert_eq!(options.propagation, Some(MountPropagationFlags::PRIVATE | MountPropagationFlags::REC));
        let data =
            [("mode".to_owned(), Some("755".to_owned())), ("size".to_owned(), Some("65536k".to_owned()))];
        assert_eq!(options.data, data);
    }

    #[test]
    fn later_options_win() {
        let attributes = parse("ro,rw").attributes;
        assert!(attributes.set.is_empty());
        assert_eq!(attributes.clear, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert!(parse("rw,ro").attributes.clear.is_empty());
        let attributes = parse("strictatime,noatime").attributes;
        assert_eq!(attributes.set, MountAttrFlags::MOUNT_ATTR_NOATIME);
        assert_eq!(attributes.clear, MountAttrFlags::MOUNT_ATTR__ATIME);
        assert!(parse("sync,async").data.is_empty());
    }

    #[test]
    fn binds_and_recursion_are_seen() {
        let options = parse("bind,rbind,rro,nodev");
        assert_eq!(options.bind, Some(Bind::Recursive));
        assert_eq!(options.recursive.set, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert_eq!(options.attributes.set, MountAttrFlags::MOUNT_ATTR_NODEV);
        assert_eq!(parse("slave").propagation, Some(MountPropagationFlags::DOWNSTREAM));
        assert_eq!((parse("ridmap").idmap, parse("tmpcopyup").copy_up), (Some(Bind::Recursive), true));
    }

    #[test]
    fn every_name_is_known() {
        for name in NAMES {
            assert!(parse(name).data.is_empty(), "{name}");
        }
        assert_eq!(parse("rubbish").data.len(), 1);
        assert_eq!(propagation("rrshared"), None);
    }
}
