//! The words of the kernel's command line that are meant for us.

use std::io;
use std::net::Ipv4Addr;

use bulkhead_protocol::boot::{HOSTNAME, MODE, NET};

/// The most interfaces that a guest may have.
const MAX_NETWORKS: usize = 16;

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cmdline {
    /// Serve and start nothing unasked.
    pub agent_only: bool,
    /// The guest's host name.
    pub hostname: Option<String>,
    /// Interfaces.
    pub networks: Vec<NetworkSpec>,
}

/// One `bulkhead.net=` word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The interface's hardware address.
    pub mac: [u8; 6],
    /// The address it gets.
    pub address: Ipv4Addr,
    /// The network's prefix length, 0 to 32.
    pub prefix: u8,
    /// Where the default route leads.
    pub gateway: Option<Ipv4Addr>,
    /// Who resolves names.
    pub resolver: Option<Ipv4Addr>,
}

/// What can be wrong with the command line.
#[derive(Debug, thiserror::Error)]
pub enum CmdlineError {
    /// `/proc/cmdline` is unreadable.
    #[error("Cannot read /proc/cmdline")]
    Read(#[source] io::Error),
    /// A value that its word does not have.
    #[error("The word {word} has no such value; {expected}")]
    Value {
        /// The whole word.
        word: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// More interfaces than there can be.
    #[error("There are more than {MAX_NETWORKS} words {NET}=")]
    TooManyNetworks,
}

impl Cmdline {
    /// Reads `/proc/cmdline`.
    pub fn read() -> Result<Self, CmdlineError> {
        let text = std::fs::read("/proc/cmdline").map_err(CmdlineError::Read)?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// Understands a command line. Words of others are none of our business.
    pub fn parse(text: &str) -> Result<Self, CmdlineError> {
        let mut cmdline = Self::default();
        for word in text.split_ascii_whitespace() {
            let Some((name, value)) = word.split_once('=') else { continue };
            let wrong = |expected| CmdlineError::Value { word: word.to_owned(), expected };
            match name {
                MODE if value == "agent" => cmdline.agent_only = true,
                MODE => return Err(wrong("it is `agent` or absent")),
                HOSTNAME if is_hostname(value) => cmdline.hostname = Some(value.to_owned()),
                HOSTNAME => return Err(wrong("a host name is 1 to 64 of a-z, A-Z, 0-9, `-` and `.`")),
                NET if cmdline.networks.len() == MAX_NETWORKS => return Err(CmdlineError::TooManyNetworks),
                NET => {
                    let network = NetworkSpec::parse(value);
                    let network =
                        network.ok_or_else(|| wrong("it is MAC,ADDRESS/PREFIX,GATEWAY,RESOLVER"))?;
                    cmdline.networks.push(network);
                }
                _ => {}
            }
        }
        Ok(cmdline)
    }
}

impl NetworkSpec {
    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(',');
        let mac = parse_mac(parts.next()?)?;
        let (address, prefix) = parts.next()?.split_once('/')?;
        let gateway = parse_optional(parts.next()?)?;
        let resolver = parse_optional(parts.next()?)?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let complete = parts.next().is_none();
        complete.then_some(Self { mac, address: address.parse().ok()?, prefix, gateway, resolver })
    }
}

/// `None` where the text is wrong, `Some(None)` where it is empty.
fn parse_optional(text: &str) -> Option<Option<Ipv4Addr>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

/// Six bytes, two hexadecimal digits each, with colons.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// A name that `sethostname` and `/etc/hosts` both can carry.
pub fn is_hostname(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && !name.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_understood_and_others_passed_over() {
        let text = "console=ttyS0 quiet bulkhead.mode=agent bulkhead.hostname=web-1 \
                    bulkhead.net=06:00:00:00:00:0a,172.30.0.2/24,172.30.0.1,9.9.9.9 \
                    bulkhead.net=06:00:00:00:00:0b,10.0.0.2/8,, -- extra\n";
        let cmdline = Cmdline::parse(text).unwrap();
        assert!(cmdline.agent_only);
        assert_eq!(cmdline.hostname.as_deref(), Some("web-1"));
        assert_eq!(cmdline.networks.len(), 2);
        assert_eq!(cmdline.networks[0].mac, [6, 0, 0, 0, 0, 10]);
        assert_eq!(cmdline.networks[0].gateway, Some(Ipv4Addr::new(172, 30, 0, 1)));
        assert_eq!(cmdline.networks[1].gateway, None);
        assert_eq!(cmdline.networks[1].prefix, 8);
    }

    #[test]
    fn nothing_said_is_nothing_set() {
        assert_eq!(Cmdline::parse("").unwrap(), Cmdline::default());
    }

    #[test]
    fn wrong_words_are_named() {
        for word in [
            "bulkhead.mode=other",
            "bulkhead.hostname=",
            "bulkhead.hostname=a/b",
            "bulkhead.net=",
            "bulkhead.net=06:00:00:00:00:0a,172.30.0.2,172.30.0.1,",
            "bulkhead.net=06:00:00:00:00:0a,172.30.0.2/33,,",
            "bulkhead.net=06:00:00:00:00,172.30.0.2/24,,",
            "bulkhead.net=06:00:00:00:00:0a:0b,172.30.0.2/24,,",
            "bulkhead.net=+6:00:00:00:00:0a,172.30.0.2/24,,",
            "bulkhead.net=06:00:00:00:00:0a,172.30.0.2/24,,,",
            "bulkhead.net=06:00:00:00:00:0a,172.30.0.2/24,gateway,",
        ] {
            let error = Cmdline::parse(word).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let many = "bulkhead.net=06:00:00:00:00:0a,172.30.0.2/24,, ".repeat(17);
        assert!(matches!(Cmdline::parse(&many), Err(CmdlineError::TooManyNetworks)));
    }
}
