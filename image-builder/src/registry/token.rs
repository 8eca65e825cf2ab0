//! Tokens (distribution.github.io/distribution/spec/auth/token and …/oauth): a registry names a realm, which gives
//! tokens for what is asked of the registry, to everybody or for credentials.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::MAX_SECRET;
use super::{Credentials, RegistryError};
use crate::http::{Authorization, Body, Client, Method, Origin, Request};

/// Bytes of a token server's answer.
const MAX_ANSWER: u64 = 128 << 10;

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Who asks whom for what.
pub(super) struct TokenRequest<'q> {
    /// Who named the realm; told to people.
    pub registry: &'q str,
    /// Plain HTTP was allowed for the registry.
    pub plain_http: bool,
    /// `repository:NAME:pull`, with `,push` maybe; several with spaces between them.
    pub scope: &'q str,
    pub credentials: Option<&'q Credentials>,
}

/// What answers a registry's challenges: a token, or name and password as they are.
pub(super) fn answer(
    client: &Client,
    challenges: &[Challenge],
    request: &TokenRequest<'_>,
) -> Result<Option<Authorization>, RegistryError> {
    if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        return fetch(client, &bearer.parameters, request).map(Some);
    }
    let refused = |what| RegistryError::Challenge(request.registry.to_owned(), what);
    match challenges.iter().any(|challenge| challenge.scheme == "basic") {
        true => Ok(request.credentials.and_then(Credentials::authorization)),
        false => Err(refused("neither by Bearer nor by Basic")),
    }
}

fn fetch(
    client: &Client,
    parameters: &BTreeMap<String, String>,
    request: &TokenRequest<'_>,
) -> Result<Authorization, RegistryError> {
    let refused = |what| RegistryError::Challenge(request.registry.to_owned(), what);
    let realm = parameters.get("realm").ok_or_else(|| refused("it names no realm"))?;
    let origin = Origin::parse(realm).map_err(|_| refused("its realm is no address"))?;
    if !origin.is_encrypted() && !request.plain_http {
        return Err(refused("its realm is not encrypted"));
    }
    if realm.contains('#') {
        return Err(refused("its realm is no address"));
    }
    let service = parameters.get("service").map_or("", String::as_str);
    let scope = ("scope", request.scope);
    let response = match request.credentials {
        Some(Credentials::IdentityToken(token)) => {
            let form = form(&[
                ("grant_type", "refresh_token"),
                ("service", service),
                scope,
                ("client_id", "bulkhead"),
                ("refresh_token", token),
            ]);
            let post = Request::new(Method::Post, realm)
                .header("content-type", "application/x-www-form-urlencoded")
                .plain_http(request.plain_http)
                .body(Body::Bytes(form.as_bytes()));
            client.send(post)?
        }
        credentials => {
            let joint = if realm.contains('?') { '&' } else { '?' };
            let address = format!("{realm}{joint}{}", form(&[("service", service), scope]));
            let authorization = credentials.and_then(Credentials::authorization);
            let get = Request::new(Method::Get, address);
            client.send(get.plain_http(request.plain_http).authorization(authorization))?
        }
    };
    let status = response.status();
    if matches!(status, 401 | 403) {
        let (registry, what) = (request.registry.to_owned(), format!("a token for {}", request.scope));
        return Err(RegistryError::Denied { registry, what, status, code: String::new() });
    }
    let bytes = response.expect(&[200])?.document(MAX_ANSWER)?;
    let unusable = || RegistryError::Token(request.registry.to_owned());
    // The cause would quote the token.
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| unusable())?;
    let token = answer.token.or(answer.access_token).ok_or_else(unusable)?;
    match !token.is_empty() && token.len() <= MAX_SECRET && token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        true => Ok(Authorization::new(format!("Bearer {token}"))),
        false => Err(unusable()),
    }
}

/// `application/x-www-form-urlencoded`; a query is the same. Empty values are left out.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let escaped = |words: &str| -> String {
        let byte = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        words.bytes().map(byte).collect()
    };
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::super::challenge::challenges;
    use super::*;
    use crate::http::HttpOptions;

    fn refusal(header: &str) -> String {
        let client = Client::new(HttpOptions::default()).unwrap();
        let credentials = Credentials::IdentityToken("secret".to_owned());
        let request = TokenRequest {
            registry: "r.io",
            plain_http: false,
            scope: "repository:x:pull",
            credentials: Some(&credentials),
        };
        answer(&client, &challenges(&[header]), &request).unwrap_err().to_string()
    }

    #[test]
    fn realms_that_could_leak_credentials_are_refused_before_they_are_asked() {
        for (header, why) in [
            (r#"Bearer realm="http://r.io/token""#, "not encrypted"),
            (r#"Bearer realm="file:///etc/passwd""#, "no address"),
            (r#"Bearer realm="https://user:password@r.io/""#, "no address"),
            ("Bearer service=x", "no realm"),
            ("Digest realm=x", "neither by Bearer nor by Basic"),
            ("", "neither by Bearer nor by Basic"),
        ] {
            let refusal = refusal(header);
            assert!(refusal.contains(why) && !refusal.contains("secret"), "{header}: {refusal}");
        }
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(form(&[("a", "x y&z=/é"), ("b", ""), ("c", "~")]), "a=x%20y%26z%3D%2F%C3%A9&c=~");
    }
}
