//! One pinned version a dependency, in the root manifest; and no crate links one that it must not know.

use super::Finding;
use super::tree::{File, Tree};

const RULE: &str = "manifests";

/// A crate's folder, what it may not depend on, and why.
const APART: [(&str, &[&str], &str); 6] = [
    (
        "initd/",
        &["bulkhead-vmm", "bulkhead-image", "bulkhead", "kvm-ioctls"],
        "a guest shares only initd/protocol and initd/archive with the host",
    ),
    ("initd/protocol/", &["tokio", "hyper", "libc", "rustix"], "the protocol is types and nothing else"),
    (
        "vmm/",
        &["bulkhead-initd", "bulkhead-image", "bulkhead", "axum"],
        "the VMM knows no image and no daemon",
    ),
    (
        "image-builder/",
        &["bulkhead-vmm", "bulkhead-initd", "bulkhead", "kvm-ioctls"],
        "the image builder runs nothing",
    ),
    ("api/", &["bulkhead-vmm", "bulkhead-initd"], "the daemon starts the VMM as a process"),
    (
        "",
        &["openssl", "aws-lc-rs", "serde_yaml", "rustables", "micro_http", "ocidir"],
        "the design rejects it",
    ),
];

/// Where anyhow may be used.
const TOOLS: [&str; 2] = ["tools/", "tests/"];

/// Finds dependencies that are not pinned or not allowed.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml")).flat_map(manifest).collect()
}

fn manifest(file: &File) -> Vec<Finding> {
    let mut section = "";
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']', ' ']);
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let (name, path) = key.trim().split_once('.').unwrap_or((key.trim(), ""));
        let said = if section == "workspace.dependencies" {
            unpinned(name, value)
        } else if section.ends_with("dependencies") {
            unshared(name, path, value).or_else(|| apart(&file.path, section, name))
        } else {
            None
        };
        findings.extend(said.map(|sentence| file.finding(index + 1, RULE, sentence)));
    }
    findings
}

fn unpinned(name: &str, value: &str) -> Option<String> {
    let pinned = value.contains("\"=") || value.contains("path = ");
    (!pinned).then(|| format!("{name} is not pinned; write its version as \"=x.y.z\""))
}

fn unshared(name: &str, path: &str, value: &str) -> Option<String> {
    let shared = (path == "workspace" && value.trim() == "true") || value.contains("workspace = true");
    (!shared).then(|| {
        format!(
            "{name} takes its version from itself; name it in the root manifest and write `workspace = true`"
        )
    })
}

fn apart(path: &str, section: &str, name: &str) -> Option<String> {
    let own = |folder: &str| {
        path.starts_with(folder) && !(folder == "initd/" && path.starts_with("initd/protocol/"))
    };
    if name == "anyhow" && section == "dependencies" && !TOOLS.iter().any(|folder| path.starts_with(folder)) {
        return Some("anyhow is for tools and tests; a library has error types".to_owned());
    }
    let rule = APART.iter().find(|(folder, names, _)| own(folder) && names.contains(&name));
    rule.map(|(_, _, why)| format!("{name} may not be a dependency here: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_and_forbidden_dependencies_are_found() {
        let bad = [
            ("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\n"),
            ("vmm/Cargo.toml", "[dependencies]\nserde = \"=1.0.0\"\n"),
            ("vmm/Cargo.toml", "[dependencies]\nanyhow.workspace = true\n"),
            ("initd/Cargo.toml", "[dependencies]\nbulkhead-vmm.workspace = true\n"),
            ("initd/protocol/Cargo.toml", "[dependencies]\ntokio = { workspace = true }\n"),
            ("api/Cargo.toml", "[dev-dependencies]\nopenssl.workspace = true\n"),
        ];
        for (path, text) in bad {
            assert_eq!(check(&Tree::sample(&[(path, text)])).len(), 1, "{path}: {text}");
        }
        let good = [
            (
                "Cargo.toml",
                "[workspace.dependencies]\nserde = { version = \"=1.0.0\" }\nours = { path = \"x\" }\n[lints]\na = \"b\"\n",
            ),
            (
                "tools/x/Cargo.toml",
                "[dependencies]\nanyhow.workspace = true\ntokio = { workspace = true, features = [] }\n",
            ),
        ];
        assert_eq!(check(&Tree::sample(&good)), []);
    }
}
