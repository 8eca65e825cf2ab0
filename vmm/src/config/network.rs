//! `network-interfaces`: network devices.

use serde::{Deserialize, Serialize};

use super::{ConfigError, NotYet, check_id, not_yet};

/// Linux's `IFNAMSIZ`, without the terminating zero.
const MAX_NAME: usize = 15;

/// A network device behind a tap of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// Its name.
    pub iface_id: String,
    /// The tap's name.
    pub host_dev_name: String,
    /// `AA:BB:CC:DD:EE:FF`; made from the id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_mac: Option<MacAddress>,
    #[serde(default, skip_serializing)]
    mtu: Option<NotYet>,
    #[serde(default, skip_serializing)]
    rx_rate_limiter: Option<NotYet>,
    #[serde(default, skip_serializing)]
    tx_rate_limiter: Option<NotYet>,
}

impl NetworkInterface {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_id("network interface", &self.iface_id)?;
        let fields = [
            ("mtu", &self.mtu),
            ("rx_rate_limiter", &self.rx_rate_limiter),
            ("tx_rate_limiter", &self.tx_rate_limiter),
        ];
        for (name, value) in fields {
            let field = format!("network-interfaces.{name} (interface {})", self.iface_id);
            not_yet::refuse(&field, value.as_ref())?;
        }
        let name = &self.host_dev_name;
        let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fine) {
            let section = format!("network interface {}", self.iface_id);
            return Err(ConfigError::invalid(section, format!("{name:?} is not an interface's name")));
        }
        Ok(())
    }

    /// The address that the guest's card has: the one asked for, or one made from the id, so that it is
    /// the same at every start.
    pub fn mac(&self) -> [u8; 6] {
        match self.guest_mac {
            Some(MacAddress(mac)) => mac,
            None => {
                // FNV-1a, 64 bit; locally administered, unicast.
                let hash = self.iface_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
                let [a, b, c, d, ..] = hash.to_be_bytes();
                [0x06, 0x00, a, b, c, d]
            }
        }
    }
}

/// An Ethernet address, written with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a MAC address");
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            let digits = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| digits).ok_or_else(refused)?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(mac)) }
    }
}

impl From<MacAddress> for String {
    fn from(MacAddress(mac): MacAddress) -> Self {
        mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}
