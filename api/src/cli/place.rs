//! Where a daemon has its folders and its socket unless it is told otherwise.

use std::path::PathBuf;

/// The folders of root's daemon, or of another user's, who has them beneath those of the session.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// What outlives the host's restarts.
    pub state: PathBuf,
    /// What does not.
    pub run: PathBuf,
}

impl Place {
    /// This user's.
    pub fn own() -> Self {
        let variable =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if rustix::process::geteuid().is_root() {
            return Self { state: "/var/lib/bulkhead".into(), run: "/run/bulkhead".into() };
        }
        Self::of_user(variable("HOME"), variable("XDG_DATA_HOME"), variable("XDG_RUNTIME_DIR"))
    }

    /// As the XDG Base Directory Specification has it. A session without a folder for its time has it in the other.
    fn of_user(home: Option<PathBuf>, data: Option<PathBuf>, runtime: Option<PathBuf>) -> Self {
        let data = data.or_else(|| Some(home?.join(".local/share")));
        let state = data.unwrap_or_else(|| "/var/lib".into()).join("bulkhead");
        let run = runtime.map_or_else(|| state.join("run"), |runtime| runtime.join("bulkhead"));
        Self { state, run }
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("bulkhead.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_folders_of_their_own() {
        let path = |text: &str| Some(PathBuf::from(text));
        let place = Place::of_user(path("/home/u"), None, path("/run/user/1"));
        assert_eq!(
            place,
            Place { state: "/home/u/.local/share/bulkhead".into(), run: "/run/user/1/bulkhead".into() }
        );
        let place = Place::of_user(path("/home/u"), path("/d"), None);
        assert_eq!(place, Place { state: "/d/bulkhead".into(), run: "/d/bulkhead/run".into() });
        assert_eq!(place.socket(), PathBuf::from("/d/bulkhead/run/bulkhead.sock"));
    }
}
