//! passt: a machine's network without a bridge and without any privilege.
//!
//! passt (Debian's package) is a process a machine. It gets the connection that the VMM makes, ends when the VMM
//! does, and needs neither a path nor the daemon: nothing of it can be left over. Every machine has the same
//! addresses behind a passt of its own. It reaches what a process of this user reaches, but for the host's loopback
//! (`--no-map-gw`, and the VMM drops what is sent there); nobody reaches it but by ports that are published.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::HostError;
use super::network::{Published, Route, Subnet};
use super::process::{self, Process, append, find_program};

/// The longest packet between guest and passt: what fits a frame of 64 KiB, in words of 4 bytes.
pub const MTU: u16 = 65_520;
/// How much of a log is looked at for its last words.
const LOG_TAIL: usize = 4096;

/// What a passt is started with.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The range, of which the guest has the first machine's address.
    pub subnet: Subnet,
    /// Ports of the host that lead to the guest.
    pub ports: Vec<Published>,
    /// What the guest is told.
    pub route: &'a Route,
    /// passt's own MAC address.
    pub mac: String,
    /// Where its words go.
    pub log: PathBuf,
    /// `cgroup.procs` of the group that it joins.
    pub cgroup: Option<PathBuf>,
}

/// The program, or a sentence on where to get it.
pub fn program() -> Result<PathBuf, HostError> {
    find_program("passt").ok_or(HostError::NoPasst)
}

/// Starts passt for the VMM at the other end of `stream`.
pub fn start(launch: &Launch<'_>, stream: &UnixStream) -> Result<Process, HostError> {
    let mut command = Command::new(program()?);
    command.args(arguments(launch)).args(["--fd", &stream.as_raw_fd().to_string()]);
    command.stdout(append(&launch.log)?).stderr(append(&launch.log)?);
    process::spawn(command, stream.as_fd(), launch.cgroup.as_deref())
}

fn arguments(launch: &Launch<'_>) -> Vec<String> {
    let Launch { subnet, route, .. } = launch;
    let mut words: Vec<String> =
        ["--foreground", "--quiet", "--stderr", "--ipv4-only", "--no-map-gw"].map(str::to_owned).into();
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    option("--address", subnet.first_machine().to_string());
    option("--netmask", route.prefix.to_string());
    option("--gateway", route.gateway.to_string());
    option("--mac-addr", launch.mac.clone());
    option("--mtu", MTU.to_string());
    if route.resolver == Some(route.gateway) {
        option("--dns-forward", route.gateway.to_string());
    }
    // UDP ports would follow those of TCP unless they are named.
    option("--udp-ports", "none".into());
    for Published { host_ip, host_port, guest_port } in &launch.ports {
        let host_ip = host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        option("--tcp-ports", format!("{host_ip}/{host_port}:{guest_port}"));
    }
    words
}

/// What it said last, for the error of a machine whose passt has ended.
pub fn last_words(log: &Path) -> HostError {
    let text = std::fs::read(log).unwrap_or_default();
    let tail = text.get(text.len().saturating_sub(LOG_TAIL)..).unwrap_or_default();
    let tail = String::from_utf8_lossy(tail);
    // Where there is no system log it says so before each of its words.
    let mut lines =
        tail.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Failed to send"));
    let message = lines.next_back().unwrap_or("it ended without a word").to_owned();
    HostError::Program { program: "passt", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_bound_one_by_one_and_udp_never() {
        let subnet: Subnet = "10.9.0.0/24".parse().unwrap();
        let route = Route { prefix: 24, gateway: subnet.gateway(), resolver: Some(subnet.gateway()) };
        let port = |host_ip, host_port| Published { host_ip, host_port, guest_port: 80 };
        let launch = Launch {
            subnet,
            ports: vec![port(None, 8080), port(Some(Ipv4Addr::LOCALHOST), 81)],
            route: &route,
            mac: "02:bb:0a:09:00:01".into(),
            log: "/x".into(),
            cgroup: None,
        };
        let words = arguments(&launch).join(" ");
        for part in [
            "--no-map-gw --address 10.9.0.2 --netmask 24 --gateway 10.9.0.1 --mac-addr 02:bb:0a:09:00:01",
            "--dns-forward 10.9.0.1 --udp-ports none",
            "--tcp-ports 0.0.0.0/8080:80 --tcp-ports 127.0.0.1/81:80",
        ] {
            assert!(words.contains(part), "{words}");
        }
        let route = Route { resolver: None, ..route.clone() };
        assert!(!arguments(&Launch { route: &route, ..launch }).join(" ").contains("dns"));
    }

    #[test]
    fn its_last_word_is_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(last_words(&log).to_string(), "passt failed: it ended without a word");
        std::fs::write(
            &log,
            "Failed to send 9 bytes to syslog\nCannot do it\nFailed to send 1 bytes to syslog\n\n",
        )
        .unwrap();
        assert_eq!(last_words(&log).to_string(), "passt failed: Cannot do it");
    }
}
