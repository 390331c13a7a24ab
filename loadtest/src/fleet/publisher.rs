//! The maintainers: three keys, two of which sign, and a web server on loopback that gives out what they publish.
use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use common::chain::{Fork, Hash32};
use common::manifest::TrustRoot;
use common::release::Digest;
use minisign::KeyPair;
use serde_json::json;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// What is wrong with a release, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tamper {
    /// Nothing.
    #[default]
    Nothing,
    /// The manifest is changed after it was signed; the chain's hash is that of the original.
    ManifestBytes,
    /// The second signature is over other bytes.
    BadSignature,
    /// Only one maintainer signs.
    OneSignature,
    /// The artifact has other bytes than the manifest says, at the same length.
    ArtifactBytes,
    /// The artifact is not there.
    ArtifactMissing,
    /// The artifact is cut short.
    ArtifactShort,
}

/// The maintainers.
pub struct Publisher {
    keys: Vec<KeyPair>,
    dir: PathBuf,
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publisher({})", self.url)
    }
}

/// A published release.
#[derive(Debug, Clone)]
pub struct Published {
    /// Where its manifest is.
    pub uri: String,
    /// SHA-256 of the manifest's bytes as the maintainers signed them.
    pub hash: Digest,
    /// The manifest's bytes.
    pub manifest: String,
    /// The signatures.
    pub signatures: String,
}

async fn give(State(dir): State<PathBuf>, UrlPath(file): UrlPath<String>) -> Result<Vec<u8>, StatusCode> {
    if file.contains(['/', '\\']) || file.starts_with('.') {
        return Err(StatusCode::NOT_FOUND);
    }
    tokio::fs::read(dir.join(file)).await.map_err(|_| StatusCode::NOT_FOUND)
}

impl Publisher {
    /// Makes three keys and serves `dir` on loopback.
    ///
    /// # Errors
    /// When keys cannot be made or nothing can be listened on.
    pub async fn start(dir: &Path) -> Result<Publisher> {
        std::fs::create_dir_all(dir)?;
        let keys = (0..3).map(|_| KeyPair::generate_unencrypted_keypair()).collect::<Result<Vec<_>, _>>()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/{file}", axum::routing::get(give)).with_state(dir.to_owned());
        let serving = tokio::spawn(async move {
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Publisher { keys, dir: dir.to_owned(), url, serving })
    }

    /// What hosts are told: two of the three must sign.
    pub fn trust(&self) -> TrustRoot {
        TrustRoot { threshold: 2, keys: self.keys.iter().map(|k| k.pk.to_base64()).collect() }
    }

    /// Signs and publishes a release whose executable lies at `binary`.
    ///
    /// # Errors
    /// When files cannot be written or signed.
    pub fn publish(
        &self,
        name: &str,
        version: &str,
        binary: &Path,
        chain: (u64, Hash32),
        fork: &Fork,
        tamper: Tamper,
    ) -> Result<Published> {
        let mut bytes = std::fs::read(binary).with_context(|| binary.display().to_string())?;
        let artifact = format!("{name}.bin");
        let manifest = json!({
            "schema": 1, "name": name, "sequence": 2, "chain_id": chain.0, "genesis_hash": chain.1,
            "activation": {"mode": "before_height", "height": fork.height},
            "forks": [fork], "version": version,
            "artifacts": [{"os": std::env::consts::OS, "arch": std::env::consts::ARCH,
                "url": format!("{}/{artifact}", self.url), "sha256": Digest::of(&bytes), "size": bytes.len()}],
        });
        let manifest = serde_json::to_string_pretty(&manifest)?;
        let mut signatures = self.sign(0, &manifest)?;
        match tamper {
            Tamper::OneSignature => {}
            Tamper::BadSignature => signatures += &self.sign(1, &format!("{manifest} "))?,
            _ => signatures += &self.sign(1, &manifest)?,
        }
        match tamper {
            Tamper::ArtifactBytes => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Tamper::ArtifactShort => bytes.truncate(bytes.len() / 2),
            _ => {}
        }
        if tamper != Tamper::ArtifactMissing {
            std::fs::write(self.dir.join(&artifact), &bytes)?;
        }
        let published = if tamper == Tamper::ManifestBytes {
            manifest.replacen("\"sequence\": 2", "\"sequence\": 3", 1)
        } else {
            manifest.clone()
        };
        let file = format!("{name}.json");
        std::fs::write(self.dir.join(&file), &published)?;
        std::fs::write(self.dir.join(format!("{file}.minisig")), &signatures)?;
        let hash = Digest::of(manifest.as_bytes());
        Ok(Published { uri: format!("{}/{file}", self.url), hash, manifest, signatures })
    }

    fn sign(&self, key: usize, text: &str) -> Result<String> {
        let key = &self.keys[key];
        let signature = minisign::sign(Some(&key.pk), &key.sk, Cursor::new(text.as_bytes()), None, None)?;
        Ok(signature.into_string())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
