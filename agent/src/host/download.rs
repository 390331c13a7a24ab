//! Fetches a release: manifest, signatures, artifact. Nothing gets a final name before it is verified.
use super::fetch::{self, FetchError, settle};
use super::files::Temporary;
use super::{disk, files, verify};
use crate::clock;
use crate::config::DownloadSettings;
use crate::home::Home;
use crate::sync::coordinator::Coordinator;
use common::machine::StagedRelease;
use common::manifest::{MAX_MANIFEST_BYTES, Manifest, TrustRoot};
use common::release::{Artifact, Digest, InstalledRelease, ReleaseRef};
use common::time::{Span, UnixMs};
use common::wire::v1::{Fault, FaultCode};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use verify::ChainId;

/// Kept free on the disk beside what a release needs.
const SPARE_BYTES: u64 = 64 << 20;
/// Most that an archive may unpack to where the settings do not say it.
const UNPACKED_MOST: u64 = 1 << 30;
/// The part of a file that was cut off may be continued for so long.
const PART_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest pause between two tries.
const BACK_OFF_MOST: Duration = Duration::from_secs(30);
/// A transfer in which nothing arrives for so long is broken.
const SILENCE: Duration = Duration::from_secs(30);

/// One order to stage a release.
#[derive(Debug, Clone)]
pub struct Order {
    /// The release.
    pub release: ReleaseRef,
    /// Give up after this long.
    pub within: Span,
    /// Highest sequence accepted so far.
    pub highest_sequence: u64,
    /// Coordinator's clock minus ours, in milliseconds.
    pub clock_ahead_ms: i64,
    /// The release that runs; its folder is never written to.
    pub current: InstalledRelease,
}

/// What staging works with.
#[derive(Clone)]
pub struct Stager {
    /// The home.
    pub home: Arc<Home>,
    /// Where releases come from.
    pub coordinator: Arc<Coordinator>,
    /// Whom this host believes.
    pub trust: Option<TrustRoot>,
    /// Variant of the build this host wants.
    pub variant: Option<String>,
    /// The node's chain, as soon as it is known.
    pub chain: watch::Receiver<Option<ChainId>>,
    /// How the artifact's own URL may be used when the coordinator's mirror does not have the artifact;
    /// `None` is not at all.
    pub download: Option<DownloadSettings>,
}

/// A failure, and whether trying again may help.
struct Failure {
    again: bool,
    /// The coordinator does not have it.
    missing: bool,
    fault: Fault,
}

fn again(code: FaultCode, detail: impl std::fmt::Display) -> Failure {
    Failure { again: true, missing: false, fault: clock::fault(code, detail) }
}

fn last(code: FaultCode, detail: impl std::fmt::Display) -> Failure {
    Failure { again: false, missing: false, fault: clock::fault(code, detail) }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure { again: false, missing: false, fault }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        Failure { again: false, missing: false, fault: error.fault() }
    }
}

