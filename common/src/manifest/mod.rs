//! Who may say which bytes run: release manifests, maintainers' signatures and the threshold.
//!
//! A manifest is JSON. Its identity is the SHA-256 of its bytes as published; those bytes are what
//! the maintainers sign with minisign-compatible ed25519 signatures.
mod trust;

pub use trust::{Accepted, SignatureFault, TrustError, TrustRoot, split_signatures};

use crate::chain::{Fork, Hash32};
use crate::id::ReleaseName;
use crate::release::{Artifact, Digest, ReleaseRef};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Largest manifest accepted, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// When the new rules start and how hosts get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// No height matters.
    Anytime,
    /// Same rules until `height`; every node should run the release before it (geth and WBFT forks).
    BeforeHeight {
        /// First block under the new rules.
        height: u64,
    },
    /// The old release ends at `height`, or its data does not fit beyond it: every host switches there, by itself.
    /// The signatures over this manifest are the authorisation.
    AtHeight {
        /// First block of the new release.
        height: u64,
    },
}

impl Activation {
    /// The first height under new rules, when there is one.
    pub fn height(&self) -> Option<u64> {
        match self {
            Activation::Anytime => None,
            Activation::BeforeHeight { height } | Activation::AtHeight { height } => Some(*height),
        }
    }
}

/// What the maintainers sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format; 1.
    pub schema: u32,
    /// Name of the release.
    pub name: ReleaseName,
    /// Grows with every release; a host never goes below the highest it accepted, except by rollback.
    pub sequence: u64,
    /// EIP-155 chain id it is for.
    pub chain_id: u64,
    /// Hash of block 0 of the chain it is for.
    pub genesis_hash: Hash32,
    /// When the new rules start.
    pub activation: Activation,
    /// Forks its binary must know, checked against `admin_nodeInfo` of the running node.
    #[serde(default)]
    pub forks: Vec<Fork>,
    /// Whether a host that ran it can go back to the release before.
    #[serde(default)]
    pub irreversible: bool,
    /// What `<binary> version` must print somewhere, when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// End of validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMs>,
    /// Its files.
    pub artifacts: Vec<Artifact>,
}

/// A text that is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest has {0} bytes, at most 262144 are accepted")]
    TooLarge(usize),
    /// Not JSON of this shape.
    #[error("the manifest cannot be read: {0}")]
    Unreadable(String),
    /// A later format.
    #[error("the manifest has schema {0}, this program knows 1")]
    Schema(u32),
    /// A name that only a host's own folders may have.
    #[error("{0:?} is no name for a published release: lower-case letters, digits, '.', '_' and '-' only")]
    Name(String),
    /// Nothing to run.
    #[error("the manifest of {0} names no artifact")]
    NoArtifact(ReleaseName),
    /// An artifact whose executable is not named well.
    #[error("the manifest's artifact {url}: {why}")]
    Member {
        /// Where the artifact is published.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl Manifest {
    /// Reads a manifest from its bytes as published.
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are too many, no JSON of this shape, of a later schema, without
    /// artifacts, or with an archive whose executable is not named well.
    pub fn read(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|e| ManifestError::Unreadable(e.to_string()))?;
        if manifest.schema != 1 {
            return Err(ManifestError::Schema(manifest.schema));
        }
        if !manifest.name.is_published() {
            return Err(ManifestError::Name(manifest.name.into()));
        }
        if manifest.artifacts.is_empty() {
            return Err(ManifestError::NoArtifact(manifest.name));
        }
        for artifact in &manifest.artifacts {
            if let Some(why) = artifact.member_fault() {
                return Err(ManifestError::Member { url: artifact.url.clone(), why });
            }
        }
        Ok(manifest)
    }

    /// The artifact for a platform, names as in `std::env::consts`.
    pub fn artifact(&self, os: &str, arch: &str, variant: Option<&str>) -> Option<&Artifact> {
        self.artifacts.iter().find(|a| a.os == os && a.arch == arch && a.variant.as_deref() == variant)
    }

    /// How instructions name this release, given the digest of its bytes.
    pub fn as_ref(&self, manifest: Digest) -> ReleaseRef {
        ReleaseRef { name: self.name.clone(), sequence: self.sequence, manifest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_a_host_has_is_refused() {
        let read = |name: &str| {
            let hash = format!("0x{}", "1".repeat(64));
            Manifest::read(
                serde_json::json!({
                    "schema": 1, "name": name, "sequence": 1, "chain_id": 1, "genesis_hash": hash,
                    "activation": {"mode": "anytime"}, "artifacts": [],
                })
                .to_string()
                .as_bytes(),
            )
        };
        assert_eq!(read("Chain2").unwrap_err(), ManifestError::Name("Chain2".into()));
        assert!(matches!(read("../x").unwrap_err(), ManifestError::Unreadable(_)));
        assert!(matches!(read("v2").unwrap_err(), ManifestError::NoArtifact(_)));
    }
}
