//! `bulkhead-image kernel`: a kernel package in; what every machine boots with out.

use std::path::PathBuf;

use bulkhead_image::kernel::{self, KernelError, KernelSource, KernelSpec};
use clap::Args;

use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Kernel {
    /// The package, linux-image-….deb
    #[arg(long, value_name = "FILE", required_unless_present_any = ["vmlinux", "config"])]
    deb: Option<PathBuf>,
    /// An uncompressed kernel that has everything built in, instead of a package
    #[arg(long, value_name = "FILE", conflicts_with_all = ["deb", "modules"])]
    vmlinux: Option<PathBuf>,
    /// The static bulkhead-initd that becomes /init
    #[arg(long, value_name = "FILE", required_unless_present = "report")]
    initd: Option<PathBuf>,
    /// The folder that the results are written to
    #[arg(long, value_name = "DIR", required_unless_present = "report")]
    output: Option<PathBuf>,
    /// A further kernel module, with what it needs (virtio_balloon, dm_verity, ...)
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Show what the kernel's configuration has of what containers need, and nothing else
    #[arg(long, conflicts_with_all = ["vmlinux", "initd", "output", "modules"])]
    report: bool,
    /// The configuration to report on, in place of a package's
    #[arg(long, value_name = "FILE", requires = "report", conflicts_with = "deb")]
    config: Option<PathBuf>,
}

impl Kernel {
    pub fn execute(self, json: bool) -> Outcome {
        if self.report {
            return self.show_report(json);
        }
        let source = self.deb.map(KernelSource::Package).or(self.vmlinux.map(KernelSource::Vmlinux));
        let source = source.ok_or("Name a package or a kernel")?;
        let Self { initd: Some(initd), output: Some(output), modules: extra_modules, .. } = self else {
            return Err("Name an initd and a folder".into());
        };
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

    /// Fails where something that is required is missing, after it was shown.
    fn show_report(&self, json: bool) -> Outcome {
        let (report, of) = match (&self.config, &self.deb) {
            (Some(file), _) => (kernel::report_of_configuration(file)?, file),
            (None, Some(deb)) => (kernel::report_of_package(deb)?, deb),
            (None, None) => return Err("Name a package or a configuration".into()),
        };
        let text = if json { serde_json::to_string(&report)? + "\n" } else { report.to_string() };
        output::print(&text)?;
        match report.lacks() {
            Some(lacks) => Err(KernelError::Lacks(of.display().to_string(), lacks).into()),
            None => Ok(()),
        }
    }
}
