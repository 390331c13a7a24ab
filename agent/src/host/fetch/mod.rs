//! Fetches what a plan names by URL: size cap, resume, retries, checksums, archives.
//!
//! Nothing gets a final name before it is verified, and nothing is accepted without a checksum.
mod address;
mod archive;
mod check;
mod checksum;
mod client;
mod error;
pub mod executable;
mod info;
mod manifest;
pub(crate) mod settle;
mod source;
mod tarball;
mod transfer;

pub use archive::ArchiveError;
pub use check::{UrlCheck, check_urls};
pub use checksum::{Algorithm, Checksum, ChecksumError};
pub use error::FetchError;
pub use info::{InfoError, MAX_INFO_BYTES, PlanFiles, parse_info, platform, validate};
pub use source::{Given, Packing, Source, SourceError};

use super::download::{keep_manifest, place};
use crate::config::DownloadSettings;
use crate::home::{GENESIS, Home};
use common::id::ReleaseName;
use common::manifest::TrustRoot;
use common::release::{Artifact, Digest, InstalledRelease};
use common::wire::v1::Fault;
use error::disk_error;
use reqwest::Url;
use settle::Package;
use source::shown;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use transfer::{Fetcher, Progress, Wanted};

/// Largest checksum file read, in bytes.
const MAX_SIDECAR_BYTES: usize = 256 * 1024;
/// Checksum files that may lie beside a file, in the order in which they are asked for.
const SIDECARS: [(&str, Option<Algorithm>); 3] =
    [(".sha256", Some(Algorithm::Sha256)), (".sha512", Some(Algorithm::Sha512)), (".checksum", None)];

/// Fetches the release that a plan of this host names in its `info`, verifies it, and places its
/// executable at `upgrades/<release>/bin/<daemon>`. Transport errors are tried again until
/// `settings.within` is over, anything that is wrong with the bytes is not. A file that is there already
/// is replaced, unless the release is the one that `current` points to.
///
/// `variant` is the build this host wants from a manifest, `progress` is told the bytes that are here and
/// all of them when that is known. The sequence of the release is 0 without a manifest.
///
/// # Errors
/// The fault; nothing of the release is on the disk then.
pub async fn stage_plan(
    home: &Home,
    settings: &DownloadSettings,
    trust: Option<&TrustRoot>,
    variant: Option<&str>,
    release: &ReleaseName,
    info: &str,
    progress: impl Fn(u64, Option<u64>) + Send + Sync,
) -> Result<InstalledRelease, Fault> {
    let end = Instant::now() + settings.within.to_std();
    let last = Arc::default();
    let fetcher = Fetcher::new(settings, end).remember(&last);
    let job = Job { home, settings, release, progress: &progress };
    let staged = timeout_at(end, job.stage(trust, variant, info, fetcher)).await;
    let staged = staged.unwrap_or_else(|_| {
        let last = last.lock().ok().and_then(|mut last| last.take()).map(Box::new);
        Err(FetchError::Deadline { within: settings.within, last })
    });
    staged.map_err(FetchError::fault)
}

/// One release on its way.
struct Job<'a> {
    home: &'a Home,
    settings: &'a DownloadSettings,
    release: &'a ReleaseName,
    progress: Progress<'a>,
}

