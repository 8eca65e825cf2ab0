//! The static programs: what they must not contain, how large they may be, and stripping them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;

/// Static glibc loads libraries at run time behind these: name services and converters.
const FORBIDDEN: [&str; 15] = [
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
    "iconv_open",
];

/// The design's budgets, in bytes.
const BUDGETS: [(&str, u64); 2] = [("bulkhead-vmm", 3_400_000), ("bulkhead-initd", 3_200_000)];

/// In every static program of glibc 2.36 (its start code brings them), so only their callers count.
const LOADERS: [&str; 4] = ["<dlopen>", "<__dlopen>", "<___dlopen>", "<dlmopen>"];

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
    let code =
        host::output(Command::new("objdump").args(["--disassemble", "--no-show-raw-insn"]).arg(program))?;
    if let Some(call) = loader_call(&String::from_utf8_lossy(&code)) {
        bail!("{} is static and may not load libraries, but does: {call}", program.display());
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

/// The first instruction that refers to a loader; the line that opens a function ends with a colon.
fn loader_call(code: &str) -> Option<&str> {
    let mut lines = code.lines().filter(|line| !line.ends_with(':'));
    lines.find(|line| LOADERS.iter().any(|name| line.ends_with(name))).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_that_load_libraries_are_found() {
        let symbols = "main T 1000 20\n__getaddrinfo_local t 0 0\ngetaddrinfo T 2000 30\ngetpwuid_r W 0 0\n";
        assert_eq!(forbidden(symbols), ["getaddrinfo", "getpwuid_r"]);
        assert!(forbidden("main T 1000 20\n").is_empty());
        assert_eq!(loader_call("10 <dlopen>:\n 12:  ret\n"), None);
        assert_eq!(loader_call("10 <main>:\n 12:  call 99 <dlopen>\n"), Some("12:  call 99 <dlopen>"));
    }
}
