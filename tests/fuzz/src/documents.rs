//! The documents of an image in its archive: indexes, manifests, configurations, layers.

use std::collections::BTreeMap;
use std::io::Write;

use bulkhead_image::digest::Sha256;
use bulkhead_image::limits::Limits;
use bulkhead_image::oci::layer::Assembly;
use bulkhead_image::oci::{self, OciError};
use bulkhead_image::tree::Bodies;
use bulkhead_image::{Source, sentence};

/// Documents that are tried; what stands behind them is the last one's.
const MAX_DOCUMENTS: usize = 8;

/// What stands between two documents.
const BETWEEN: &[u8] = b"\n--\n";

/// Opens an archive whose `index.json` is the first document, and whose blobs are the others; `@N` in a document is the
/// digest of the Nth, `#N` its size, where that comes later. Whatever is in it, a refusal is one line; an image is what
/// its blobs say: without a blob that it needs it is refused, and so it is with one that is another.
pub fn target(bytes: &[u8]) {
    let mut members = members(bytes);
    let taken = taken(&members);
    let Ok(image) = taken else {
        let told = taken.err().map(|error| sentence(&error)).unwrap_or_default();
        return assert!(!told.chars().any(char::is_control), "{told:?}");
    };
    let names: Vec<String> = members.keys().filter(|name| name.starts_with("blobs/")).cloned().collect();
    for name in names {
        let Some(content) = members.remove(&name) else { continue };
        let without = self::taken(&members);
        members.insert(name.clone(), [&content[..], b" "].concat());
        let with_another = self::taken(&members);
        members.insert(name.clone(), content);
        match without {
            Err(_) => assert!(with_another.is_err(), "{name} is not held against its digest"),
            Ok(without) => assert_eq!(without, image, "{name} was not needed"),
        }
    }
}

/// How it runs, and how many entries its root has.
type Taken = (bulkhead_protocol::image::ImageConfig, usize);

fn taken(members: &BTreeMap<String, Vec<u8>>) -> Result<Taken, OciError> {
    let limits = Limits { data: 1 << 20, entries: 100, layers: 4, document: 64 << 10, ..Limits::default() };
    let mut archive = tempfile::NamedTempFile::new().map_err(OciError::Spill)?;
    archive.write_all(&tar(members)).map_err(OciError::Spill)?;
    let source = Source::OciArchive { path: archive.path().to_owned(), tag: None };
    let scratch = std::env::temp_dir();
    let image = oci::open(&source, &scratch, &limits)?;
    let image =
        image.ok_or_else(|| OciError::Unusable("the archive".to_owned(), "it is no image".to_owned()))?;
    let config = image.config.clone();
    let bodies = Bodies::new(&scratch, limits.data).map_err(OciError::Spill)?;
    let mut assembly = Assembly::new(bodies, &limits);
    image.assemble(&mut assembly, &limits)?;
    Ok((config, assembly.tree.len()))
}

/// The documents by the names that they have in an archive.
fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut documents: Vec<Vec<u8>> = split(bytes);
    let mut members = BTreeMap::new();
    for number in (0..documents.len()).rev() {
        let mut document = std::mem::take(&mut documents[number]);
        for (later, content) in documents.iter().enumerate().skip(number + 1) {
            document = replaced(&document, &format!("@{later}"), &format!("sha256:{}", digits(content)));
            document = replaced(&document, &format!("#{later}"), &content.len().to_string());
        }
        let name =
            if number == 0 { "index.json".to_owned() } else { format!("blobs/sha256/{}", digits(&document)) };
        members.insert(name, document.clone());
        documents[number] = document;
    }
    members
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut documents, mut rest) = (Vec::new(), bytes);
    while documents.len() + 1 < MAX_DOCUMENTS
        && let Some(place) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN)
    {
        documents.push(rest[..place].to_vec());
        rest = &rest[place + BETWEEN.len()..];
    }
    documents.push(rest.to_vec());
    documents
}

fn digits(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn replaced(document: &[u8], word: &str, by: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), document);
    while let Some(place) = rest.windows(word.len()).position(|window| window == word.as_bytes()) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(by.as_bytes());
        rest = &rest[place + word.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn tar(members: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Memory does not fail, and names of this length fit.
        let _ = archive.append_data(&mut header, name, &content[..]);
    }
    archive.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_images_and_what_is_none() {
        let is_taken = |seed: &[u8]| taken(&members(seed)).is_ok();
        assert!(is_taken(include_bytes!("../seeds/documents/image")));
        assert!(is_taken(include_bytes!("../seeds/documents/index-of-indexes")));
        assert!(!is_taken(include_bytes!("../seeds/documents/two-tags")));
        assert!(!is_taken(include_bytes!("../seeds/documents/index-and-manifest")));
    }
}
