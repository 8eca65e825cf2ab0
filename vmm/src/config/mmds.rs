//! `mmds-config`: how guests reach the metadata service.

use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, Serialize};

use super::{ConfigError, MachineSpec};

/// Where guests look for metadata: the address of EC2's service.
const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// How guests ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MmdsVersion {
    /// A request gets its answer. Deprecated by Firecracker.
    #[default]
    V1,
    /// Only within a session: a token first.
    V2,
}

/// Who may reach the metadata service, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MmdsConfig {
    /// How guests ask.
    #[serde(default)]
    pub version: MmdsVersion,
    /// The ids of the interfaces through which they do.
    pub network_interfaces: Vec<String>,
    /// The service's address there, 169.254.1.0 to 169.254.254.255; 169.254.169.254 when absent.
    #[serde(default = "usual_address", deserialize_with = "address_or_null")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ipv4_address: Ipv4Addr,
    /// Answer in EC2's format whatever the guest accepts.
    #[serde(default)]
    pub imds_compat: bool,
}

fn usual_address() -> Ipv4Addr {
    DEFAULT_ADDRESS
}

/// Null is nothing said, as in Firecracker.
fn address_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ipv4Addr, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(DEFAULT_ADDRESS))
}

impl MachineSpec {
    /// Takes another way to the metadata service, through interfaces that there are.
    pub fn set_mmds_config(&mut self, config: MmdsConfig) -> Result<(), ConfigError> {
        let refused = |message: String| Err(ConfigError::invalid("mmds-config", message));
        let address = config.ipv4_address;
        // RFC 3927 section 2.1 reserves the first and the last 256 addresses.
        if !address.is_link_local() || matches!(address.octets(), [_, _, 0 | 255, _]) {
            return refused(format!("ipv4_address {address} is not a link-local address"));
        }
        if config.network_interfaces.is_empty() {
            return refused("network_interfaces is empty".into());
        }
        let known = |id: &String| self.network_interfaces.iter().any(|interface| &interface.iface_id == id);
        if let Some(id) = config.network_interfaces.iter().find(|id| !known(id)) {
            return refused(format!("there is no network interface {id:?}"));
        }
        self.mmds_config = Some(config);
        Ok(())
    }
}
