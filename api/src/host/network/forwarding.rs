//! Forwarding between interfaces, switched on where it is off, and off again where we switched it on.
//!
//! The host's one switch, `net.ipv4.ip_forward`, would change every interface and forget what each had.
//! Interfaces that we switched on get a rule that they forward to and from the bridge only.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::HostError;

/// What was changed on the host, remembered in a file over a crash.
#[derive(Debug)]
pub struct Forwarding {
    memory: PathBuf,
    changed: Changed,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Changed {
    /// Interfaces whose forwarding was off.
    forwarding: Vec<String>,
}

fn switch(interface: &str, name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(interface).join(name)
}

fn write(path: &Path, value: &str) -> Result<(), HostError> {
    fs::write(path, value).map_err(HostError::file("write", path))
}

/// Lets published ports of 127.0.0.1 lead over the bridge (a rule keeps others from using that), and keeps
/// IPv6 off it, since machines have IPv4 addresses only.
pub fn prepare_bridge(bridge: &str) -> Result<(), HostError> {
    write(&switch(bridge, "route_localnet"), "1")?;
    let path = Path::new("/proc/sys/net/ipv6/conf").join(bridge).join("disable_ipv6");
    // A kernel without IPv6 has no such file.
    if path.exists() { write(&path, "1") } else { Ok(()) }
}

impl Forwarding {
    /// With what a former daemon changed.
    pub fn remembered(memory: PathBuf) -> Self {
        let changed =
            fs::read(&memory).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { memory, changed }
    }

    /// The interfaces that forward because of us.
    pub fn interfaces(&self) -> Vec<String> {
        self.changed.forwarding.clone()
    }

    /// Switches forwarding on for the bridge and for every link that packets may come in by.
    pub fn enable(&mut self, bridge: &str, tap_prefix: &str, links: &[String]) -> Result<(), HostError> {
        let mut to_change = Vec::new();
        for link in links {
            if link == "lo" || link == bridge || link.starts_with(tap_prefix) || link.contains(['"', '/']) {
                continue;
            }
            let off = fs::read_to_string(switch(link, "forwarding")).is_ok_and(|value| value.trim() == "0");
            if off {
                to_change.push(link.clone());
            }
        }
        // Remembered first: a crash in between must not leave a switch on that nobody knows of.
        self.changed.forwarding.retain(|link| links.contains(link));
        for link in &to_change {
            if !self.changed.forwarding.contains(link) {
                self.changed.forwarding.push(link.clone());
            }
        }
        let bytes = serde_json::to_vec(&self.changed).unwrap_or_default();
        fs::write(&self.memory, bytes).map_err(HostError::file("write", &self.memory))?;
        for link in &to_change {
            write(&switch(link, "forwarding"), "1")?;
        }
        write(&switch(bridge, "forwarding"), "1")
    }

    /// Switches off what was switched on.
    pub fn restore(&mut self) -> Result<(), HostError> {
        for link in self.changed.forwarding.drain(..) {
            let path = switch(&link, "forwarding");
            match fs::write(&path, "0") {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(HostError::file("write", &path)(error));
                }
                _ => {}
            }
        }
        crate::host::layout::remove_file(&self.memory)
    }
}