impl Stager {
    /// Fetches, verifies and places a release. Transport errors are tried again until `within` is over,
    /// anything that is wrong with the bytes is not.
    ///
    /// # Errors
    /// The fault; nothing of the release is on the disk then, and the node was not touched.
    pub async fn stage(mut self, order: Order) -> Result<StagedRelease, Fault> {
        let end = Instant::now() + order.within.to_std();
        let mut pause = Duration::from_millis(250);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let failure = match timeout(left, self.once(&order, end)).await {
                Ok(Ok(staged)) => return Ok(staged),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let detail = format!("{} was not fetched within {}", order.release.name, order.within);
                    return Err(clock::fault(FaultCode::ArtifactUnavailable, detail));
                }
            };
            if !failure.again || Instant::now() + pause >= end {
                return Err(failure.fault);
            }
            tracing::warn!(release = %order.release.name, "{}; trying again", failure.fault.detail);
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MOST);
        }
    }

    async fn once(&mut self, order: &Order, end: Instant) -> Result<StagedRelease, Failure> {
        let path = format!("/v1/manifests/{}", order.release.manifest);
        let bytes = self.small(&path).await?;
        let signatures = self.small(&format!("{path}.minisig")).await?;
        let signatures = String::from_utf8(signatures)
            .map_err(|_| last(FaultCode::SignatureThreshold, "the signatures are not text"))?;
        let chain = match self.chain.wait_for(Option::is_some).await.map(|c| *c) {
            Ok(Some(chain)) => chain,
            _ => return Err(last(FaultCode::WrongChain, "the node never said which chain it is on")),
        };
        let host = verify::Host {
            trust: self.trust.clone(),
            highest_sequence: order.highest_sequence,
            chain,
            now: UnixMs(clock::steady().0.saturating_add_signed(order.clock_ahead_ms)),
            variant: self.variant.clone(),
        };
        let (manifest, artifact) = verify::manifest(&bytes, &signatures, &order.release, &host)?;
        self.refuse_occupied(order, &artifact)?;
        self.fetch(&artifact, end).await?;
        let home = Arc::clone(&self.home);
        let (name, digest) = (manifest.name.clone(), artifact.executable());
        let placed = tokio::task::spawn_blocking(move || {
            place(&home, &name, &digest).and_then(|()| keep_manifest(&home, &name, &bytes, &signatures))
        });
        placed.await.map_err(io::Error::other).and_then(|r| r).map_err(disk_failure)?;
        Ok(staged(manifest, artifact))
    }

    /// A folder that is being run is never written to.
    fn refuse_occupied(&self, order: &Order, artifact: &Artifact) -> Result<(), Failure> {
        let current = &order.current;
        if current.name != order.release.name || current.digest == artifact.executable() {
            return Ok(());
        }
        let detail = format!("{} is running here with other bytes ({})", current.name, current.digest);
        Err(last(FaultCode::ManifestMismatch, detail))
    }

    async fn small(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let code = FaultCode::ManifestUnavailable;
        let mut answer = self.coordinator.get(path).await.map_err(|e| again(code, e))?;
        check_status(code, path, answer.status())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| again(code, cause(&e)))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_MANIFEST_BYTES {
                return Err(last(FaultCode::ManifestMismatch, format!("{path} is longer than a manifest")));
            }
        }
        Ok(bytes)
    }

    /// Into the store: from the coordinator's mirror, else from where the maintainers publish it.
    async fn fetch(&self, artifact: &Artifact, end: Instant) -> Result<(), Failure> {
        let digest = artifact.executable();
        if files_equal(&self.home.artifact(&digest), &digest).await {
            return Ok(());
        }
        let most = self.download.as_ref().map_or(UNPACKED_MOST, |d| d.max_bytes);
        let package = fetch::package_of(artifact, most)?;
        let need = artifact.size.saturating_mul(2).saturating_add(SPARE_BYTES);
        if let Some(free) = disk::free_bytes(self.home.root()).filter(|free| *free < need) {
            return Err(last(FaultCode::DiskFull, format!("{free} bytes are free, {need} are needed")));
        }
        let staging = self.home.staging();
        std::fs::create_dir_all(&staging).map_err(disk_failure)?;
        let mirrored = staging.join(artifact.sha256.to_string());
        let _guard = Temporary::new(mirrored.clone());
        let (verified, _published) = match self.mirrored(artifact, &mirrored).await {
            Ok(()) => (mirrored, None),
            Err(failure) => {
                let published = self.download.as_ref().filter(|d| d.allowed && failure.missing);
                let Some(download) = published else { return Err(failure) };
                tracing::info!(url = artifact.url, "the coordinator does not have the artifact");
                let staged = fetch::published(&self.home, download, artifact, end).await?;
                (staged.path.clone(), Some(staged))
            }
        };
        let home = Arc::clone(&self.home);
        let adopted = tokio::task::spawn_blocking(move || {
            settle::executable_of(&verified, &package).and_then(|executable| executable.adopt(&home))
        });
        adopted.await.map_err(|e| disk_failure(io::Error::other(e)))??;
        Ok(())
    }

    async fn mirrored(&self, artifact: &Artifact, path: &Path) -> Result<(), Failure> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).map_err(disk_failure)?;
        self.transfer(artifact, &mut file).await
    }

    async fn transfer(&self, artifact: &Artifact, file: &mut File) -> Result<(), Failure> {
        let code = FaultCode::ArtifactUnavailable;
        let path = format!("/v1/artifacts/{}", artifact.sha256);
        let mut answer = self.coordinator.get(&path).await.map_err(|e| again(code, e))?;
        check_status(code, &path, answer.status())?;
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        loop {
            let chunk = timeout(SILENCE, answer.chunk()).await;
            let chunk = chunk.map_err(|_| again(code, format!("{path}: nothing arrived any more")))?;
            let chunk =
                chunk.map_err(|e| again(code, format!("{path} after {size} bytes: {}", cause(&e))))?;
            let Some(chunk) = chunk else { break };
            size += chunk.len() as u64;
            if size > artifact.size {
                let detail = format!("{path} is longer than the {} bytes of its manifest", artifact.size);
                return Err(last(FaultCode::DigestMismatch, detail));
            }
            hash.update(&chunk);
            file.write_all(&chunk).map_err(disk_failure)?;
        }
        let found = Digest(hash.finalize().into());
        if size != artifact.size || found != artifact.sha256 {
            let detail = format!(
                "{path} has {size} bytes and digest {found}, the manifest says {} and {}",
                artifact.size, artifact.sha256
            );
            return Err(last(FaultCode::DigestMismatch, detail));
        }
        Ok(())
    }
}

