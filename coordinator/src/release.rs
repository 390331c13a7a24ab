//! Releases the coordinator knows: verified manifests with their signatures.
use common::manifest::Manifest;
use common::release::{Digest, ReleaseRef};
use common::time::UnixMs;
use serde::{Deserialize, Serialize};

/// A release that was verified when it was added. Agents verify it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// How instructions name it.
    pub release: ReleaseRef,
    /// The manifest, read from `manifest_text`.
    pub manifest: Manifest,
    /// The manifest's bytes as published (UTF-8, as JSON is).
    pub manifest_text: String,
    /// The file of signatures.
    pub signatures: String,
    /// Trusted keys that signed, by their place in `[trust]`, from 0.
    pub signers: Vec<usize>,
    /// When it was added.
    pub added_at: UnixMs,
}

impl ReleaseRecord {
    /// Digest of the manifest's bytes.
    pub fn digest(&self) -> Digest {
        self.release.manifest
    }
}
