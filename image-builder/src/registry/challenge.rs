//! What a registry wants before it answers: the header `WWW-Authenticate` (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// A challenge: its scheme in lowercase, and its parameters by their names in lowercase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub scheme: String,
    pub parameters: BTreeMap<String, String>,
}

/// How many challenges and parameters are looked at.
const MAX_WORDS: usize = 64;

/// The challenges of all headers. What is malformed ends its header.
pub(super) fn challenges(headers: &[&str]) -> Vec<Challenge> {
    headers.iter().flat_map(|header| parse(header)).collect()
}

fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    for _ in 0..MAX_WORDS {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        if let Some(after) = after.trim_start_matches([' ', '\t']).strip_prefix('=')
            && let Some(challenge) = found.last_mut()
        {
            let Some((value, after)) = value(after.trim_start_matches([' ', '\t'])) else { break };
            // The first counts: which one a second reader takes is not known.
            challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            rest = after;
        } else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            rest = after;
        }
    }
    found
}

fn token(text: &str) -> (&str, &str) {
    let mark = |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
    let end = text.find(|character| !mark(character)).unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return (!word.is_empty()).then(|| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        let plain = |challenge: Challenge| (challenge.scheme, challenge.parameters.into_iter().collect());
        parse(header).into_iter().map(plain).collect()
    }

    fn words(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn challenges_are_read() {
        let header = r#"Bearer realm="https://a.io/t",service="a b",scope="repository:x:pull,push""#;
        let pairs = [("realm", "https://a.io/t"), ("scope", "repository:x:pull,push"), ("service", "a b")];
        assert_eq!(found(header), [("bearer".to_owned(), words(&pairs))]);
        let two = found(r#"Basic realm="a\"b, Bearer x=1", Negotiate, BEARER Realm=c"#);
        let expected = [
            ("basic".to_owned(), words(&[("realm", "a\"b, Bearer x=1")])),
            ("negotiate".to_owned(), vec![]),
            ("bearer".to_owned(), words(&[("realm", "c")])),
        ];
        assert_eq!(two, expected);
    }

    #[test]
    fn what_is_malformed_ends_the_header() {
        assert_eq!(found(r#"Bearer realm="https://a"#), [("bearer".to_owned(), vec![])]);
        assert_eq!(found("Bearer realm=, service=x"), [("bearer".to_owned(), vec![])]);
        assert_eq!(found("=x"), []);
        assert_eq!(found(""), []);
        let twice = found("Bearer realm=a, realm=b");
        assert_eq!(twice, [("bearer".to_owned(), words(&[("realm", "a")]))]);
        assert!(found(&"a ".repeat(10_000)).len() <= MAX_WORDS);
    }
}