impl Job<'_> {
    async fn stage(
        &self,
        trust: Option<&TrustRoot>,
        variant: Option<&str>,
        info: &str,
        mut fetcher: Fetcher<'_>,
    ) -> Result<InstalledRelease, FetchError> {
        if !self.settings.allowed {
            return Err(FetchError::NotAllowed);
        }
        if self.release.as_str() == GENESIS {
            return Err(FetchError::Reserved(self.release.clone()));
        }
        let files = parse_info(info)?;
        validate(&files)?;
        if let PlanFiles::Manifest { url, sha256 } = &files {
            let host = manifest::Believed { trust, variant };
            let signed = manifest::fetch(&mut fetcher, self.home, &host, self.release, url, sha256).await?;
            let digest = self.artifact(&mut fetcher, &signed.artifact).await?;
            self.place(digest, Some((signed.bytes, signed.signatures))).await?;
            return Ok(self.installed(signed.manifest.sequence, digest));
        }
        let sources = binaries(&mut fetcher, files).await?;
        let source = info::here(&sources)?;
        let checksum = checksum_of(&mut fetcher, source).await?;
        if checksum.algorithm.weak() {
            let url = shown(&source.url);
            tracing::warn!(
                url,
                "the plan's checksum is {}, which can be forged; use sha256",
                checksum.algorithm.name()
            );
        }
        let package = Package {
            url: source.url.clone(),
            packing: source.packing,
            members: vec![format!("bin/{}", self.home.daemon), self.home.daemon.clone()],
            most: self.settings.max_bytes,
            wanted: None,
        };
        let digest = self.executable(&mut fetcher, &checksum, None, package).await?;
        self.place(digest, None).await?;
        Ok(self.installed(0, digest))
    }

    fn installed(&self, sequence: u64, digest: Digest) -> InstalledRelease {
        InstalledRelease { name: self.release.clone(), sequence, digest }
    }

    async fn artifact(&self, fetcher: &mut Fetcher<'_>, artifact: &Artifact) -> Result<Digest, FetchError> {
        let package = package_of(artifact, self.settings.max_bytes)?;
        let checksum = Checksum::sha256(&artifact.sha256);
        self.executable(fetcher, &checksum, Some(artifact.size), package).await
    }

    /// Into the store, unless it is there.
    async fn executable(
        &self,
        fetcher: &mut Fetcher<'_>,
        checksum: &Checksum,
        size: Option<u64>,
        package: Package,
    ) -> Result<Digest, FetchError> {
        let known = match package.packing {
            Packing::Raw => checksum.digest(),
            _ => package.wanted,
        };
        if let Some(digest) = known
            && super::download::files_equal(&self.home.artifact(&digest), &digest).await
        {
            self.refuse_occupied(&digest)?;
            return Ok(digest);
        }
        let url = package.url.clone();
        let wanted = Wanted { url: &url, checksum, size };
        let staged = fetcher.file(&wanted, &self.home.staging(), self.progress).await?;
        // The client and what TLS keeps are of no use any more.
        fetcher.requests.forget();
        let path = staged.path.clone();
        let executable = blocking(move || settle::executable_of(&path, &package)).await?;
        self.refuse_occupied(&executable.digest)?;
        let home = self.home.clone();
        blocking(move || executable.adopt(&home)).await
    }

    /// A folder that is being run is never written to.
    fn refuse_occupied(&self, digest: &Digest) -> Result<(), FetchError> {
        let current = std::fs::read_link(self.home.current()).unwrap_or_default();
        let here = current.file_name().is_some_and(|name| name == self.release.as_str());
        let same = || super::files::digest_of(&self.home.binary(self.release)).is_ok_and(|d| d == *digest);
        if here && !same() { Err(FetchError::Occupied(self.release.clone())) } else { Ok(()) }
    }

    async fn place(&self, digest: Digest, signed: Option<(Vec<u8>, String)>) -> Result<(), FetchError> {
        let (home, name) = (self.home.clone(), self.release.clone());
        blocking(move || {
            let placed = place(&home, &name, &digest);
            let placed = placed.and_then(|()| match signed {
                Some((bytes, signatures)) => keep_manifest(&home, &name, &bytes, &signatures),
                None => Ok(()),
            });
            placed.map_err(disk_error(&home.binary(&name)))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(disk_error("staging".as_ref())(std::io::Error::other(e))))
}

/// How the executable of a manifest's artifact is packed.
///
/// # Errors
/// [`FetchError::Source`] when its URL cannot be used or does not end like an archive that is unpacked here.
pub(crate) fn package_of(artifact: &Artifact, most: u64) -> Result<Package, FetchError> {
    let source = Source::parse(&artifact.url)?;
    let packed = artifact.member.is_some();
    let packing = if packed { source.packing } else { Packing::Raw };
    if packed && packing == Packing::Raw {
        let why = "it has a member, and does not end like a zip, tar.gz, tgz or tar archive".to_owned();
        return Err(SourceError { url: shown(&source.url), why }.into());
    }
    let members = artifact.member.iter().cloned().collect();
    Ok(Package { url: source.url, packing, members, most, wanted: Some(artifact.executable()) })
}

/// A manifest's artifact from the URL in the manifest, for when a mirror does not have it.
///
/// # Errors
/// [`FetchError`]; nothing is left on the disk then.
pub(crate) async fn published(
    home: &Home,
    settings: &DownloadSettings,
    artifact: &Artifact,
    end: Instant,
) -> Result<transfer::Staged, FetchError> {
    if !settings.allowed {
        return Err(FetchError::NotAllowed);
    }
    let source = Source::parse(&artifact.url)?;
    let checksum = Checksum::sha256(&artifact.sha256);
    let wanted = Wanted { url: &source.url, checksum: &checksum, size: Some(artifact.size) };
    Fetcher::new(settings, end).file(&wanted, &home.staging(), &|_, _| {}).await
}

/// The sources a plan names, also behind a URL.
async fn binaries(
    fetcher: &mut Fetcher<'_>,
    files: PlanFiles,
) -> Result<BTreeMap<String, Source>, FetchError> {
    let files = match files {
        PlanFiles::Reference(url) => {
            let source = info::source_of("info", &url)?;
            let checksum = checksum_of(fetcher, &source).await?;
            let bytes = fetcher.small(&source.url, MAX_INFO_BYTES).await?;
            let found = checksum.algorithm.of(&bytes);
            if found != checksum {
                return Err(FetchError::Checksum { url: shown(&source.url), wanted: checksum, found });
            }
            let files = parse_info(&String::from_utf8_lossy(&bytes))?;
            validate(&files)?;
            files
        }
        files => files,
    };
    match files {
        PlanFiles::Binaries { urls, checksums } => Ok(info::sources(&urls, &checksums)?),
        PlanFiles::Reference(_) | PlanFiles::Manifest { .. } => Err(InfoError::Nested.into()),
    }
}

/// The checksum of a source: as said, from the file that was named, or from one that lies beside it.
async fn checksum_of(fetcher: &mut Fetcher<'_>, source: &Source) -> Result<Checksum, FetchError> {
    let (url, name) = match &source.given {
        Some(Given::Sum(checksum)) => return Ok(checksum.clone()),
        Some(Given::File(url)) => (url, source.file_name()),
        None => return sidecar(fetcher, source).await,
    };
    let text = fetcher.small(url, MAX_SIDECAR_BYTES).await?;
    let checksum = Checksum::in_text(&String::from_utf8_lossy(&text), &name, None);
    checksum.ok_or_else(|| FetchError::ChecksumFile { url: shown(url), name })
}

async fn sidecar(fetcher: &mut Fetcher<'_>, source: &Source) -> Result<Checksum, FetchError> {
    let name = source.file_name();
    for (suffix, algorithm) in SIDECARS {
        let url = with_suffix(&source.url, suffix);
        let text = match fetcher.small(&url, MAX_SIDECAR_BYTES).await {
            Ok(text) => text,
            // There is none, or what is there is a page that says so.
            Err(FetchError::Status { status, .. }) if status.is_client_error() => continue,
            Err(FetchError::Empty(_) | FetchError::TooLarge { .. }) => continue,
            Err(error) => return Err(error),
        };
        if let Some(checksum) = Checksum::in_text(&String::from_utf8_lossy(&text), &name, algorithm) {
            return Ok(checksum);
        }
    }
    Err(FetchError::NoChecksum(shown(&source.url)))
}

/// A URL whose path is longer by a suffix; the query stays.
fn with_suffix(url: &Url, suffix: &str) -> Url {
    let mut url = url.clone();
    url.set_path(&format!("{}{suffix}", url.path()));
    url
}
