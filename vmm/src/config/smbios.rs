//! `smbios`: which machine the guest finds itself in. An addition to Firecracker's API.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ConfigError;
use crate::boot::smbios::Identity;
use crate::random;

/// The longest text, in bytes.
const MAX_TEXT: usize = 256;
const MANUFACTURER: &str = "Bulkhead";
const PRODUCT: &str = "Bulkhead machine";

/// What SMBIOS type 1 says; see `/sys/class/dmi/id` in the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Smbios {
    /// The serial number (`product_serial`), of which cloud-init takes where its data is. None when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The UUID (`product_uuid`), 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12. When absent it is made
    /// from the machine's id, so that it is the same at each start, or drawn where the machine has no id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The maker (`sys_vendor`); "Bulkhead" when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// The product's name (`product_name`); "Bulkhead machine" when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

impl Smbios {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |message: String| Err(ConfigError::invalid("smbios", message));
        let texts =
            [("serial", &self.serial), ("manufacturer", &self.manufacturer), ("product", &self.product)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            let fine = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if text.is_empty() || text.len() > MAX_TEXT || !fine {
                return refused(format!("{name} has 1 to {MAX_TEXT} printable ASCII characters"));
            }
        }
        match &self.uuid {
            Some(uuid) if parse(uuid).is_none() => refused(format!("uuid {uuid:?} is not a UUID")),
            _ => Ok(()),
        }
    }

    /// Whole, for the machine named `id`, where it has a name.
    pub fn identity(&self, id: Option<&str>) -> std::io::Result<Identity> {
        let or = |text: &Option<String>, otherwise: &str| text.clone().unwrap_or_else(|| otherwise.into());
        Ok(Identity {
            manufacturer: or(&self.manufacturer, MANUFACTURER),
            product: or(&self.product, PRODUCT),
            serial: or(&self.serial, ""),
            uuid: match self.uuid.as_deref().and_then(parse) {
                Some(uuid) => uuid,
                None => default_uuid(id)?,
            },
        })
    }
}

/// The UUID of a machine that was given none (RFC 9562: version 8 from the id, version 4 drawn).
fn default_uuid(id: Option<&str>) -> std::io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    let version = match id {
        Some(id) => {
            let digest = Sha256::new().chain_update("bulkhead machine ").chain_update(id).finalize();
            uuid.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
            8
        }
        None => {
            random::fill(&mut uuid)?;
            4
        }
    };
    uuid[6] = uuid[6] & 0x0f | version << 4;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let whole = groups == [8, 4, 4, 4, 12] && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: serde_json::Value) -> Result<(), String> {
        let smbios: Smbios = serde_json::from_value(fields).map_err(|error| error.to_string())?;
        smbios.check().map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_checked_and_named() {
        let uuid = "00112233-4455-6677-8899-aAbBcCdDeEfF";
        check(serde_json::json!({"serial": "ds=nocloud", "uuid": uuid, "product": "x"})).unwrap();
        check(serde_json::json!({})).unwrap();
        for (field, value) in [
            ("serial", String::new()),
            ("serial", "x".repeat(257)),
            ("product", "a\nb".into()),
            ("manufacturer", "\u{e9}".into()),
            ("uuid", "00112233445566778899aabbccddeeff".into()),
            ("uuid", "+0112233-4455-6677-8899-aabbccddeeff".into()),
            ("uuid", "00112233-4455-6677-8899-aabbccddeef".into()),
            ("colour", "red".into()),
        ] {
            let message = check(serde_json::json!({field: value})).unwrap_err();
            assert!(message.contains(field), "{message}");
        }
    }

    #[test]
    fn a_name_gives_the_same_uuid_each_time_and_no_name_a_new_one() {
        let uuid = |id| Smbios::default().identity(id).unwrap().uuid;
        assert_eq!(uuid(Some("a")), uuid(Some("a")));
        assert_ne!(uuid(Some("a")), uuid(Some("b")));
        assert_ne!(uuid(None), uuid(None));
        assert_eq!((uuid(Some("a"))[6] >> 4, uuid(None)[6] >> 4), (8, 4));
        assert_eq!(uuid(None)[8] >> 6, 2);
        let given = Smbios { uuid: Some("00112233-4455-6677-8899-aabbccddeeff".into()), ..Smbios::default() };
        assert_eq!(given.identity(None).unwrap().uuid[..3], [0, 0x11, 0x22]);
    }
}
