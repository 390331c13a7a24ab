//! The maintainers a host trusts, and the check of a manifest against them.
use super::{Manifest, ManifestError};
use crate::release::Digest;
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

/// The maintainers' public keys and how many of them must sign. Given to a host at its installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRoot {
    /// Valid signatures by different keys that a manifest needs; at least 1.
    pub threshold: usize,
    /// minisign public keys, the base64 line only.
    pub keys: Vec<String>,
}

/// Why one signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Not in minisign's format.
    #[error("signature {index} is not in minisign's format")]
    Malformed {
        /// Its place in the file, from 1.
        index: usize,
    },
    /// By none of the trusted keys, or not over these bytes.
    #[error("signature {index} is by no trusted key or not over this manifest")]
    Untrusted {
        /// Its place in the file, from 1.
        index: usize,
    },
    /// The same key again.
    #[error("signature {index} repeats a key that already signed")]
    Repeated {
        /// Its place in the file, from 1.
        index: usize,
    },
}

/// Why a manifest is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The trust root itself cannot be used.
    #[error("the trusted keys cannot be used: {0}")]
    Root(String),
    /// The bytes are no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Too few valid signatures.
    #[error("{valid} of {needed} needed signatures are valid{}", faults.iter().map(|f| format!("; {f}")).collect::<String>())]
    Threshold {
        /// Valid signatures by different keys.
        valid: usize,
        /// The threshold.
        needed: usize,
        /// Why the others do not count.
        faults: Vec<SignatureFault>,
    },
}

/// A manifest that enough maintainers signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Which keys signed, by their place in the trust root.
    pub signers: Vec<usize>,
}

impl TrustRoot {
    fn decoded(&self) -> Result<Vec<PublicKey>, TrustError> {
        if self.threshold == 0 || self.threshold > self.keys.len() {
            return Err(TrustError::Root(format!(
                "threshold {} of {} keys: it must be at least 1 and at most the number of keys",
                self.threshold,
                self.keys.len()
            )));
        }
        for (i, key) in self.keys.iter().enumerate() {
            if self.keys[..i].contains(key) {
                return Err(TrustError::Root(format!("key {} is listed twice", i + 1)));
            }
        }
        self.keys
            .iter()
            .enumerate()
            .map(|(i, k)| {
                PublicKey::from_base64(k.trim())
                    .map_err(|_| TrustError::Root(format!("key {} is no minisign public key", i + 1)))
            })
            .collect()
    }

    /// Whether the keys and the threshold can be used at all.
    ///
    /// # Errors
    /// [`TrustError::Root`] names the key or the threshold at fault.
    pub fn validate(&self) -> Result<(), TrustError> {
        self.decoded().map(|_| ())
    }

    /// Checks the published bytes of a manifest against a file of signatures (see [`split_signatures`]).
    ///
    /// # Errors
    /// [`TrustError`] when the bytes are no manifest or fewer than `threshold` different keys signed them.
    pub fn accept(&self, manifest: &[u8], signatures: &str) -> Result<Accepted, TrustError> {
        let keys = self.decoded()?;
        let (mut signers, mut faults) = (Vec::new(), Vec::new());
        for (i, text) in split_signatures(signatures).into_iter().enumerate() {
            let index = i + 1;
            let Ok(signature) = Signature::decode(&text) else {
                faults.push(SignatureFault::Malformed { index });
                continue;
            };
            match keys.iter().position(|k| k.verify(manifest, &signature, false).is_ok()) {
                None => faults.push(SignatureFault::Untrusted { index }),
                Some(k) if signers.contains(&k) => faults.push(SignatureFault::Repeated { index }),
                Some(k) => signers.push(k),
            }
        }
        if signers.len() < self.threshold {
            return Err(TrustError::Threshold { valid: signers.len(), needed: self.threshold, faults });
        }
        Ok(Accepted { manifest: Manifest::read(manifest)?, digest: Digest::of(manifest), signers })
    }
}

/// Splits a file of signatures: any number of minisign signature files one after the other, each
/// beginning with its `untrusted comment:` line. A file with one signature is a plain minisign file.
/// At most 64 signatures are looked at.
pub fn split_signatures(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        if line.starts_with("untrusted comment:") || out.is_empty() {
            if out.len() == 64 {
                break;
            }
            out.push(String::new());
        }
        if let Some(last) = out.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    out
}
