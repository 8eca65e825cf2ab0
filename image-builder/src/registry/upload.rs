//! Sends an image: blobs that are not there, then the manifest (distribution specification, "Pushing").

use super::{RegistryError, Session};
use crate::digest::Sha256;
use crate::http::{Body, Method, Origin, Request, resolved};
use crate::oci::{OciError, Publication, PublishedBlob};
use crate::store::{Outcome, Progress};

impl Session<'_> {
    /// Sends an image under a tag or under its digest alone; answers the digits of its digest.
    pub fn push(
        &self,
        publication: &Publication,
        tag: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<String, RegistryError> {
        for blob in &publication.blobs {
            progress.begin(&blob.digest, blob.size, 0);
            let there = self.has(&blob.digest)?;
            if !there {
                self.upload(blob)?;
            }
            progress.advance(&blob.digest, blob.size);
            progress.end(&blob.digest, if there { Outcome::Present } else { Outcome::Transferred });
        }
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

    /// Sends a blob in one piece.
    fn upload(&self, blob: &PublishedBlob) -> Result<(), RegistryError> {
        let what = format!("the upload of blob sha256:{}", blob.digest);
        let address = self.address("blobs/uploads/");
        let begun = self.ask(|| Request::new(Method::Post, &address).body(Body::Bytes(b"")))?;
        let begun = self.judged(begun, &[202], &what)?;
        let location = begun.header("location").unwrap_or_default();
        let place = resolved(&begun.address(), location)?;
        let joint = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{joint}digest=sha256:{}", blob.digest);
        let failed = |error| OciError::Blob(format!("sha256:{}", blob.digest), "the source".into(), error);
        let mut reader = blob.reader().map_err(failed)?;
        let put = Request::new(Method::Put, &place)
            .header("content-type", "application/octet-stream")
            .body(Body::Reader(&mut reader, blob.size));
        // Whoever else the registry has store its blobs gets no credentials of ours.
        let ours = Origin::parse(&place)? == Origin::parse(&self.endpoint.base)?;
        let response = if ours { self.send(put)? } else { self.send_plainly(put)? };
        self.judged(response, &[201], &what).map(drop)
    }
}
