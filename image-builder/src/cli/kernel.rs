//! `bulkhead-image kernel`: a kernel package in; what every machine boots with out.

use std::path::PathBuf;

use bulkhead_image::kernel::{self, KernelSource, KernelSpec};
use clap::Args;

use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Kernel {
    /// The package, linux-image-….deb
    #[arg(long, value_name = "FILE", required_unless_present = "vmlinux")]
    deb: Option<PathBuf>,
    /// An uncompressed kernel that has everything built in, instead of a package
    #[arg(long, value_name = "FILE", conflicts_with_all = ["deb", "modules"])]
    vmlinux: Option<PathBuf>,
    /// The static bulkhead-initd that becomes /init
    #[arg(long, value_name = "FILE")]
    initd: PathBuf,
    /// The folder that the results are written to
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// A further kernel module, with what it needs (virtio_balloon, dm_verity, ...)
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
}

impl Kernel {
    pub fn execute(self, json: bool) -> Outcome {
        let source = self.deb.map(KernelSource::Package).or(self.vmlinux.map(KernelSource::Vmlinux));
        let source = source.ok_or("Name a package or a kernel")?;
        let Self { initd, output, modules: extra_modules, .. } = self;
        let record = kernel::take_apart(&KernelSpec { source, initd, output, extra_modules })?;
        if json {
            return output::print(&(serde_json::to_string(&record)? + "\n"));
        }
        if record.modules.is_empty() {
            return output::print(&format!("Linux {} without modules\n", record.version));
        }
        let names: Vec<_> = record.modules.iter().map(|module| module.name.as_str()).collect();
        output::print(&format!("Linux {} with the modules {}\n", record.version, names.join(" ")))
    }
}
