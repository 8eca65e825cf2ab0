//! What a container may do in its machine: Docker's default set, and what is added and taken away.

use bulkhead_protocol::oci::CAPABILITIES;

use super::RuntimeSpecError;

/// Docker's default set, in the order of [`CAPABILITIES`].
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// Stands for every capability.
const ALL: &str = "ALL";

/// The capabilities of a container, as `CAP_…`: the default set without those of `drop`, with those of `add`. Either
/// names them in any case, with or without `CAP_`, or says `ALL`; what both name is granted, as Docker has it.
pub fn granted(add: &[String], drop: &[String]) -> Result<Vec<String>, RuntimeSpecError> {
    let (add, drop) = (bare(add)?, bare(drop)?);
    let names = |list: &[String], name: &str| list.iter().any(|word| word == name);
    // A capability that is named stands above an `ALL` of the other list.
    let has = |name: &&str| match (names(&add, name), names(&drop, name)) {
        (true, _) => true,
        (false, true) => false,
        (false, false) if names(&add, ALL) => true,
        (false, false) => !names(&drop, ALL) && DEFAULT.contains(name),
    };
    Ok(CAPABILITIES.iter().filter(|name| has(name)).map(|name| format!("CAP_{name}")).collect())
}

fn bare(words: &[String]) -> Result<Vec<String>, RuntimeSpecError> {
    let bare = |word: &String| {
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = name == ALL || CAPABILITIES.contains(&name);
        known.then(|| name.to_owned()).ok_or_else(|| RuntimeSpecError::Capability(word.clone()))
    };
    words.iter().map(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted_by(add: &[&str], drop: &[&str]) -> Vec<String> {
        granted(&super::super::owned(add), &super::super::owned(drop)).unwrap()
    }

    #[test]
    fn the_default_set_is_changed_by_name() {
        let default = granted_by(&[], &[]);
        assert_eq!((default.len(), default[0].as_str()), (14, "CAP_CHOWN"));
        let changed = granted_by(&["net_admin"], &["CAP_CHOWN", "mknod"]);
        assert!(changed.contains(&"CAP_NET_ADMIN".to_owned()));
        assert_eq!(changed.len(), 13);
    }

    #[test]
    fn all_gives_way_to_what_is_named() {
        assert_eq!(granted_by(&[], &["ALL"]), [""; 0]);
        assert_eq!(granted_by(&["kill"], &["all"]), ["CAP_KILL"]);
        let all_but_one = granted_by(&["ALL"], &["SYS_BOOT"]);
        assert_eq!(all_but_one.len(), 40);
        assert!(!all_but_one.contains(&"CAP_SYS_BOOT".to_owned()));
    }

    #[test]
    fn what_is_no_capability_is_named() {
        let error = granted(&["CAP_FLY".to_owned()], &[]).unwrap_err();
        assert_eq!(error.to_string(), "There is no capability \"CAP_FLY\"");
    }
}
