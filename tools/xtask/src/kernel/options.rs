//! The small kernel's options: what is wanted, what a configuration has, and what each is for.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, bail};

/// The list.
pub const LIST: &str = include_str!("small.list");

/// What is wanted, section by section.
#[derive(Debug)]
pub struct Options<'a>(Vec<Section<'a>>);

#[derive(Debug)]
struct Section<'a> {
    title: &'a str,
    options: Vec<Wanted<'a>>,
}

#[derive(Debug)]
struct Wanted<'a> {
    name: &'a str,
    value: &'a str,
    purpose: &'a str,
}

impl<'a> Options<'a> {
    /// Reads `NAME=VALUE  PURPOSE` lines under `# Section` headings. Remarks before the first heading end with an
    /// empty line.
    pub fn parse(list: &'a str) -> Result<Self> {
        let mut sections: Vec<Section<'a>> = Vec::new();
        let body = list.split_once("\n\n").map_or(list, |(_, body)| body);
        for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(title) = line.strip_prefix('#') {
                sections.push(Section { title: title.trim(), options: Vec::new() });
                continue;
            }
            let wanted = wanted(line).with_context(|| format!("Not NAME=VALUE and a purpose: {line:?}"))?;
            let known = sections.iter().flat_map(|section| &section.options);
            if known.into_iter().any(|option| option.name == wanted.name) {
                bail!("The option {} is named twice", wanted.name);
            }
            sections.last_mut().context("An option has no section")?.options.push(wanted);
        }
        Ok(Self(sections))
    }

    /// The options as the kernel's configuration reads them.
    pub fn fragment(&self) -> String {
        let mut fragment = String::new();
        for Wanted { name, value, .. } in self.0.iter().flat_map(|section| &section.options) {
            let _ = match *value {
                "n" => writeln!(fragment, "# CONFIG_{name} is not set"),
                value => writeln!(fragment, "CONFIG_{name}={value}"),
            };
        }
        fragment
    }

    /// Holds a configuration against the list: every option, and how many are not as they should be.
    pub fn report(&self, config: &str) -> (String, usize) {
        let set: BTreeMap<&str, &str> =
            config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect();
        let (mut report, mut all, mut missing) = (String::new(), 0, 0);
        for Section { title, options } in &self.0 {
            let _ = writeln!(report, "{title}\n  {:<32} {:<16} {:<16} for", "option", "wanted", "got");
            for Wanted { name, value, purpose } in options {
                let got = set.get(name).copied().unwrap_or("n");
                let verdict = if got == *value { "" } else { "   <- MISSING" };
                all += 1;
                missing += usize::from(got != *value);
                let _ = writeln!(report, "  {name:<32} {value:<16} {got:<16} {purpose}{verdict}");
            }
        }
        let _ = writeln!(report, "{} of {all} options are as they should be", all - missing);
        (report, missing)
    }
}

fn wanted(line: &str) -> Option<Wanted<'_>> {
    let (setting, purpose) = line.split_once(char::is_whitespace)?;
    let (name, value) = setting.split_once('=')?;
    let plain =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let purpose = purpose.trim();
    (plain && !value.is_empty() && !purpose.is_empty()).then_some(Wanted { name, value, purpose })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole() {
        let options = Options::parse(LIST).unwrap();
        let fragment = options.fragment();
        assert!(fragment.contains("CONFIG_VIRTIO_MMIO=y\n"));
        assert!(fragment.contains("# CONFIG_MODULES is not set\n"));
        // A configuration that is the list itself holds all of it.
        assert_eq!(options.report(&fragment).1, 0);
    }

    #[test]
    fn what_a_configuration_lacks_is_shown_and_counted() {
        let options =
            Options::parse("# remark\n\n# Disks\nEXT4_FS=y  volumes\nPCI=n  none\nHZ=100 few\n").unwrap();
        let (report, missing) = options.report("CONFIG_PCI=y\nCONFIG_HZ=100\n# CONFIG_EXT4_FS is not set\n");
        assert_eq!(missing, 2, "{report}");
        for name in ["EXT4_FS", "PCI"] {
            let line = report.lines().find(|line| line.contains(name)).unwrap();
            assert!(line.ends_with("MISSING"), "{line}");
        }
        assert!(report.contains("1 of 3 options"), "{report}");
    }

    #[test]
    fn a_list_that_cannot_be_read_is_refused() {
        for list in
            ["x\n\n# A\nEXT4_FS=y", "x\n\n# A\nEXT4_FS  for", "x\n\nEXT4_FS=y for", "x\n\n# A\nA=y b\nA=n c"]
        {
            assert!(Options::parse(list).is_err(), "{list}");
        }
    }
}
