//! Tokens of sessions: the moment of their end, signed.
//!
//! A token is its end and a code (HMAC-SHA-256, RFC 2104) under a key of this process that nobody is told. So
//! nothing is kept for a token: a guest that asks for millions costs no memory and pushes nobody's token out,
//! which a table would have to. There is nothing secret in it that encryption would hide.

use std::time::{Duration, Instant};

use hmac::Hmac;
use hmac::digest::{KeyInit, Mac};
use sha2::Sha256;

use crate::random;

type Code = Hmac<Sha256>;

/// How long a token may be good for, in seconds; EC2's and Firecracker's limits.
pub const TTL: std::ops::RangeInclusive<u32> = 1..=21_600;

const END_SIZE: usize = 8;
const CODE_SIZE: usize = 32;

/// Makes and checks tokens.
#[derive(Default)]
pub struct Tokens {
    /// Drawn with the first token, and the moment from which ends are counted.
    key: Option<([u8; CODE_SIZE], Instant)>,
}

impl Tokens {
    /// A token for the `ttl` seconds after `now`. None when the host has no random bytes.
    pub fn issue(&mut self, ttl: u32, now: Instant) -> Option<String> {
        if self.key.is_none() {
            let mut key = [0; CODE_SIZE];
            random::fill(&mut key).ok()?;
            self.key = Some((key, now));
        }
        let (key, start) = self.key.as_ref()?;
        let end = now.saturating_duration_since(*start) + Duration::from_secs(ttl.into());
        let end = u64::try_from(end.as_nanos()).ok()?.to_be_bytes();
        let code = code(key, &end)?.finalize().into_bytes();
        Some(end.iter().chain(&code).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether `token` is one of ours and good at `now`.
    pub fn check(&self, token: &str, now: Instant) -> bool {
        self.check_or_none(token, now).is_some()
    }

    fn check_or_none(&self, token: &str, now: Instant) -> Option<()> {
        let (key, start) = self.key.as_ref()?;
        let bytes = decode(token)?;
        let (end, signature) = bytes.split_first_chunk::<END_SIZE>()?;
        // In a time that does not depend on where they differ.
        code(key, end)?.verify_slice(signature).ok()?;
        let end = Duration::from_nanos(u64::from_be_bytes(*end));
        (now.saturating_duration_since(*start) < end).then_some(())
    }
}

fn code(key: &[u8], end: &[u8; END_SIZE]) -> Option<Code> {
    // Keys of every length are taken.
    let mut code = Code::new_from_slice(key).ok()?;
    code.update(end);
    Some(code)
}

/// A token's bytes, from hexadecimal digits.
fn decode(token: &str) -> Option<Vec<u8>> {
    let digits = token.as_bytes();
    if digits.len() != 2 * (END_SIZE + CODE_SIZE) {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_and_only_where_it_was_made() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        assert!(!tokens.check(&"0".repeat(80), now));
        let token = tokens.issue(60, now).unwrap();
        assert!(tokens.check(&token, now));
        assert!(tokens.check(&token, now + Duration::from_millis(59_999)));
        assert!(!tokens.check(&token, now + Duration::from_secs(60)));
        let mut others = Tokens::default();
        others.issue(60, now).unwrap();
        assert!(!others.check(&token, now));
    }

    #[test]
    fn no_digit_of_a_token_may_change() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let token = tokens.issue(60, now).unwrap();
        for index in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[index] = if forged[index] == b'0' { b'1' } else { b'0' };
            assert!(!tokens.check(std::str::from_utf8(&forged).unwrap(), now), "{index}");
        }
        for odd in ["", "x", &token[1..], &format!("{token}0"), &format!("+{}", &token[1..])] {
            assert!(!tokens.check(odd, now), "{odd}");
        }
        assert!(!tokens.check(&format!("é{}", &token[2..]), now));
    }
}
