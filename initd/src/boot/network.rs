//! Gives the guest's interfaces the addresses that the host named.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use super::cmdline::{NetworkSpec, parse_mac};
use super::netlink::{LOOPBACK, Netlink};

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel's routing socket is not to be had.
    #[error("Cannot speak with the kernel's routing tables")]
    Netlink(#[source] io::Error),
    /// The list of interfaces is unreadable.
    #[error("Cannot list the network interfaces")]
    List(#[source] io::Error),
    /// The interface that the command line names is not there.
    #[error("No network interface has the address {0}")]
    Missing(String),
    /// A step failed.
    #[error("Cannot {step} on {interface}")]
    Step {
        /// The step.
        step: String,
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
}

/// Sets up the loopback and every named interface; returns the resolvers.
pub fn set_up(networks: &[NetworkSpec]) -> Result<Vec<Ipv4Addr>, NetworkError> {
    let netlink = Netlink::open().map_err(NetworkError::Netlink)?;
    let failed = |step: String, interface: &str| {
        let interface = interface.to_owned();
        move |source| NetworkError::Step { step, interface, source }
    };
    netlink.link_up(LOOPBACK).map_err(failed("bring the link up".into(), "lo"))?;
    // As container engines do: a process without privileges may serve on ports below 1024.
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let interfaces = interfaces().map_err(NetworkError::List)?;
    let mut resolvers = Vec::new();
    for network in networks {
        let found = interfaces.iter().find(|interface| interface.mac == network.mac);
        let Interface { name, index, .. } = found.ok_or_else(|| NetworkError::Missing(show(network.mac)))?;
        netlink.link_up(*index).map_err(failed("bring the link up".into(), name))?;
        let address = network.address;
        netlink
            .add_address(*index, address, network.prefix)
            .map_err(failed(format!("set the address {address}/{}", network.prefix), name))?;
        if let Some(gateway) = network.gateway {
            netlink
                .add_default_route(*index, gateway)
                .map_err(failed(format!("set the default route by {gateway}"), name))?;
        }
        resolvers.extend(network.resolver);
    }
    Ok(resolvers)
}

struct Interface {
    name: String,
    index: u32,
    mac: [u8; 6],
}

fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        let read = |file| fs::read_to_string(entry.path().join(file)).ok();
        let mac = read("address").and_then(|text| parse_mac(text.trim()));
        let index = read("ifindex").and_then(|text| text.trim().parse().ok());
        if let (Some(mac), Some(index)) = (mac, index) {
            found.push(Interface { name: entry.file_name().to_string_lossy().into_owned(), index, mac });
        }
    }
    Ok(found)
}

fn show(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
