//! Where credentials are kept: Docker's `config.json` (docs.docker.com/reference/cli/docker/login), `auth.json` of
//! podman and skopeo (containers-auth.json(5)), and the programs that such files name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, io};

use serde::Deserialize;

use super::credentials::MAX_SECRET;
use super::{Credentials, CredentialsError, credential_program};
use crate::reference::DEFAULT_REGISTRY;

/// Bytes of a file of credentials.
const MAX_FILE: u64 = 1 << 20;

/// Under which name Docker keeps what is for its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// Such a file. Other properties are other programs' business.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CredentialsFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase", default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// The credentials in the files of whoever runs this; none where there is no file or nothing in it for the
/// registry.
pub fn stored_credentials(registry: &str, repository: &str) -> Result<Option<Credentials>, CredentialsError> {
    for path in files() {
        let Some(bytes) = read(&path).map_err(|error| CredentialsError::Read(path.clone(), error))? else {
            continue;
        };
        let found = CredentialsFile::parse(&bytes).and_then(|file| file.lookup(registry, repository));
        if let Some(credentials) = found.map_err(|error| CredentialsError::File(path, Box::new(error)))? {
            return Ok(Some(credentials));
        }
    }
    Ok(None)
}

/// The files in the order of asking.
fn files() -> Vec<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = folder("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let run = folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let docker = folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker")));
    run.into_iter().chain(docker.map(|folder| folder.join("config.json"))).collect()
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match crate::oci::open_file(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file?,
    };
    if file.metadata()?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes)?;
    Ok(Some(bytes))
}

impl CredentialsFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
        // The cause would quote what it stumbled over, which may be a password.
        serde_json::from_slice(bytes).map_err(|_| CredentialsError::Json)
    }

    /// What the file has for a registry: its helper's answer, or an entry for the repository, a path above it, or
    /// the registry.
    pub(super) fn lookup(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let key = if registry == DEFAULT_REGISTRY { DOCKER_KEY } else { registry };
        if let Some(name) = self.cred_helpers.get(registry).or_else(|| self.cred_helpers.get(key)) {
            return credential_program::ask(name, key);
        }
        if !self.creds_store.is_empty()
            && let Some(credentials) = credential_program::ask(&self.creds_store, key)?
        {
            return Ok(Some(credentials));
        }
        self.entry(registry, repository)
    }

    pub(crate) fn entry(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let whole = format!("{registry}/{repository}");
        let ends = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]);
        let paths: Vec<&str> = ends.filter_map(|end| whole.get(..end)).collect();
        let entry = paths.iter().rev().find_map(|path| {
            self.auths.iter().find(|(key, _)| host_and_path(key, registry) == *path).map(|(_, entry)| entry)
        });
        match entry {
            Some(Entry { identitytoken, .. }) if !identitytoken.is_empty() => {
                match identitytoken.len() > MAX_SECRET {
                    true => Err(CredentialsError::Words),
                    false => Ok(Some(Credentials::IdentityToken(identitytoken.clone()))),
                }
            }
            Some(Entry { auth, .. }) if !auth.is_empty() => Credentials::encoded(auth).map(Some),
            Some(Entry { username, password, .. }) if !username.is_empty() => {
                Credentials::basic(username, password).map(Some)
            }
            // Docker leaves an empty entry where a helper keeps the secret.
            _ => Ok(None),
        }
    }
}

/// What an entry's key means: old ones are addresses, `https://HOST/v1/`.
fn host_and_path<'k>(key: &'k str, registry: &'k str) -> &'k str {
    if registry == DEFAULT_REGISTRY && key == DOCKER_KEY {
        return registry;
    }
    match key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) {
        Some(address) => address.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(file: &str, registry: &str, repository: &str) -> Option<Credentials> {
        CredentialsFile::parse(file.as_bytes()).unwrap().lookup(registry, repository).unwrap()
    }

    fn basic(user: &str) -> Option<Credentials> {
        Some(Credentials::basic(user, "p").unwrap())
    }

    #[test]
    fn the_nearest_entry_counts() {
        // YTpw is a:p, and so on.
        let file = r#"{"auths": {"r.io": {"auth": "YTpw"}, "r.io/team": {"auth": "Yjpw"}, "other.io": {},
            "https://old.io/v1/": {"username": "o", "password": "p"},
            "https://index.docker.io/v1/": {"auth": "ZDpw"}, "t.io": {"identitytoken": "T"}}, "psFormat": 1}"#;
        assert_eq!(lookup(file, "r.io", "x"), basic("a"));
        assert_eq!(lookup(file, "r.io", "team/x"), basic("b"));
        assert_eq!(lookup(file, "r.io", "teams/x"), basic("a"));
        assert_eq!(lookup(file, "r.io.evil", "x"), None);
        assert_eq!(lookup(file, "other.io", "x"), None);
        assert_eq!(lookup(file, "old.io", "x"), basic("o"));
        assert_eq!(lookup(file, "docker.io", "library/redis"), basic("d"));
        assert_eq!(lookup(file, "t.io", "x"), Some(Credentials::IdentityToken("T".to_owned())));
    }

    #[test]
    fn what_cannot_be_read_is_not_told() {
        let error = CredentialsFile::parse(br#"{"auths": {"r.io": "hunter2"}}"#).err().unwrap();
        assert!(!error.to_string().contains("hunter2"));
        let bad = CredentialsFile::parse(br#"{"auths": {"r.io": {"auth": "hunter2!"}}}"#).unwrap();
        assert!(!bad.lookup("r.io", "x").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_helper_is_a_name_and_no_path() {
        for name in ["../../tmp/evil", "a/b", "", "a b", "-x"] {
            let file = format!(r#"{{"credHelpers": {{"r.io": {name:?}}}}}"#);
            let asked = CredentialsFile::parse(file.as_bytes()).unwrap().lookup("r.io", "x");
            assert!(matches!(asked, Err(CredentialsError::HelperName(_))), "{name}: {asked:?}");
        }
    }
}
