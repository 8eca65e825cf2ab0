//! `spec`: writes a specification to begin with.

use bulkhead_protocol::oci::DeviceRule;
use bulkhead_protocol::oci::{
    Capabilities, IdMapping, Linux, Namespace, NamespaceKind, Process, Resources, Rlimit, Root, Spec,
    defaults,
};

use super::Runtime;
use super::arguments::{Flag, Words};
use super::bundle::OCI_VERSION;
use super::error::OciError;

/// What `spec` takes.
pub const FLAGS: &[Flag] = &[Flag::value("bundle").short('b'), Flag::switch("rootless")];

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// Writes `config.json` where there is none.
pub fn verb(_: &Runtime, words: &Words) -> Result<u8, OciError> {
    if let [more, ..] = words.rest() {
        return Err(OciError::TooManyWords(more.clone()));
    }
    let path = std::path::Path::new(words.value("bundle").unwrap_or(".")).join("config.json");
    let mut spec = example();
    if words.has("rootless") {
        make_rootless(&mut spec);
    }
    let text = serde_json::to_string_pretty(&spec).map_err(|error| OciError::Output(error.into()))?;
    let file = std::fs::File::create_new(&path).map_err(OciError::file("make", &path))?;
    std::io::Write::write_all(&mut &file, text.as_bytes()).map_err(OciError::file("write", &path))?;
    Ok(0)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// A shell, with little that it may do.
fn example() -> Spec {
    let all = owned(&CAPABILITIES);
    let namespaces = [
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Mount,
        NamespaceKind::Cgroup,
    ];
    Spec {
        oci_version: OCI_VERSION.to_owned(),
        process: Process {
            terminal: true,
            args: owned(&["sh"]),
            env: owned(&[defaults::PATH, "TERM=xterm"]),
            cwd: "/".to_owned(),
            capabilities: Some(Capabilities {
                bounding: all.clone(),
                effective: all.clone(),
                permitted: all,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 1024, hard: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        },
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        hostname: Some("bulkhead".to_owned()),
        mounts: defaults::mounts(),
        linux: Linux {
            namespaces: namespaces.map(|kind| Namespace { kind, path: None }).into(),
            resources: Some(Resources {
                devices: vec![DeviceRule {
                    allow: false,
                    access: Some("rwm".to_owned()),
                    ..DeviceRule::default()
                }],
                ..Resources::default()
            }),
            masked_paths: owned(&defaults::MASKED_PATHS),
            readonly_paths: owned(&defaults::READONLY_PATHS),
            ..Linux::default()
        },
        ..Spec::default()
    }
}

/// With users of its own, of whom the caller is root, and with the host's network.
fn make_rootless(spec: &mut Spec) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let linux = &mut spec.linux;
    linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
    linux.namespaces.push(Namespace { kind: NamespaceKind::User, path: None });
    linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
    linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
    linux.resources = None;
    for mount in &mut spec.mounts {
        mount.options.retain(|option| !option.starts_with("gid="));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_right() {
        let mut spec = example();
        super::super::check::check(&mut spec).unwrap();
        make_rootless(&mut spec);
        super::super::check::check(&mut spec).unwrap();
    }
}
