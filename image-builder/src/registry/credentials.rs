//! Who somebody is at a registry. None of it is ever printed.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::CredentialsError;
use crate::http::Authorization;

/// Bytes of a name, a password or a token.
pub(super) const MAX_SECRET: usize = 16 << 10;

/// Credentials for one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password, or what stands for one.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// What a registry's token server takes for a name and a password.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(secret)")
    }
}

impl FromStr for Credentials {
    type Err = CredentialsError;

    /// Reads `USER:PASSWORD`.
    fn from_str(words: &str) -> Result<Self, CredentialsError> {
        let (user, password) = words.split_once(':').ok_or(CredentialsError::Words)?;
        Self::basic(user, password)
    }
}

impl Credentials {
    pub(super) fn basic(user: &str, password: &str) -> Result<Self, CredentialsError> {
        let control = |words: &str| words.bytes().any(|byte| byte.is_ascii_control());
        match user.is_empty()
            || user.contains(':')
            || control(user)
            || control(password)
            || long(user, password)
        {
            true => Err(CredentialsError::Words),
            false => Ok(Self::Basic { user: user.to_owned(), password: password.to_owned() }),
        }
    }

    /// Reads the base64 of `USER:PASSWORD`.
    pub(super) fn encoded(words: &str) -> Result<Self, CredentialsError> {
        let bytes = STANDARD.decode(words).map_err(|_| CredentialsError::Words)?;
        // Docker ends passwords with a NUL sometimes.
        String::from_utf8(bytes).map_err(|_| CredentialsError::Words)?.trim_end_matches('\0').parse()
    }

    /// The header for who asks with a name and a password.
    pub(super) fn authorization(&self) -> Option<Authorization> {
        match self {
            Self::Basic { user, password } => {
                let words = STANDARD.encode(format!("{user}:{password}"));
                Some(Authorization::new(format!("Basic {words}")))
            }
            Self::IdentityToken(_) => None,
        }
    }
}

fn long(user: &str, password: &str) -> bool {
    user.len() > MAX_SECRET || password.len() > MAX_SECRET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_not_told() {
        let credentials: Credentials = "me:pass:word".parse().unwrap();
        assert_eq!(Credentials::encoded("bWU6cGFzczp3b3Jk").unwrap(), credentials);
        assert!(!format!("{credentials:?}").contains("pass"));
        for words in ["me", ":x", "me:a\nb", "me\0:b"] {
            let error = words.parse::<Credentials>().unwrap_err().to_string();
            assert!(!error.contains("me:"), "{error}");
        }
        assert!(Credentials::encoded("not base64!").is_err());
    }
}
