//! Lists of packages: what is in them, and that tools of others can read them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::layout::{Layer, Layout};
use support::{bulkhead_image, refusal, run};

const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u9\n\n\
    Package: libstdc++6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.2.0-14\n";

/// An image with packages of every kind, in two layers of which the second removes one.
fn layout(folder: &Path) -> Layout {
    let first = Layer::new()
        .file("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n")
        .file("var/lib/dpkg/status", STATUS.as_bytes())
        .file("opt/p/a-1.dist-info/METADATA", b"Name: a\nVersion: 1\nLicense: MIT\n")
        .file("opt/p/b-1.dist-info/METADATA", b"Name: b\nVersion: 1\nLicense: my own \x1b[31m words\n")
        .file("srv/node_modules/c/package.json", br#"{"name":"c","version":"3.0.0","license":"Apache-2.0"}"#)
        .file("var/lib/rpm/Packages", b"x");
    let second = Layer::new().file("opt/p/.wh.a-1.dist-info", b"");
    Layout::with_layers(folder, &[first.finish(), second.finish()])
}

fn sbom(words: &[&str]) -> (String, String) {
    let output = bulkhead_image(&[&["sbom"], words].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

#[test]
fn an_image_and_its_source_give_the_same_list() {
    let folder = tempfile::tempdir().unwrap();
    let source = layout(folder.path()).source();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for format in ["spdx-json", "cyclonedx-json"] {
        let built = bulkhead_image(&[
            "build",
            &source,
            "-o",
            &path("image"),
            "--sbom",
            &path("list"),
            "--sbom-format",
            format,
        ]);
        assert!(built.status.success());
        let beside = fs::read_to_string(path("list")).unwrap();
        let (of_image, said) = sbom(&[&path("image"), "--format", format]);
        assert_eq!(beside, of_image);
        assert_eq!(said.lines().count(), 1);
        assert!(said.contains("rpm"), "{said}");
        // The name comes from the source's last component and is the manifest's as well.
        assert_eq!(sbom(&[&source, "--format", format]).0, of_image);
        let (again, _) = sbom(&[&source, "--format", format, "--build-time", "1700000000"]);
        assert_eq!(again.replace("2023-11-14T22:13:20Z", "1970-01-01T00:00:00Z"), of_image);
    }
    let (text, _) = sbom(&[&source]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let purls: Vec<&str> = list["packages"].as_array().unwrap()[1..]
        .iter()
        .map(|package| package["externalRefs"][0]["referenceLocator"].as_str().unwrap())
        .collect();
    assert_eq!(
        purls,
        [
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12",
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12",
            "pkg:pypi/b@1",
            "pkg:npm/c@3.0.0",
        ]
    );
}

/// With what the authors of both formats publish to check documents.
const VALIDATE: &str = r"
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
document = parse_file(sys.argv[1])
faults = [fault.validation_message for fault in validate_full_spdx_document(document)]
text = open(sys.argv[2]).read()
fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
faults += [str(fault)] if fault else []
for package in document.packages:
    for reference in package.external_references:
        purl = PackageURL.from_string(reference.locator)
        if purl.to_string() != reference.locator:
            faults.append(f'{reference.locator} would be {purl.to_string()}')
print(len(document.packages), *faults, sep='\n')
";

#[test]
fn tools_of_others_find_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let source = layout(folder.path()).source();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    // What a whole machine has, that of the test: hundreds of packages.
    fs::create_dir_all(folder.path().join("host/var/lib/dpkg")).unwrap();
    fs::copy("/var/lib/dpkg/status", folder.path().join("host/var/lib/dpkg/status")).unwrap();
    let python = run(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/sbom-validators"), &[]);
    for (source, least) in [(source, 5), (format!("dir:{}", path("host")), 100)] {
        sbom(&[&source, "-o", &path("list.spdx.json")]);
        sbom(&[&source, "--format", "cyclonedx-json", "-o", &path("list.cdx.json")]);
        let mut command = Command::new("python3");
        command.args(["-c", VALIDATE, &path("list.spdx.json"), &path("list.cdx.json")]);
        let judged = command.env("PYTHONPATH", python.trim()).output().unwrap();
        let (said, failed) =
            (String::from_utf8_lossy(&judged.stdout), String::from_utf8_lossy(&judged.stderr));
        assert!(judged.status.success(), "{failed}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.trim().parse::<usize>().unwrap() >= least, "{said}");
    }
}

#[test]
fn a_list_that_cannot_be_made_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = layout(folder.path()).source();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let text = refusal(&["sbom", &path("none")], folder.path());
    assert!(text.starts_with("Cannot read the image "), "{text}");
    let text = refusal(&["sbom", &source, "-o", "/nonexistent/list"], folder.path());
    assert!(text.starts_with("Cannot write the list of packages to /nonexistent/list"), "{text}");
    refusal(&["sbom", "redis:7"], folder.path());
}
