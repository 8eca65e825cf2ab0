//! The edges between modules: who may not name whom.

use super::Finding;
use super::lexer::Token;
use super::tree::{File, Tree};

const RULE: &str = "edges";

/// An edge that must not be.
struct Edge {
    /// The folder (or file) whose source it holds for.
    within: &'static str,
    /// Folders or files in it for which it does not.
    except: &'static [&'static str],
    /// Paths that may not be named, from a crate's root (`crate::kvm`) or a dependency's name.
    forbidden: &'static [&'static str],
    /// The sentence that says why.
    why: &'static str,
}

const EDGES: [Edge; 11] = [
    Edge {
        within: "vmm/src/virtio/",
        except: &[],
        forbidden: &["crate::kvm", "kvm_ioctls", "kvm_bindings"],
        why: "a device knows no hypervisor",
    },
    Edge {
        within: "vmm/src/http/",
        except: &[],
        forbidden: &["crate::virtio", "virtio_queue", "virtio_bindings", "virtio_vsock"],
        why: "the API parses, calls and renders",
    },
    Edge {
        within: "vmm/src/",
        except: &["vmm/src/kvm/", "vmm/src/kvm.rs"],
        forbidden: &["kvm_ioctls"],
        why: "only the module kvm speaks to KVM",
    },
    Edge {
        within: "vmm/src/",
        except: &["vmm/src/http/", "vmm/src/http.rs"],
        forbidden: &["tokio", "hyper", "hyper_util", "http_body_util"],
        why: "only the API thread is asynchronous",
    },
    Edge {
        within: "api/src/routes/",
        except: &[],
        forbidden: LOGIC,
        why: "routes hold no logic: parse, call the service, render",
    },
    Edge {
        within: "api/src/facade/",
        except: &[],
        forbidden: LOGIC,
        why: "a facade translates and holds no logic",
    },
    Edge {
        within: "initd/",
        except: &[],
        forbidden: &["bulkhead_vmm", "bulkhead_image", "kvm_ioctls", "vm_memory"],
        why: "a guest shares only initd/protocol with the host",
    },
    Edge {
        within: "initd/src/",
        except: &["initd/src/reaper.rs"],
        forbidden: &[
            "libc::waitpid",
            "libc::waitid",
            "libc::wait",
            "rustix::process::wait",
            "rustix::process::waitpid",
            "rustix::process::waitid",
        ],
        why: "initd has one reaper",
    },
    Edge {
        within: "vmm/",
        except: &[],
        forbidden: &["bulkhead_image", "bulkhead_initd"],
        why: "the VMM knows no image builder and no guest",
    },
    Edge {
        within: "image-builder/src/",
        except: &["image-builder/src/http/"],
        forbidden: &["ureq"],
        why: "only the module http speaks to the network",
    },
    Edge {
        within: "image-builder/src/",
        except: &[],
        forbidden: &["bulkhead_vmm", "kvm_ioctls", "std::net"],
        why: "the image builder runs nothing and serves nobody",
    },
];

/// What speaks of doing rather than of saying.
const LOGIC: &[&str] = &[
    "std::process",
    "tokio::process",
    "std::fs",
    "tokio::fs",
    "redb",
    "nftables",
    "rtnetlink",
    "rustix",
    "libc",
    "crate::host",
];

/// Finds names that cross an edge.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(crossings).collect()
}

fn crossings(file: &File) -> Vec<Finding> {
    let edges: Vec<&Edge> = EDGES.iter().filter(|edge| holds(edge, &file.path)).collect();
    if edges.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, path) in paths(file) {
        for edge in &edges {
            let crossed =
                edge.forbidden.iter().find(|name| path == **name || path.starts_with(&format!("{name}::")));
            findings.extend(crossed.map(|name| {
                file.finding(line, RULE, format!("{} may not name {name}: {}", edge.within, edge.why))
            }));
        }
    }
    findings
}

/// A test in a file of its own may name whatever it sets up.
fn holds(edge: &Edge, path: &str) -> bool {
    !path.ends_with("_tests.rs")
        && path.starts_with(edge.within)
        && !edge.except.iter().any(|except| path.starts_with(except))
}

/// Every path that a file names, from its crate's root, with the line.
fn paths(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = file.tokens.as_slice();
    while let Some((first, after)) = rest.split_first() {
        if first.text == "use" {
            let end = after.iter().position(|token| token.text == ";").unwrap_or(after.len());
            let (tree, beyond) = after.split_at(end);
            expand(tree, &[], &mut found);
            rest = beyond;
        } else if first.is_word() {
            let length = path_length(rest);
            let (path, beyond) = rest.split_at(length);
            found.push((first.line, words(path)));
            rest = beyond;
        } else {
            rest = after;
        }
    }
    let module = module(&file.path);
    found.into_iter().map(|(line, path)| (line, absolute(&path, &module))).collect()
}

/// How many tokens `a::b::c` has.
fn path_length(tokens: &[Token]) -> usize {
    let mut length = 1;
    while let Some([colons, word]) = tokens.get(length..length + 2) {
        if colons.text != "::" || !word.is_word() {
            break;
        }
        length += 2;
    }
    length
}

fn words(path: &[Token]) -> Vec<String> {
    path.iter().filter(|token| token.is_word()).map(|token| token.text.clone()).collect()
}

/// Spells out `a::{b, c::{d, e}}`.
fn expand(tree: &[Token], prefix: &[String], found: &mut Vec<(usize, Vec<String>)>) {
    for branch in branches(tree) {
        let Some(first) = branch.first() else { continue };
        let open = branch.iter().position(|token| token.text == "{");
        let (head, group) = branch.split_at(open.unwrap_or(branch.len()));
        let head = head.split(|token| token.text == "as").next().unwrap_or_default();
        let path = [prefix, &words(head)].concat();
        match group {
            [_, inner @ .., _] => expand(inner, &path, found),
            _ => found.push((first.line, path)),
        }
    }
}

/// Cuts at the commas that are not inside braces.
fn branches(tree: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    tree.split(|token| {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        token.text == "," && depth == 0
    })
    .collect()
}

/// The module of a file: `vmm/src/virtio/block/mod.rs` is `virtio`, `block`.
fn module(path: &str) -> Vec<String> {
    let inside = path.split_once("src/").map_or("", |(_, inside)| inside).trim_end_matches(".rs");
    let parts = inside.split('/').filter(|part| !["mod", "main", "lib"].contains(part));
    parts.map(str::to_owned).collect()
}

fn absolute(path: &[String], module: &[String]) -> String {
    let mut base = module.to_vec();
    let mut rest = path;
    let mut relative = false;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        relative = true;
        rest = after;
    }
    let mut full: Vec<String> = if relative { [vec!["crate".to_owned()], base].concat() } else { Vec::new() };
    full.extend_from_slice(rest);
    full.join("::")
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod tests;
