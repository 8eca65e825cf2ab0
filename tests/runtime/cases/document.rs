//! config.md: the document itself: its version, what is unknown, what is invalid; annotations; bundle.md.

use std::fs;

use anyhow::ensure;
use serde_json::json;

use crate::case::Case;

const UNKNOWN: &str = "config.md Extensibility: an unknown property is ignored";
const INVALID: &str = "config.md Valid values: an invalid value is an error";
const VERSION: &str = "config.md Specification version";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("bundle.no_config", "bundle.md: config.json MUST reside in the root of the bundle", |t| {
        t.control()?;
        fs::remove_file(t.bundle.join("config.json"))?;
        let ran = t.create_as(&t.id.clone(), &[])?;
        ensure!(ran.status != 0, "a bundle without config.json is accepted");
        t.is_gone()
    }),
    Case::must("bundle.absent", "runtime.md Create: an error without a bundle", |t| {
        t.control()?;
        t.fails(&["create", "--bundle", "/nowhere/at/all", &t.id.clone()])?;
        t.is_gone()
    }),
    Case::must("bundle.no_json", INVALID, |t| {
        t.control()?;
        for text in ["", "{", "[]", "null", "\"text\""] {
            t.write_config_text(text)?;
            let ran = t.create_as(&t.id.clone(), &[])?;
            ensure!(ran.status != 0, "{text:?} is accepted");
        }
        t.is_gone()
    }),
    Case::must("bundle.is_moved_nowhere", "bundle.md: the bundle is left as it is", |t| {
        t.output("true")?;
        let text = fs::read_to_string(t.bundle.join("config.json"))?;
        let config: serde_json::Value = serde_json::from_str(&text)?;
        ensure!(config == *t.config(), "config.json has changed");
        Ok(())
    }),
    Case::must("version.1_0", VERSION, |t| {
        t.set("/ociVersion", json!("1.0.0"))?;
        t.create()?;
        // What a state says may be the runtime's own; that it is one is what the field is for.
        t.start()?;
        ensure!(t.wait()? == 0 && t.config().pointer("/ociVersion") == Some(&json!("1.0.0")), "it failed");
        Ok(())
    }),
    Case::must("version.1_2", "config.md Specification version: compatible within major versions", |t| {
        t.set("/ociVersion", json!("1.2.1"))?;
        t.output("true")?;
        ensure!(t.config().pointer("/ociVersion") == Some(&json!("1.2.1")), "the configuration has another");
        Ok(())
    }),
    Case::must("version.required", "config.md Specification version: REQUIRED", |t| {
        t.control()?;
        t.remove("/ociVersion")?;
        t.refused(false)
    }),
    Case::must("version.no_semver", "config.md Specification version: MUST be in SemVer format", |t| {
        t.refuses("/ociVersion", json!("one"), json!("1.0.2"))
    }),
    Case::must(
        "version.another_major",
        "config.md Specification version: no compatibility between major versions",
        |t| t.refuses("/ociVersion", json!("2.0.0"), json!("1.0.2")),
    ),
    Case::must("unknown.at_the_top", UNKNOWN, |t| {
        t.set("/harbour", json!({ "anything": [1, 2] }))?;
        t.set("/hostname", json!("unknown"))?;
        t.prints("hostname", "unknown")
    }),
    Case::must("unknown.in_process", UNKNOWN, |t| {
        t.set("/process/harbour", json!(7))?;
        t.set("/process/user/harbour", json!("x"))?;
        t.set("/process/cwd", json!("/tmp"))?;
        t.prints("pwd", "/tmp")
    }),
    Case::must("unknown.in_linux", UNKNOWN, |t| {
        t.set("/linux/harbour", json!([]))?;
        t.set("/linux/resources/harbour", json!({ "limit": 1 }))?;
        t.set("/linux/resources/memory", json!({ "harbour": 1, "limit": 67108864 }))?;
        t.limits("memory.max", "67108864")
    }),
    Case::must("unknown.in_lists", UNKNOWN, |t| {
        t.push("/mounts", json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"], "harbour": 1 }))?;
        t.push(
            "/linux/devices",
            json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "harbour": true }),
        )?;
        t.prints("df -k /mnt | awk 'END { print $2 }'; test -c /dev/mine && echo there", "64\nthere")
    }),
    Case::must("unknown.annotation", "config.md Annotations: unknown keys are ignored", |t| {
        t.set("/annotations", json!({ "org.opencontainers.harbour": "north", "org.example/slash": "1" }))?;
        t.create()?;
        let state = t.state()?;
        ensure!(state.to_string().contains("org.example/slash"), "{state}");
        Ok(())
    }),
    Case::must("annotations.no_string", "config.md Annotations: values MUST be strings", |t| {
        t.refuses("/annotations", json!({ "org.example.number": 7 }), json!({ "org.example.number": "7" }))
    }),
    Case::must("invalid.boolean", INVALID, |t| t.refuses("/root/readonly", json!("yes"), json!(false))),
    Case::must("invalid.process_is_a_list", INVALID, |t| {
        let process = t.config().pointer("/process").cloned().unwrap_or_default();
        t.refuses("/process", json!([process]), process)
    }),
    Case::must("invalid.mounts_is_an_object", INVALID, |t| {
        let mounts = t.config().pointer("/mounts").cloned().unwrap_or_default();
        t.refuses("/mounts", json!({ "0": mounts }), mounts)
    }),
    Case::must("invalid.hostname_is_a_number", INVALID, |t| t.refuses("/hostname", json!(7), json!("seven"))),
    Case::must("invalid.limit_is_text", INVALID, |t| {
        t.refuses("/linux/resources/pids", json!({ "limit": "many" }), json!({ "limit": 100 }))
    }),
    Case::must("invalid.fraction", INVALID, |t| t.refuses("/process/user/uid", json!(1.5), json!(1))),
    Case::must("invalid.namespace_without_type", "config-linux.md Namespaces: type is REQUIRED", |t| {
        t.control()?;
        t.push("/linux/namespaces", json!({}))?;
        t.refused(false)
    }),
    Case::must("invalid.trailing_text", INVALID, |t| {
        t.control()?;
        t.write_config_text(&format!("{} harbour", t.config()))?;
        let ran = t.create_as(&t.id.clone(), &[])?;
        ensure!(ran.status != 0, "it is accepted");
        Ok(())
    }),
];
