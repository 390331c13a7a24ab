//! Whether a manifest may be followed on this host.
use crate::clock;
use common::chain::Hash32;
use common::id::ReleaseName;
use common::manifest::{Accepted, Manifest, TrustError, TrustRoot};
use common::release::{Artifact, Digest, ReleaseRef};
use common::time::UnixMs;
use common::wire::v1::{Fault, FaultCode};
use serde::{Deserialize, Serialize};

/// The chain of this host's node, as the node said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainId {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: Hash32,
}

/// What a manifest is judged against.
#[derive(Debug, Clone)]
pub struct Host {
    /// Whom this host believes; `None` when it was installed without keys.
    pub trust: Option<TrustRoot>,
    /// Highest sequence accepted so far.
    pub highest_sequence: u64,
    /// The node's chain.
    pub chain: ChainId,
    /// Now, by the coordinator's clock.
    pub now: UnixMs,
    /// Variant of the build this host wants.
    pub variant: Option<String>,
}

/// Checks the bytes of a manifest and its signatures: that they are what the coordinator named, that
/// enough maintainers signed, that it is for this chain and platform, not over, and no step back.
///
/// # Errors
/// The fault that names the first check that fails.
pub fn manifest(
    bytes: &[u8],
    signatures: &str,
    wanted: &ReleaseRef,
    host: &Host,
) -> Result<(Manifest, Artifact), Fault> {
    let manifest = signed(bytes, signatures, &wanted.manifest, host)?;
    if manifest.name != wanted.name || manifest.sequence != wanted.sequence {
        let detail = format!(
            "the manifest is of {} with sequence {}, {} with {} was named",
            manifest.name, manifest.sequence, wanted.name, wanted.sequence
        );
        return Err(clock::fault(FaultCode::ManifestMismatch, detail));
    }
    fit(manifest, host)
}

/// As [`manifest`], for a plan of this host, which names the release and the digest of the manifest but
/// not the sequence.
///
/// # Errors
/// The fault that names the first check that fails.
pub fn local(
    bytes: &[u8],
    signatures: &str,
    digest: &Digest,
    name: &ReleaseName,
    host: &Host,
) -> Result<(Manifest, Artifact), Fault> {
    let manifest = signed(bytes, signatures, digest, host)?;
    if manifest.name != *name {
        let detail = format!("the manifest is of {}, the plan is of {name}", manifest.name);
        return Err(clock::fault(FaultCode::ManifestMismatch, detail));
    }
    fit(manifest, host)
}

/// The bytes are those that were named, and enough maintainers signed them.
fn signed(bytes: &[u8], signatures: &str, named: &Digest, host: &Host) -> Result<Manifest, Fault> {
    let digest = Digest::of(bytes);
    if digest != *named {
        let detail = format!("the manifest has digest {digest}, {named} was named");
        return Err(clock::fault(FaultCode::ManifestMismatch, detail));
    }
    let Some(trust) = &host.trust else {
        let detail = "this host was installed without maintainers' keys ([trust] in its settings)";
        return Err(clock::fault(FaultCode::SignatureThreshold, detail));
    };
    let Accepted { manifest, .. } = trust.accept(bytes, signatures).map_err(|e| {
        let code = match &e {
            TrustError::Manifest(_) => FaultCode::ManifestMismatch,
            TrustError::Root(_) | TrustError::Threshold { .. } => FaultCode::SignatureThreshold,
        };
        clock::fault(code, e)
    })?;
    Ok(manifest)
}

/// It is for this chain and platform, not over, and no step back.
fn fit(manifest: Manifest, host: &Host) -> Result<(Manifest, Artifact), Fault> {
    let chain = host.chain;
    if (manifest.chain_id, manifest.genesis_hash) != (chain.chain_id, chain.genesis_hash) {
        let detail = format!(
            "the manifest is for chain {} with block 0 {}, the node is on {} with {}",
            manifest.chain_id, manifest.genesis_hash, chain.chain_id, chain.genesis_hash
        );
        return Err(clock::fault(FaultCode::WrongChain, detail));
    }
    if manifest.sequence < host.highest_sequence {
        let detail =
            format!("sequence {} is below {}, accepted before", manifest.sequence, host.highest_sequence);
        return Err(clock::fault(FaultCode::SequenceTooOld, detail));
    }
    if let Some(end) = manifest.expires_at.filter(|end| *end <= host.now) {
        let detail = format!("the manifest ended {} ago", host.now.since(end));
        return Err(clock::fault(FaultCode::ManifestExpired, detail));
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let artifact = manifest.artifact(os, arch, host.variant.as_deref()).cloned();
    let artifact = artifact.ok_or_else(|| {
        let variant = host.variant.as_deref().unwrap_or("no variant");
        clock::fault(FaultCode::NoArtifact, format!("no artifact for {os}/{arch} ({variant})"))
    })?;
    Ok((manifest, artifact))
}
