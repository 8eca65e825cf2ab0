//! What a machine's container may do, and what it finds.

use std::collections::BTreeMap;

use bulkhead_protocol::oci::Seccomp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// The container in its machine: privileges, limits of its processes, and mounts beside the image. What is not named
/// is as Docker has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerSpec {
    /// Capabilities besides the default set (`capabilities(7)`), in any case, with or without `CAP_`; `ALL` is every one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64, value_type = Vec<String>)]
    pub cap_add: Vec<String>,
    /// Capabilities of the default set that it has not got, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64, value_type = Vec<String>)]
    pub cap_drop: Vec<String>,
    /// No program gains privileges by being run.
    pub no_new_privileges: bool,
    /// A filter of system calls instead of the default one, as the OCI runtime specification has it in
    /// `linux.seccomp`. Sockets to the machine's host are refused by any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    pub seccomp: Option<Seccomp>,
    /// The program's parent is an init, which hands signals on to it and reaps whoever is left to it.
    pub init: bool,
    /// The root can be read only.
    pub read_only: bool,
    /// Empty file systems in memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub tmpfs: Vec<TmpfsSpec>,
    /// Limits of each process (`getrlimit(2)`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters by name: those of the container and of the machine's network.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = parameters)]
    pub sysctls: BTreeMap<String, String>,
}

/// An empty file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TmpfsSpec {
    /// An absolute path in the container.
    #[schema(max_length = 1024, pattern = "^/[a-zA-Z0-9_./@+ -]*[a-zA-Z0-9_@+-]$")]
    pub destination: String,
    /// Mount options such as `size=64m`, `mode=1777` or `exec`, behind `nosuid`, `nodev` and `noexec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub options: Vec<String>,
}

/// A limit of each process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// Its name as a shell has it, such as `nofile`.
    #[schema(pattern = "^[a-z]{1,16}$")]
    pub name: String,
    /// The limit in force; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub soft: Option<u64>,
    /// The limit that it can be raised to; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hard: Option<u64>,
}

fn parameters() -> Schema {
    let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    ObjectBuilder::new()
        .property_names(Some(text("^[a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)+$")))
        .additional_properties(Some(Schema::from(text("^[^\\x00]*$"))))
        .description(Some("Kernel parameters by name: those of the container and of the machine's network."))
        .into()
}
