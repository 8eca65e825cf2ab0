//! `update`, and the flags that it shares with `run`.

use clap::Args;

use super::CliError;
use super::client::{Client, segment};
use crate::service::model::{Machine, Rates, UpdateMachine};

/// How much a machine may do a second.
#[derive(Debug, Clone, Copy, Args)]
pub struct RateFlags {
    /// Bytes a second on each drive: 500k, 10m, 1g; 0 for no limit.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    io_maxbandwidth: Option<u64>,
    /// Requests a second on each drive; 0 for no limit.
    #[arg(long, value_name = "N")]
    io_maxiops: Option<u64>,
    /// Bytes received a second; 0 for no limit.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    net_maxreceive: Option<u64>,
    /// Bytes sent a second; 0 for no limit.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    net_maxtransmit: Option<u64>,
}

impl From<RateFlags> for Rates {
    fn from(flags: RateFlags) -> Self {
        Self {
            disk_bytes_per_s: flags.io_maxbandwidth,
            disk_requests_per_s: flags.io_maxiops,
            network_receive_bytes_per_s: flags.net_maxreceive,
            network_transmit_bytes_per_s: flags.net_maxtransmit,
        }
    }
}

/// Change machines, running or not. What is not named stays.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    rates: RateFlags,
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Update {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let change = UpdateMachine { rates: self.rates.into() };
        super::lifecycle::each(&self.names, async |name| {
            let path = format!("/api/v1/machines/{}", segment(&name));
            let _: Machine = client.patch_body(&path, &change).await?;
            Ok(name)
        })
        .await
    }
}

/// `512`, `500k`, `10m`, `1g`, in bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 500k, 10m or 1g");
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let units = [('k', 10), ('m', 20), ('g', 30)];
    let with_unit = units.into_iter().find_map(|(unit, shift)| Some((lower.strip_suffix(unit)?, shift)));
    let (digits, shift) = with_unit.unwrap_or((lower, 0));
    let size = digits.parse::<u64>().ok().and_then(|size| size.checked_mul(1 << shift));
    size.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_bytes() {
        for (text, size) in [("0", 0), ("512", 512), ("500k", 500 << 10), ("10M", 10 << 20), ("1gb", 1 << 30)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "k", "-1", "1.5m", "99999999999g", "1kk"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
