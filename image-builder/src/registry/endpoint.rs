//! Where a registry's API is.

use std::str::FromStr;

use super::RegistryError;
use crate::http::Origin;
use crate::reference::DEFAULT_REGISTRY;

/// Where the images of Docker's own registry are; its name is that of its pages.
const DOCKER_API: &str = "registry-1.docker.io";

/// A registry's API, or a mirror's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Whose credentials are used; told to people.
    pub host: String,
    /// The address before `/v2/`.
    pub base: String,
    /// Plain HTTP may be spoken.
    pub plain_http: bool,
}

impl Endpoint {
    /// The API of a registry by the name that references have for it.
    pub(super) fn of_registry(host: &str, plain_http: bool) -> Self {
        let scheme = if plain_http { "http" } else { "https" };
        let api = if host == DEFAULT_REGISTRY { DOCKER_API } else { host };
        Self { host: host.to_owned(), base: format!("{scheme}://{api}"), plain_http }
    }
}

/// Who has what a registry has too. Digests are checked, so that a mirror decides about tags and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    registry: String,
    endpoint: Endpoint,
}

impl Mirror {
    /// Whose images it has.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}

impl FromStr for Mirror {
    type Err = RegistryError;

    /// Reads `HOST=URL`.
    fn from_str(words: &str) -> Result<Self, RegistryError> {
        let refused = || RegistryError::Mirror(words.chars().take(200).collect());
        let (registry, address) = words.split_once('=').ok_or_else(refused)?;
        let base = address.trim_end_matches('/');
        let origin = Origin::parse(base).map_err(|_| refused())?;
        let host = base.split('/').nth(2).unwrap_or_default().to_owned();
        if registry.is_empty() || base.contains(['?', '#']) {
            return Err(refused());
        }
        let endpoint = Endpoint { host, base: base.to_owned(), plain_http: !origin.is_encrypted() };
        Ok(Self { registry: registry.to_owned(), endpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read() {
        let mirror: Mirror = "docker.io=http://127.0.0.1:5000/".parse().unwrap();
        assert_eq!(mirror.registry(), "docker.io");
        let endpoint = mirror.endpoint();
        assert_eq!(
            (endpoint.base.as_str(), endpoint.host.as_str()),
            ("http://127.0.0.1:5000", "127.0.0.1:5000")
        );
        assert!(endpoint.plain_http);
        for words in
            ["docker.io", "=https://a", "docker.io=ftp://a", "docker.io=https://u:p@a", "a=https://b?c"]
        {
            assert!(words.parse::<Mirror>().is_err(), "{words}");
        }
    }

    #[test]
    fn dockers_registry_has_another_name_for_its_api() {
        assert_eq!(Endpoint::of_registry("docker.io", false).base, "https://registry-1.docker.io");
        assert_eq!(Endpoint::of_registry("localhost:5000", true).base, "http://localhost:5000");
    }
}
