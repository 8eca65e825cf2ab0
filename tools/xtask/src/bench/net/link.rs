//! The wire: a bridge of the lab's with one tap, the same for every VMM.

use std::process::Command;

use anyhow::Result;

use super::plan::HOST;
use crate::host;

/// The tap.
pub const TAP: &str = "bench-tap";
const BRIDGE: &str = "bench-bridge";

/// Makes both; the lab is gone afterwards.
pub fn set_up() -> Result<()> {
    for line in [
        format!("link add {BRIDGE} type bridge"),
        format!("addr add {HOST}/24 dev {BRIDGE}"),
        format!("link set {BRIDGE} up"),
        format!("tuntap add {TAP} mode tap vnet_hdr"),
        format!("link set {TAP} master {BRIDGE} up"),
    ] {
        host::run_quietly(Command::new("ip").args(line.split(' ')))?;
    }
    Ok(())
}
