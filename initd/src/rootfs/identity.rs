//! Who a container's process is: an image's `USER` looked up in the container's own files.
//!
//! The C library's lookups would load code from the container; these read bounded text and nothing else.

use bulkhead_protocol::oci::User;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::beneath::{Beneath, Links};
use crate::bounded;
use crate::isolation::user_namespace::Maps;

/// The longest /etc/passwd or /etc/group that is read, in bytes.
const MAX_FILE: i64 = 1 << 20;

/// A process's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, `gid` not necessarily among them.
    pub groups: Vec<u32>,
    /// The home folder that /etc/passwd names.
    pub home: Option<String>,
}

/// What goes wrong with a user.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is unreadable.
    #[error("Cannot read the container's {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than allowed, or no file.
    #[error("The container's {0} is not a file of at most {MAX_FILE} bytes")]
    Unfit(&'static str),
    /// The container does not know the user.
    #[error("The container's /etc/passwd has no user {0}")]
    NoUser(String),
    /// The container does not know the group.
    #[error("The container's /etc/group has no group {0}")]
    NoGroup(String),
    /// The container's user namespace has no such id.
    #[error("The container's user namespace does not map {0} {1}")]
    Unmapped(&'static str, u32),
}

impl IdentityError {
    /// Whether another specification or image would have helped.
    pub fn by_caller(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

impl Identity {
    /// Says which of the ids cannot be taken on in a user namespace.
    pub fn check(&self, maps: &Maps) -> Result<(), IdentityError> {
        if maps.uid(self.uid).is_none() {
            return Err(IdentityError::Unmapped("user", self.uid));
        }
        let mut groups = [self.gid].into_iter().chain(self.groups.iter().copied());
        match groups.find(|gid| maps.gid(*gid).is_none()) {
            Some(gid) => Err(IdentityError::Unmapped("group", gid)),
            None => Ok(()),
        }
    }
}

/// Looks the user up below `root`. Numbers need no entry anywhere.
/// With `home_is_known` nobody asks for the home folder, and numbers need no file.
pub fn resolve(root: &Beneath, user: &User, home_is_known: bool) -> Result<Identity, IdentityError> {
    let named = user.username.as_deref().is_some_and(|name| !name.is_empty());
    let passwd = if named || !home_is_known { read(root, "/etc/passwd")? } else { String::new() };
    match user.username.as_deref().filter(|name| !name.is_empty()) {
        Some(words) => by_words(&passwd, &read(root, "/etc/group")?, words, &user.additional_gids),
        None => {
            let home = user_by_id(&passwd, user.uid).map(|entry| entry.home);
            Ok(Identity { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone(), home })
        }
    }
}

/// `USER` as image configurations write it: `user`, `user:group`, each by name or number.
fn by_words(passwd: &str, group: &str, words: &str, more: &[u32]) -> Result<Identity, IdentityError> {
    let (user, wanted_group) = match words.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (words, None),
    };
    let entry = match number(user) {
        Some(uid) => user_by_id(passwd, uid),
        None => users(passwd).find(|entry| entry.name == user),
    };
    let uid = entry.as_ref().map(|entry| entry.uid).or_else(|| number(user));
    let uid = match (uid, user) {
        (Some(uid), _) => uid,
        (None, "") => 0,
        (None, name) => return Err(IdentityError::NoUser(name.to_owned())),
    };
    let mut groups = more.to_vec();
    let gid = match wanted_group {
        Some(name) => group_id(group, name).ok_or_else(|| IdentityError::NoGroup(name.to_owned()))?,
        None => {
            if let Some(entry) = &entry {
                groups.extend(memberships(group, &entry.name));
            }
            entry.as_ref().map_or(0, |entry| entry.gid)
        }
    };
    Ok(Identity { uid, gid, groups, home: entry.map(|entry| entry.home) })
}

struct UserEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn users(passwd: &str) -> impl Iterator<Item = UserEntry> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(UserEntry { name: name.into(), uid: number(uid)?, gid: number(gid)?, home: home.into() })
    })
}

fn user_by_id(passwd: &str, uid: u32) -> Option<UserEntry> {
    users(passwd).find(|entry| entry.uid == uid)
}

/// Name, id and members of every group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, number(gid)?, fields.next().unwrap_or("")))
    })
}

fn group_id(group: &str, name: &str) -> Option<u32> {
    number(name).or_else(|| groups(group).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid))
}

fn memberships<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    let member = move |members: &str| members.split(',').any(|name| name == user);
    groups(group).filter(move |(_, _, members)| member(members)).map(|(_, gid, _)| gid)
}

/// A plain decimal id. The kernel's highest one means "no id".
fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| plain && *id != u32::MAX)
}

fn read(root: &Beneath, path: &'static str) -> Result<String, IdentityError> {
    let failed = |error: Errno| IdentityError::Read { path, source: error.into() };
    // Not blocking: the image may have put a named pipe there.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match root.open(path, flags, Links::Follow) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(failed(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(IdentityError::Unfit(path));
    }
    if stat.st_size > MAX_FILE {
        return Err(IdentityError::Unfit(path));
    }
    let bytes = bounded::read(file, MAX_FILE.unsigned_abs() as usize)
        .map_err(|source| IdentityError::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
