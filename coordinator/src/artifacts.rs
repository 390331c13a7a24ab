//! The mirror: artifacts by digest. A file has its final name only after its size and digest were checked.
use crate::config::{AllowHttp, Artifacts};
use common::release::{Artifact, Digest};
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The url is not one we fetch from.
    #[error("{url}: {why}")]
    Url {
        /// The url.
        url: String,
        /// Why.
        why: String,
    },
    /// The server did not give it.
    #[error("{url} could not be fetched: {why}")]
    Fetch {
        /// The url.
        url: String,
        /// Why.
        why: String,
        /// Whether it makes sense to try again by itself.
        transient: bool,
    },
    /// More or fewer bytes than announced.
    #[error("{what} has {got} bytes, {expected} are expected")]
    Size {
        /// Url or digest.
        what: String,
        /// Bytes read before giving up.
        got: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// Other bytes than announced.
    #[error("{what} has digest {got}, {expected} is expected")]
    Digest {
        /// Url or digest.
        what: String,
        /// What it is.
        got: Digest,
        /// What it should be.
        expected: Digest,
    },
    /// The disk.
    #[error("{path}: {why}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

impl ArtifactError {
    /// Stable code, the same in API answers and in the checks of a proposal.
    pub fn code(&self) -> &'static str {
        match self {
            ArtifactError::Url { .. } => "artifact-url",
            ArtifactError::Fetch { .. } => "artifact-unavailable",
            ArtifactError::Size { .. } => "artifact-size",
            ArtifactError::Digest { .. } => "digest-mismatch",
            ArtifactError::Disk { .. } => "disk-full",
        }
    }

    /// Whether it makes sense to try again by itself.
    pub fn transient(&self) -> bool {
        matches!(self, ArtifactError::Fetch { transient: true, .. } | ArtifactError::Disk { .. })
    }
}

/// The mirror.
#[derive(Debug, Clone)]
pub struct Mirror {
    dir: PathBuf,
    config: Artifacts,
    client: reqwest::Client,
}

/// A download under way. Whatever ends it, also a caller that goes away in the middle, leaves no file of this name.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After success it is gone already: it was renamed.
        let _not_there = std::fs::remove_file(&self.0);
    }
}

fn disk(path: &Path) -> impl Fn(std::io::Error) -> ArtifactError + '_ {
    move |why| ArtifactError::Disk { path: path.to_owned(), why }
}

