//! A plan that names a manifest: what it says is believed when enough maintainers signed it.
use super::error::FetchError;
use super::source::Source;
use super::transfer::Fetcher;
use super::with_suffix;
use crate::clock;
use crate::home::Home;
use crate::host::verify;
use common::id::ReleaseName;
use common::manifest::{MAX_MANIFEST_BYTES, Manifest, TrustRoot};
use common::release::{Artifact, Digest};
use common::time::UnixMs;
use common::wire::v1::FaultCode;

/// Whom this host believes, and which build it wants.
pub(super) struct Believed<'a> {
    pub trust: Option<&'a TrustRoot>,
    pub variant: Option<&'a str>,
}

/// A manifest that may be followed on this host.
pub(super) struct Signed {
    pub manifest: Manifest,
    pub artifact: Artifact,
    pub bytes: Vec<u8>,
    pub signatures: String,
}

pub(super) async fn fetch(
    fetcher: &mut Fetcher<'_>,
    home: &Home,
    believed: &Believed<'_>,
    release: &ReleaseName,
    url: &str,
    sha256: &Digest,
) -> Result<Signed, FetchError> {
    let wrong = |code, detail: String| FetchError::Manifest(clock::fault(code, detail));
    let unavailable = |error: FetchError| wrong(FaultCode::ManifestUnavailable, error.to_string());
    let host = host(home, believed)?;
    let url = Source::parse(url)?.url;
    let bytes = fetcher.small(&url, MAX_MANIFEST_BYTES).await.map_err(unavailable)?;
    let minisig = with_suffix(&url, ".minisig");
    let signatures = fetcher.small(&minisig, MAX_MANIFEST_BYTES).await.map_err(unavailable)?;
    let signatures = String::from_utf8(signatures)
        .map_err(|_| wrong(FaultCode::SignatureThreshold, "the signatures are not text".to_owned()))?;
    let (manifest, artifact) =
        verify::local(&bytes, &signatures, sha256, release, &host).map_err(FetchError::Manifest)?;
    Ok(Signed { manifest, artifact, bytes, signatures })
}

/// What a manifest is judged against: what this host wrote down of its chain and of releases before.
fn host(home: &Home, believed: &Believed<'_>) -> Result<verify::Host, FetchError> {
    let wrong = |code, detail: String| FetchError::Manifest(clock::fault(code, detail));
    let chain = std::fs::read(home.chain()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let chain = chain.ok_or_else(|| {
        let why = "the node never said which chain it is on; run it once, then the manifest can be judged";
        wrong(FaultCode::WrongChain, why.to_owned())
    })?;
    let ledger = crate::ledger::read(&home.ledger())
        .map_err(|e| wrong(FaultCode::SequenceTooOld, format!("the highest sequence is not known: {e}")))?;
    let ahead = ledger.as_ref().map_or(0, |l| l.clock_ahead_ms);
    Ok(verify::Host {
        trust: believed.trust.cloned(),
        highest_sequence: ledger.map_or(0, |l| l.highest_sequence),
        chain,
        now: UnixMs(clock::steady().0.saturating_add_signed(ahead)),
        variant: believed.variant.map(str::to_owned),
    })
}
