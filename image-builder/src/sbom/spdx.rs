//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use serde_json::{Value, json};

use super::{Inventory, Package, timestamp};

/// Identifiers of the SPDX licence list that packages use most. Of another word nobody here can say whether it is
/// one, and it is told in a comment.
const LICENCES: &[&str] = &[
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
    "curl",
];

const UNKNOWN: &str = "NOASSERTION";

pub(super) fn document(inventory: &Inventory, time: u64) -> Value {
    let root = "SPDXRef-Root";
    let id = |index: usize, package: &Package| format!("SPDXRef-{}-{index}", package.kind.word());
    let mut packages = vec![json!({
        "SPDXID": root, "name": inventory.name, "downloadLocation": UNKNOWN, "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN, "licenseDeclared": UNKNOWN, "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", root)];
    for (index, item) in inventory.packages.iter().enumerate() {
        packages.push(package(item, &id(index, item)));
        relationships.push(relationship(root, "CONTAINS", &id(index, item)));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": inventory.name,
        "documentNamespace": format!("urn:uuid:{}", inventory.identity()),
        "creationInfo": {
            "created": timestamp(time),
            "creators": [concat!("Tool: bulkhead-image-", env!("CARGO_PKG_VERSION"))],
        },
        "documentDescribes": [root],
        "packages": packages, "relationships": relationships,
    });
    if !inventory.unread.is_empty() {
        let list: Vec<&str> = inventory.unread.iter().copied().collect();
        document["comment"] = format!("Not read: {}", list.join(", ")).into();
    }
    document
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

fn package(package: &Package, id: &str) -> Value {
    let licence = package.licence.as_deref();
    let declared = licence.filter(|licence| is_expression(licence));
    let mut value = json!({
        "SPDXID": id, "name": package.name, "versionInfo": package.version,
        "downloadLocation": UNKNOWN, "filesAnalyzed": false, "supplier": UNKNOWN,
        "licenseConcluded": UNKNOWN, "licenseDeclared": declared.unwrap_or(UNKNOWN), "copyrightText": UNKNOWN,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl,
        }],
    });
    if let (Some(licence), None) = (licence, declared) {
        value["licenseComments"] = format!("The package says: {licence}").into();
    }
    value
}

/// Whether the words are known licences joined by AND and OR (SPDX 2.3, annex D), without parentheses.
fn is_expression(words: &str) -> bool {
    let words: Vec<&str> = words.split(' ').collect();
    let fits = |(index, word): (usize, &&str)| match index % 2 {
        0 => LICENCES.contains(word),
        _ => matches!(*word, "AND" | "OR"),
    };
    words.len() % 2 == 1 && words.iter().enumerate().all(fits)
}
