//! Sends an image: blobs that are not there, then the manifest (distribution specification, "Pushing").

use std::io::{self, Read};

use super::{RegistryError, Session};
use crate::at_once;
use crate::digest::Sha256;
use crate::http::{Body, Method, Origin, Request, resolved};
use crate::oci::{OciError, Publication, PublishedBlob};
use crate::progress::{Outcome, Progress};
use crate::store::AT_ONCE;

impl Session<'_> {
    /// Sends an image under a tag or under its digest alone; answers the digits of its digest.
    pub fn push(
        &self,
        publication: &Publication,
        tag: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<String, RegistryError> {
        at_once::for_each(&publication.blobs, AT_ONCE, |blob| {
            progress.begin(&blob.digest, blob.size, 0);
            let there = self.has(&blob.digest)?;
            let outcome = if there { Outcome::Present } else { self.upload(blob, progress)? };
            progress.end(&blob.digest, outcome);
            Ok::<(), RegistryError>(())
        })?;
        let digest = hex::encode(Sha256::digest(&publication.manifest));
        let name = tag.map_or_else(|| format!("sha256:{digest}"), str::to_owned);
        let address = self.address(&format!("manifests/{name}"));
        let response = self.ask(|| {
            Request::new(Method::Put, &address)
                .header("content-type", &publication.media_type)
                .body(Body::Bytes(&publication.manifest))
        })?;
        self.judged(response, &[200, 201, 202], &format!("manifest {}:{name}", self.repository))?;
        Ok(digest)
    }

    /// Whether a blob is there.
    fn has(&self, digest: &str) -> Result<bool, RegistryError> {
        let address = self.address(&format!("blobs/sha256:{digest}"));
        let response = self.ask(|| Request::new(Method::Head, &address))?;
        let response = self.judged(response, &[200, 404], &format!("blob sha256:{digest}"))?;
        Ok(response.status() == 200)
    }

    /// Sends a blob in one piece, unless the registry finds it in another repository ("Mounting a blob").
    fn upload(&self, blob: &PublishedBlob, progress: &dyn Progress) -> Result<Outcome, RegistryError> {
        let what = format!("the upload of blob sha256:{}", blob.digest);
        let mut address = self.address("blobs/uploads/");
        if let Some(from) = &self.mount_from {
            address += &format!("?mount=sha256:{}&from={from}", blob.digest);
        }
        let begun = self.ask(|| Request::new(Method::Post, &address).body(Body::Bytes(b"")))?;
        let begun =
            self.judged(begun, if self.mount_from.is_some() { &[201, 202] } else { &[202] }, &what)?;
        if begun.status() == 201 {
            return Ok(Outcome::Present);
        }
        let location = begun.header("location").unwrap_or_default();
        let place = resolved(&begun.address(), location)?;
        let joint = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{joint}digest=sha256:{}", blob.digest);
        let failed = |error| OciError::Blob(format!("sha256:{}", blob.digest), "the source".into(), error);
        let mut reader = Told { reader: blob.reader().map_err(failed)?, digest: &blob.digest, progress };
        let put = Request::new(Method::Put, &place)
            .header("content-type", "application/octet-stream")
            .body(Body::Reader(&mut reader, blob.size));
        // Whoever else the registry has store its blobs gets no credentials of ours.
        let ours = Origin::parse(&place)? == Origin::parse(&self.endpoint.base)?;
        let response = if ours { self.send(put)? } else { self.send_plainly(put)? };
        self.judged(response, &[201], &what).map(|_| Outcome::Transferred)
    }
}

/// Tells how much of a blob was read.
struct Told<'t, R> {
    reader: R,
    digest: &'t str,
    progress: &'t dyn Progress,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.progress.advance(self.digest, read as u64);
        Ok(read)
    }
}