impl Mirror {
    /// Opens the mirror in a directory; leftovers of interrupted downloads are removed.
    ///
    /// # Errors
    /// [`ArtifactError::Disk`].
    pub fn open(dir: &Path, config: Artifacts) -> Result<Self, ArtifactError> {
        std::fs::create_dir_all(dir).map_err(disk(dir))?;
        for entry in std::fs::read_dir(dir).map_err(disk(dir))?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "part") {
                std::fs::remove_file(entry.path()).map_err(disk(&entry.path()))?;
            }
        }
        // A redirect could lead from a public host to a private address: none is followed.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(|e| ArtifactError::Fetch { url: String::new(), why: e.to_string(), transient: false })?;
        Ok(Mirror { dir: dir.to_owned(), config, client })
    }

    /// Where an artifact is, when it is here.
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.dir.join(digest.to_string());
        path.is_file().then_some(path)
    }

    fn allowed(&self, url: &str) -> Result<(), ArtifactError> {
        let refuse = |why: &str| Err(ArtifactError::Url { url: url.to_owned(), why: why.to_owned() });
        let Ok(parsed) = reqwest::Url::parse(url) else { return refuse("this is no url") };
        let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match (parsed.scheme(), self.config.allow_http) {
            ("https", _) | ("http", AllowHttp::Any) => Ok(()),
            ("http", AllowHttp::Loopback) if loopback => Ok(()),
            ("http", _) => refuse("plain http is not allowed here (artifacts.allow_http)"),
            _ => refuse("only https is fetched"),
        }
    }

    async fn get(&self, url: &str) -> Result<reqwest::Response, ArtifactError> {
        self.allowed(url)?;
        let fail = |why: String, transient| ArtifactError::Fetch { url: url.to_owned(), why, transient };
        let answer = self.client.get(url).send().await.map_err(|e| fail(e.to_string(), true))?;
        if !answer.status().is_success() {
            return Err(fail(
                format!("the server says {}", answer.status()),
                answer.status().is_server_error(),
            ));
        }
        Ok(answer)
    }

    /// Fetches a small text, at most `max` bytes.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub async fn fetch_text(&self, url: &str, max: usize) -> Result<String, ArtifactError> {
        let mut body = self.get(url).await?.bytes_stream();
        let mut out = Vec::new();
        while let Some(chunk) = body.next().await {
            let fail = |why: String| ArtifactError::Fetch { url: url.to_owned(), why, transient: true };
            out.extend_from_slice(&chunk.map_err(|e| fail(e.to_string()))?);
            if out.len() > max {
                return Err(ArtifactError::Size {
                    what: url.into(),
                    got: out.len() as u64,
                    expected: max as u64,
                });
            }
        }
        String::from_utf8(out).map_err(|_| ArtifactError::Fetch {
            url: url.to_owned(),
            why: "it is no UTF-8 text".into(),
            transient: false,
        })
    }

    /// Brings an artifact into the mirror unless it is there.
    ///
    /// # Errors
    /// [`ArtifactError`]; nothing is left on disk then.
    pub async fn fetch(&self, artifact: &Artifact) -> Result<(), ArtifactError> {
        if self.path(&artifact.sha256).is_some() {
            return Ok(());
        }
        if artifact.size > self.config.max_bytes {
            let (got, expected) = (artifact.size, self.config.max_bytes);
            return Err(ArtifactError::Size { what: artifact.url.clone(), got, expected });
        }
        let body = self.get(&artifact.url).await?.bytes_stream();
        let body = body.map(|c| c.map_err(|e| e.to_string()));
        self.take(&artifact.url, Some(artifact.size), artifact.sha256, body).await
    }

    /// Takes bytes that must have this digest (and size, when known).
    ///
    /// # Errors
    /// [`ArtifactError`]; nothing is left on disk then.
    pub async fn take<S, B>(
        &self,
        what: &str,
        size: Option<u64>,
        digest: Digest,
        body: S,
    ) -> Result<(), ArtifactError>
    where
        S: futures_util::Stream<Item = Result<B, String>>,
        B: AsRef<[u8]>,
    {
        let part = self.dir.join(format!("{digest}.{:08x}.part", rand::random::<u32>()));
        let part = Part(part);
        self.receive(what, size, digest, body, &part.0).await
    }

    async fn receive<S, B>(
        &self,
        what: &str,
        size: Option<u64>,
        digest: Digest,
        body: S,
        part: &Path,
    ) -> Result<(), ArtifactError>
    where
        S: futures_util::Stream<Item = Result<B, String>>,
        B: AsRef<[u8]>,
    {
        let mut body = std::pin::pin!(body);
        let mut out = tokio::fs::File::create(part).await.map_err(disk(part))?;
        let (mut hash, mut got) = (Sha256::new(), 0u64);
        let most = size.unwrap_or(self.config.max_bytes).min(self.config.max_bytes);
        while let Some(chunk) = body.next().await {
            let fail = |why| ArtifactError::Fetch { url: what.to_owned(), why, transient: true };
            let chunk = chunk.map_err(fail)?;
            got += chunk.as_ref().len() as u64;
            if got > most {
                return Err(ArtifactError::Size { what: what.into(), got, expected: most });
            }
            hash.update(chunk.as_ref());
            out.write_all(chunk.as_ref()).await.map_err(disk(part))?;
        }
        if let Some(expected) = size.filter(|s| *s != got) {
            return Err(ArtifactError::Size { what: what.into(), got, expected });
        }
        let found = Digest(hash.finalize().into());
        if found != digest {
            return Err(ArtifactError::Digest { what: what.into(), got: found, expected: digest });
        }
        out.sync_all().await.map_err(disk(part))?;
        let path = self.dir.join(digest.to_string());
        std::fs::rename(part, &path).map_err(disk(&path))?;
        std::fs::File::open(&self.dir).and_then(|d| d.sync_all()).map_err(disk(&self.dir))
    }
}
