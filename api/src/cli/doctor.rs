//! `doctor`

use std::path::PathBuf;

use clap::Args;

use super::{CliError, output, serve};
use crate::doctor::{Verdict, examine};

/// Say whether guests will boot here, and why not. Exit status 0 when they will, 1 otherwise.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The folder of bulkhead-vmm, vmlinux and initramfs [default: that of this program].
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Runs it.
    pub fn execute(self) -> Result<u8, CliError> {
        let report = examine(&self.assets.unwrap_or_else(serve::own_folder));
        if self.json {
            output::json(&report)?;
        } else {
            for check in &report.checks {
                let word = match check.verdict {
                    Verdict::Good => "good",
                    Verdict::Note => "note",
                    Verdict::Bad => "BAD ",
                };
                output::line(&format!("{word}  {:<12} {}", check.name, check.message))?;
            }
            let verdict =
                if report.guests_boot { "Guests will boot here." } else { "Guests will not boot here." };
            output::line(verdict)?;
        }
        Ok(u8::from(!report.guests_boot))
    }
}
