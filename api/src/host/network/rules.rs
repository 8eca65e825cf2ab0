//! The firewall: two tables of our own, written as a whole in one transaction whenever something changes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::{BRIDGE, Endpoint, Subnet, TAP_PREFIX};
use crate::host::HostError;

/// A TCP port of the host that leads to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// One address of the host, or all.
    pub host_ip: Option<Ipv4Addr>,
    /// The host's port.
    pub host_port: u16,
    /// The machine's port.
    pub guest_port: u16,
}

impl Published {
    /// Both cannot be published at once.
    pub fn collides(&self, other: &Self) -> bool {
        let any = |ip: Option<Ipv4Addr>| ip.is_none_or(|ip| ip.is_unspecified());
        self.host_port == other.host_port
            && (any(self.host_ip) || any(other.host_ip) || self.host_ip == other.host_ip)
    }
}

/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both tables for these machines. `forwarding` are the interfaces that forward because of us.
pub fn render<'a>(
    subnet: Subnet,
    endpoints: impl Iterator<Item = &'a Endpoint> + Clone,
    forwarding: &[String],
) -> String {
    let mut script = String::from(REMOVAL);
    // Writing to a string cannot fail.
    let _ = write!(
        script,
        "table ip bulkhead {{
  set live {{ type ipv4_addr{live} }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    # With route_localnet on the bridge nobody else may speak to 127.0.0.0/8 (CVE-2020-8558).
    iifname != \"lo\" ip daddr 127.0.0.0/8 drop
    iifname != \"lo\" ip saddr 127.0.0.0/8 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump publish
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump publish
  }}
  chain publish {{
{publish}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname \"{BRIDGE}\" ip saddr 127.0.0.0/8 masquerade
    oifname \"{BRIDGE}\" ip saddr {subnet} ct status dnat masquerade
    oifname != \"{BRIDGE}\" ip saddr {subnet} masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
{foreign}    iifname \"{BRIDGE}\" oifname \"{BRIDGE}\" ip daddr @live accept
    oifname \"{BRIDGE}\" ip daddr != @live jump dead
    oifname \"{BRIDGE}\" ct state established,related accept
    oifname \"{BRIDGE}\" ct status dnat accept
    oifname \"{BRIDGE}\" drop
  }}
  chain local {{
    type filter hook output priority filter; policy accept;
    oifname \"{BRIDGE}\" ip daddr != {gateway} ip daddr != @live jump dead
  }}
  chain dead {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type host-unreachable
  }}
}}
table bridge bulkhead {{
  chain ingress {{
    type filter hook prerouting priority -300; policy accept;
    iifname \"{TAP_PREFIX}*\" jump guard
  }}
  chain guard {{
{guard}    drop
  }}
}}
",
        live = live(endpoints.clone()),
        publish = publish(endpoints.clone()),
        foreign = foreign(forwarding),
        gateway = subnet.gateway(),
        guard = guard(endpoints),
    );
    script
}

/// Makes both tables, so that their removal cannot fail, and removes them.
const REMOVAL: &str = "table ip bulkhead {}\ndelete table ip bulkhead\n\
                       table bridge bulkhead {}\ndelete table bridge bulkhead\n";

fn live<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> String {
    let addresses: Vec<String> = endpoints.map(|endpoint| endpoint.address.to_string()).collect();
    if addresses.is_empty() { String::new() } else { format!("; elements = {{ {} }}", addresses.join(", ")) }
}

fn publish<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> String {
    let mut rules = String::new();
    for endpoint in endpoints {
        for port in &endpoint.ports {
            let target = match port.host_ip {
                Some(ip) if !ip.is_unspecified() => format!("ip daddr {ip}"),
                _ => "fib daddr type local".to_owned(),
            };
            let _ = writeln!(
                rules,
                "    {target} tcp dport {} dnat to {}:{}",
                port.host_port, endpoint.address, port.guest_port
            );
        }
    }
    rules
}

/// Interfaces that would not forward without us go on not to forward to others.
fn foreign(forwarding: &[String]) -> String {
    let mut rules = String::new();
    for name in forwarding {
        let _ = writeln!(rules, "    iifname \"{name}\" oifname != \"{BRIDGE}\" drop");
    }
    rules
}

/// A machine speaks with its own MAC and IPv4 address only, and nothing but ARP and IPv4.
fn guard<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> String {
    let mut rules = String::new();
    for Endpoint { tap, mac, address, .. } in endpoints {
        let _ = writeln!(
            rules,
            "    iifname \"{tap}\" ether saddr {mac} arp saddr ether {mac} arp saddr ip {address} accept\n    \
             iifname \"{tap}\" ether saddr {mac} ip saddr {address} accept"
        );
    }
    rules
}

/// Puts a script into force, all of it or nothing.
pub async fn load(script: &str) -> Result<(), HostError> {
    let failed = |message: String| HostError::Program { program: "nft", message };
    let mut child = tokio::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| HostError::Process { operation: "start", program: "nft".into(), source })?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| failed("it takes too long".into()))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(failed(words.lines().next().unwrap_or("it says nothing").chars().take(300).collect()))
}

/// Removes both tables.
pub async fn unload() -> Result<(), HostError> {
    load(REMOVAL).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host_ip: Option<[u8; 4]>, host_port: u16) -> Published {
        Published { host_ip: host_ip.map(Ipv4Addr::from), host_port, guest_port: 80 }
    }

    #[test]
    fn ports_collide_on_the_same_address_only() {
        let all = published(None, 80);
        let one = published(Some([10, 0, 0, 1]), 80);
        let two = published(Some([10, 0, 0, 2]), 80);
        assert!(all.collides(&one) && one.collides(&all) && one.collides(&one));
        assert!(!one.collides(&two));
        assert!(!all.collides(&published(None, 81)));
        assert!(published(Some([0; 4]), 80).collides(&two));
    }

    #[test]
    fn a_machine_s_rules_are_its_own() {
        let endpoint = Endpoint::new("abc", Ipv4Addr::new(172, 30, 0, 2), vec![published(None, 8080)]);
        let script = render(Subnet::default(), std::iter::once(&endpoint), &["eth0".into()]);
        for line in [
            "fib daddr type local tcp dport 8080 dnat to 172.30.0.2:80",
            "iifname \"bh-abc\" ether saddr 02:bb:ac:1e:00:02 ip saddr 172.30.0.2 accept",
            "iifname \"eth0\" oifname != \"bulkhead0\" drop",
            "elements = { 172.30.0.2 }",
        ] {
            assert!(script.contains(line), "{line} in\n{script}");
        }
    }
}
