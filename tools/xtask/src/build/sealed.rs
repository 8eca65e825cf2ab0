//! The static programs: what they must not contain, how large they may be, and stripping them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;

/// Static glibc loads libraries at run time behind these: name services, converters, `dlopen` itself.
const FORBIDDEN: [&str; 16] = [
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_r",
    "gethostbyaddr",
    "getservbyname",
    "getpwnam",
    "getpwnam_r",
    "getpwuid",
    "getpwuid_r",
    "getgrnam",
    "getgrnam_r",
    "getgrgid_r",
    "getgrouplist",
    "initgroups",
    "dlopen",
    "iconv_open",
];

/// The design's budgets, in bytes.
const BUDGETS: [(&str, u64); 2] = [("bulkhead-vmm", 3_400_000), ("bulkhead-initd", 3_200_000)];

/// Checks an unstripped program and puts it, stripped, into its place.
pub fn place(program: &Path, place: &Path) -> Result<()> {
    let symbols = host::output(Command::new("nm").args(["--defined-only", "--format=posix"]).arg(program))?;
    let symbols = String::from_utf8_lossy(&symbols);
    let found = forbidden(&symbols);
    if !found.is_empty() {
        bail!(
            "{} is static and may not contain {}: glibc would load libraries there",
            program.display(),
            found.join(", ")
        );
    }
    super::replace(place, |new| {
        let strip = Command::new("strip").arg("--strip-all").arg("-o").arg(new).arg(program).status()?;
        if strip.success() {
            Ok(())
        } else {
            Err(std::io::Error::other(format!("strip failed with {strip}")))
        }
    })?;
    let size = fs::metadata(place).with_context(|| format!("Cannot look at {}", place.display()))?.len();
    for (name, budget) in BUDGETS {
        if place.ends_with(name) && size > budget {
            eprintln!("xtask: warning: {name} is {size} bytes, over its budget of {budget}");
        }
    }
    Ok(())
}

fn forbidden(symbols: &str) -> Vec<&str> {
    let names = symbols.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| FORBIDDEN.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_that_load_libraries_are_found() {
        let symbols = "main T 1000 20\n__getaddrinfo_local t 0 0\ngetaddrinfo T 2000 30\ngetpwuid_r W 0 0\n";
        assert_eq!(forbidden(symbols), ["getaddrinfo", "getpwuid_r"]);
        assert!(forbidden("main T 1000 20\n").is_empty());
    }
}
