//! OCI layouts written by hand, so that each of their words can be a lie.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A layer's tar stream.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// An entry with a name and a link target that the `tar` crate would not write.
    pub fn entry(mut self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o750);
        header.set_uid(10);
        header.set_gid(20);
        header.set_mtime(1_000_000_000);
        header.set_device_major(7).unwrap();
        header.set_device_minor(300).unwrap();
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    /// An entry with a header of the caller's, who has given it a checksum.
    pub fn header(mut self, header: &Header, data: &[u8]) -> Self {
        self.0.append(header, data).unwrap();
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", data)
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    /// Words of an extended header for the next entry.
    pub fn pax(mut self, words: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(words.iter().copied()).unwrap();
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A folder with an OCI layout in it.
pub struct Layout(pub PathBuf);

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Layout {
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("layout");
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path)
    }

    /// The layout of an image with these layers.
    pub fn with_layers(folder: &Path, layers: &[Vec<u8>]) -> Self {
        let layout = Self::new(folder);
        let manifest = layout.manifest(layers);
        let descriptor = layout.blob_json(MANIFEST, &manifest);
        layout.index(&[descriptor]);
        layout
    }

    pub fn source(&self) -> String {
        format!("oci:{}", self.0.display())
    }

    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// Stores a blob and describes it.
    pub fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    pub fn blob_json(&self, kind: &str, document: &Value) -> Value {
        self.blob(kind, document.to_string().as_bytes())
    }

    /// Stores the layers, every second one compressed, and their configuration.
    pub fn manifest(&self, layers: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<_> =
            layers.iter().map(|layer| format!("sha256:{}", hex::encode(Sha256::digest(layer)))).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Entrypoint": ["/bin/sh"], "Env": ["A=1"], "Labels": {"l": "$(reboot)"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob_json("application/vnd.oci.image.config.v1+json", &config);
        let layers: Vec<_> =
            layers.iter().enumerate().map(|(index, layer)| self.layer(index, layer)).collect();
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
    }

    fn layer(&self, index: usize, layer: &[u8]) -> Value {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        match index % 3 {
            0 => self.blob(kind, layer),
            1 => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(layer).unwrap();
                self.blob(&format!("{kind}+gzip"), &gzip.finish().unwrap())
            }
            _ => self.blob(&format!("{kind}+zstd"), &zstd::encode_all(layer, 1).unwrap()),
        }
    }

    /// Writes `index.json`.
    pub fn index(&self, manifests: &[Value]) {
        self.index_document(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}));
    }

    pub fn index_document(&self, document: &Value) {
        fs::write(self.0.join("index.json"), document.to_string()).unwrap();
    }

    /// The same layout as a tar file.
    pub fn archive(&self, path: &Path) {
        let mut builder = Builder::new(fs::File::create(path).unwrap());
        builder.append_dir_all(".", &self.0).unwrap();
        builder.finish().unwrap();
    }
}
