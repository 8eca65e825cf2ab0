//! CycloneDX 1.5 as JSON (<https://cyclonedx.org/docs/1.5/json/>).

use serde_json::{Value, json};

use super::{Inventory, timestamp};

pub(super) fn document(inventory: &Inventory, time: u64) -> Value {
    let mut components = Vec::new();
    let mut references = Vec::new();
    for (index, package) in inventory.packages.iter().enumerate() {
        let reference = format!("{}-{index}", package.kind.word());
        let mut component = json!({
            "type": "library", "bom-ref": reference, "name": package.name, "version": package.version,
            "purl": package.purl,
        });
        if let Some(licence) = &package.licence {
            // Named, not identified: whether it is SPDX's identifier is not known here.
            component["licenses"] = json!([{"license": {"name": licence}}]);
        }
        if let Some(architecture) = &package.architecture {
            component["properties"] = json!([{"name": "bulkhead:architecture", "value": architecture}]);
        }
        components.push(component);
        references.push(reference);
    }
    let unread: Vec<Value> =
        inventory.unread.iter().map(|words| json!({"name": "bulkhead:not-read", "value": words})).collect();
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": format!("urn:uuid:{}", inventory.identity()),
        "metadata": {
            "timestamp": timestamp(time),
            "tools": {"components": [
                {"type": "application", "name": "bulkhead-image", "version": env!("CARGO_PKG_VERSION")},
            ]},
            "component": {"type": "container", "bom-ref": "root", "name": inventory.name},
            "properties": unread,
        },
        "components": components,
        "dependencies": [{"ref": "root", "dependsOn": references}],
    })
}
