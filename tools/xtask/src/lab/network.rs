//! The lab's network: `uplink` with 192.0.2.10/24, and beyond it a namespace `outside` to answer.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What the host side of the network is made of. `outside` is 192.0.2.1, the default route, and stands for
/// the rest of the world with 198.51.100.1 (both ranges are RFC 5737's, for documentation).
const HERE: &str = "link set lo up
link add uplink type veth peer name uplink-far
link set uplink-far netns outside
addr add 192.0.2.10/24 dev uplink
link set uplink up
";
const OUTSIDE: &str = "link set lo up
addr add 198.51.100.1/32 dev lo
addr add 192.0.2.1/24 dev uplink-far
link set uplink-far up
";
const ROUTE: &str = "route add default via 192.0.2.1\n";

/// Makes it.
pub fn set_up() -> Result<()> {
    batch(&["netns", "add", "outside"], "")?;
    batch(&["-batch", "-"], HERE)?;
    batch(&["-netns", "outside", "-batch", "-"], OUTSIDE)?;
    batch(&["-batch", "-"], ROUTE)
}

fn batch(args: &[&str], lines: &str) -> Result<()> {
    let mut ip = Command::new("ip").args(args).stdin(Stdio::piped()).spawn().context("Cannot start ip")?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(lines.as_bytes()).context("Cannot tell ip what to do")?;
    }
    let status = ip.wait().context("Cannot wait for ip")?;
    if !status.success() {
        bail!("ip {} failed with {status}", args.join(" "));
    }
    Ok(())
}
