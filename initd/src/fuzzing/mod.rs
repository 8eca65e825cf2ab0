//! What fuzz targets ask of the runtime (`tests/fuzz`): functions of any bytes that end a process whose promises do
//! not hold.

mod filters;

use crate::isolation::cgroup::{self, Swap};
use crate::isolation::device_filter::Rule;
use crate::oci::bundle;
use crate::oci::check;
use crate::rootfs::options::{NAMES, Options};
use bulkhead_protocol::oci::{Resources, Spec};

pub use self::filters::seccomp;

/// A bundle's configuration as it is read; none where it is no such document.
pub fn read_config(bytes: &[u8]) -> Option<Spec> {
    bundle::parse("config.json", bytes).ok()
}

/// Whether a container is made of it, as far as its configuration goes.
pub fn takes_config(spec: &Spec) -> bool {
    check::check(&mut spec.clone()).is_ok()
}

/// A bundle's configuration: read, looked at, and put into one form, which is taken as it is.
pub fn config(bytes: &[u8]) {
    let Some(mut spec) = read_config(bytes) else { return };
    if check::check(&mut spec).is_err() {
        return;
    }
    let text = serde_json::to_vec(&spec).unwrap_or_default();
    let mut again = read_config(&text);
    assert_eq!(again.as_ref(), Some(&spec), "what was written is read as it was");
    let refused = again.as_mut().and_then(|spec| check::check(spec).err());
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(again, Some(spec), "what was put into one form stays in it");
}

/// Mount options, with commas between them.
pub fn mount_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<_> = text.split(',').map(ToOwned::to_owned).collect();
    let options = Options::parse(&words);
    for attributes in [options.attributes, options.recursive] {
        let atime = rustix::mount::MountAttrFlags::MOUNT_ATTR__ATIME;
        assert!((attributes.set & (attributes.clear - atime)).is_empty(), "{text:?}: set and cleared");
    }
    for (key, value) in &options.data {
        let known = value.is_none() && NAMES.contains(&key.as_str());
        assert!(!known, "{text:?}: {key} is no file system's own");
        assert!(words.iter().any(|word| word.starts_with(key.as_str())), "{text:?}: {key} was not asked for");
    }
    assert_eq!(options, Options::parse(&words), "{text:?}");
}

/// `linux.resources`: what is written is one line, into a file of the group's own.
pub fn cgroup_values(bytes: &[u8]) {
    let Ok(resources) = serde_json::from_slice::<Resources>(bytes) else { return };
    for swap in [Swap::Refused, Swap::Open] {
        let Ok(settings) = cgroup::settings(&resources, swap) else { continue };
        for setting in settings {
            let otherwise = setting.otherwise.unwrap_or_default();
            for file in [&*setting.file, otherwise.0] {
                assert!(!file.contains(['/', '\0']) && !file.starts_with('.'), "{file:?} of {resources:?}");
            }
            assert!(setting.file.contains('.'), "{:?} of {resources:?}", setting.file);
        }
    }
    // The program has a part a rule: what is looked at is that no rule ends the process.
    _ = Rule::of_bundle(&resources.devices);
}

/// Bytes that choose.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next byte, or 0 at their end.
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// 0 to 7.
    fn small(&mut self) -> u8 {
        self.next() % 8
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next()))
    }

    /// One of `all`, which is not empty.
    fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.next()) % all.len()]
    }
}
