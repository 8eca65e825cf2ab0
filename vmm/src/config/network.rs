//! `network-interfaces`: network devices.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ConfigError, MachineSpec, RateLimiter, check_id};

/// Linux's `IFNAMSIZ`, without the terminating zero.
const MAX_NAME: usize = 15;
/// Linux's `ETH_MIN_MTU`, what IPv4 needs (RFC 791).
const MIN_MTU: u16 = 68;

/// Linux's `sockaddr_un`, without the terminating zero.
const MAX_PATH: usize = 107;

/// The most pairs of queues: one a processor.
const MAX_QUEUES: u8 = 32;

/// Why limits and vhost exclude each other.
const NO_LIMITS: &str = "vhost takes no rate limiter, since the host's kernel moves its frames";

/// What a network device is behind. An addition to Firecracker's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NetworkBackend {
    /// A tap of the host.
    #[default]
    Tap,
    /// A process of passt, which needs no privilege.
    Passt,
}

impl NetworkBackend {
    /// Firecracker's only one, of which it does not speak.
    fn is_tap(&self) -> bool {
        *self == Self::Tap
    }
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkInterface {
    /// Its name.
    pub iface_id: String,
    /// The tap's name; with passt, the path of its Unix stream socket.
    pub host_dev_name: String,
    /// What `host_dev_name` names.
    #[serde(default, skip_serializing_if = "NetworkBackend::is_tap")]
    pub backend: NetworkBackend,
    /// `AA:BB:CC:DD:EE:FF`; made from the id when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub guest_mac: Option<MacAddress>,
    /// The longest packet, in bytes, that the guest's driver is told to send; its own choice when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 68, maximum = 65535))]
    pub mtu: Option<u16>,
    /// How many pairs of queues it has, each with a thread; one when absent. No more than there are processors, and
    /// for a tap alone, which must have been made for several. An addition to Firecracker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 32))]
    pub queues: Option<u8>,
    /// Whether the host's kernel serves the queues (`/dev/vhost-net`), for a tap alone: without limits, without the
    /// metadata service, and frames are not counted. An addition to Firecracker's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub vhost: bool,
    /// How much the guest may receive.
    #[serde(default)]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// How much the guest may send.
    #[serde(default)]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// What may change in a network device while the guest runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PartialNetworkInterface))]
pub struct NetworkInterfaceChange {
    /// Which one.
    pub iface_id: String,
    /// The buckets that change of what the guest may receive.
    #[serde(default)]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// The buckets that change of what the guest may send.
    #[serde(default)]
    pub tx_rate_limiter: Option<RateLimiter>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl NetworkInterface {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_id("network interface", &self.iface_id)?;
        let section = || format!("network interface {}", self.iface_id);
        self.check_host().map_err(|message| ConfigError::invalid(section(), message))?;
        if !(1..=MAX_QUEUES).contains(&self.pairs()) {
            return Err(ConfigError::invalid(
                section(),
                format!("queues is {}, not 1 to {MAX_QUEUES}", self.pairs()),
            ));
        }
        if self.pairs() > 1 && self.backend == NetworkBackend::Passt {
            return Err(ConfigError::invalid(section(), "passt has one pair of queues"));
        }
        if self.vhost {
            self.check_vhost().map_err(|message| ConfigError::invalid(section(), message))?;
        }
        if let Some(mtu) = self.mtu
            && mtu < MIN_MTU
        {
            return Err(ConfigError::invalid(
                section(),
                format!("mtu is {mtu}, not {MIN_MTU} to {}", u16::MAX),
            ));
        }
        Ok(())
    }

    fn check_host(&self) -> Result<(), String> {
        let name = &self.host_dev_name;
        let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        match self.backend {
            NetworkBackend::Tap if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fine) => {
                Err(format!("{name:?} is not an interface's name"))
            }
            NetworkBackend::Passt if name.is_empty() || name.len() > MAX_PATH || name.contains('\0') => {
                Err(format!("{name:?} is not a socket's path of 1 to {MAX_PATH} bytes"))
            }
            _ => Ok(()),
        }
    }

    fn check_vhost(&self) -> Result<(), &'static str> {
        if self.backend == NetworkBackend::Passt {
            Err("vhost is for a tap, and not for passt")
        } else if self.rx_rate_limiter.is_some() || self.tx_rate_limiter.is_some() {
            Err(NO_LIMITS)
        } else {
            Ok(())
        }
    }

    /// How many pairs of queues it has.
    pub fn pairs(&self) -> u8 {
        self.queues.unwrap_or(1)
    }

    /// Where passt listens.
    pub fn socket(&self) -> &Path {
        Path::new(&self.host_dev_name)
    }

    /// Takes over what `change` names.
    fn update(&mut self, change: &NetworkInterfaceChange) -> Result<(), &'static str> {
        if self.vhost && (change.rx_rate_limiter.is_some() || change.tx_rate_limiter.is_some()) {
            return Err(NO_LIMITS);
        }
        let limits = [
            (&mut self.rx_rate_limiter, &change.rx_rate_limiter),
            (&mut self.tx_rate_limiter, &change.tx_rate_limiter),
        ];
        for (limits, change) in limits {
            if let Some(change) = change {
                limits.get_or_insert_default().update(change);
            }
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

impl MachineSpec {
    /// Takes over what changed in a network device.
    pub fn update_network_interface(&mut self, change: &NetworkInterfaceChange) -> Result<(), ConfigError> {
        let found = self.network_interfaces.iter_mut().find(|one| one.iface_id == change.iface_id);
        let Some(interface) = found else {
            let section = format!("network interface {}", change.iface_id);
            return Err(ConfigError::invalid(section, "there is none with this id"));
        };
        interface.update(change).map_err(|message| {
            ConfigError::invalid(format!("network interface {}", change.iface_id), message)
        })
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