fn staged(manifest: Manifest, artifact: Artifact) -> StagedRelease {
    StagedRelease {
        installed: InstalledRelease {
            name: manifest.name,
            sequence: manifest.sequence,
            digest: artifact.executable(),
        },
        activation_height: manifest.activation.height(),
        irreversible: manifest.irreversible,
        at_height: matches!(manifest.activation, common::manifest::Activation::AtHeight { .. }),
        artifact: Some(artifact),
    }
}

fn check_status(code: FaultCode, path: &str, status: reqwest::StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let detail = format!("{path}: the coordinator answered {status}");
    let passing = status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS;
    let missing = status == reqwest::StatusCode::NOT_FOUND;
    Err(if passing { again(code, detail) } else { Failure { missing, ..last(code, detail) } })
}

/// The innermost cause, which is the one that says something.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

fn disk_failure(error: io::Error) -> Failure {
    let code = if disk::is_full(&error) { FaultCode::DiskFull } else { FaultCode::ArtifactUnavailable };
    last(code, format!("writing the release: {error}"))
}

pub(super) async fn files_equal(path: &Path, digest: &Digest) -> bool {
    let (path, digest) = (path.to_owned(), *digest);
    tokio::task::spawn_blocking(move || files::digest_of(&path).is_ok_and(|d| d == digest))
        .await
        .unwrap_or(false)
}

/// Links the artifact into the folder of its release.
pub(super) fn place(home: &Home, name: &common::id::ReleaseName, digest: &Digest) -> io::Result<()> {
    let binary = home.binary(name);
    let folder = binary.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    if files::digest_of(&binary).is_ok_and(|d| d == *digest) {
        return Ok(());
    }
    let new = files::beside(&binary);
    let _ = std::fs::remove_file(&new);
    let artifact = home.artifact(digest);
    if std::fs::hard_link(&artifact, &new).is_err() {
        std::fs::copy(&artifact, &new)?;
        File::open(&new)?.sync_all()?;
    }
    std::fs::rename(&new, &binary)?;
    files::sync_folder(folder)
}

pub(super) fn keep_manifest(
    home: &Home,
    name: &common::id::ReleaseName,
    bytes: &[u8],
    signatures: &str,
) -> io::Result<()> {
    let path = home.manifest(name);
    files::replace(&path.with_extension("json.minisig"), signatures.as_bytes(), 0o644)?;
    files::replace(&path, bytes, 0o644)
}

/// Removes what downloads that were cut off left behind, except parts that the next try can continue.
pub fn clean(home: &Home) {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(home.staging()).into_iter().flatten().flatten() {
        let path = entry.path();
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| now.duration_since(t).ok());
        let part = path.extension().is_some_and(|e| e == "part");
        if !(part && age.is_some_and(|age| age < PART_KEPT)) {
            let _ = std::fs::remove_file(&path);
        }
    }
}
