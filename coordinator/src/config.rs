//! Configuration: TOML file under environment (`WEMIXFLEET_*`). Read once, checked as a whole, never changed after.
use common::chain::{Address, Hash32};
use common::id::{NetworkName, NodeName};
use common::manifest::TrustRoot;
use common::time::Span;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The coordinator's configuration as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format; 1.
    pub schema: u32,
    /// Where everything is kept. Relative paths are relative to the file.
    pub data_dir: PathBuf,
    /// Where agents and operators connect (TLS).
    pub listen: SocketAddr,
    /// What agents call, `https://host:port`; empty means `https://` and `listen`.
    #[serde(default)]
    pub public_url: String,
    /// Host names and addresses for the server's certificate, beside loopback.
    #[serde(default)]
    pub names: Vec<String>,
    /// Prometheus listener, loopback only by default; absent means none.
    #[serde(default)]
    pub metrics_listen: Option<SocketAddr>,
    /// The network.
    pub network: Network,
    /// RPC endpoints; without them no validator is ever permitted.
    #[serde(default)]
    pub chain: Option<Chain>,
    /// Where upgrade plans are approved.
    #[serde(default)]
    pub governance: Option<Governance>,
    /// Maintainers whose signatures make a release.
    #[serde(default)]
    pub trust: Option<TrustRoot>,
    /// Mirror of artifacts.
    #[serde(default)]
    pub artifacts: Artifacts,
    /// Agents.
    #[serde(default)]
    pub agents: Agents,
}

/// `[network]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name.
    pub name: NetworkName,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: Hash32,
}

/// `[chain]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Endpoints that must agree.
    #[serde(default = "two")]
    pub required: usize,
    /// Time between looks.
    #[serde(default = "one_second")]
    pub poll: Span,
    /// The endpoints.
    #[serde(rename = "endpoint")]
    pub endpoints: Vec<EndpointEntry>,
}

/// `[[chain.endpoint]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointEntry {
    /// The node it belongs to, or any label for a foreign one.
    pub label: NodeName,
    /// JSON-RPC over http or https.
    pub url: String,
}

/// `[governance]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    /// Address of the `UpgradeRegistry`.
    pub registry: Address,
    /// First height to read.
    #[serde(default)]
    pub from_height: u64,
    /// `instant`, `confirmations` or `finalized`.
    #[serde(default)]
    pub finality: FinalityKind,
    /// With `finality = "confirmations"`.
    #[serde(default)]
    pub confirmations: u64,
    /// Policy for drafts: a path to TOML (relative to this file) or the name of a built-in one.
    pub policy: String,
}

/// When a block counts as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinalityKind {
    /// Every sealed block (WBFT).
    #[default]
    Instant,
    /// After some blocks.
    Confirmations,
    /// By the `finalized` tag.
    Finalized,
}

/// `[artifacts]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Artifacts {
    /// Whether plain http is allowed: `never`, `loopback`, `any`.
    pub allow_http: AllowHttp,
    /// Largest artifact, bytes.
    pub max_bytes: u64,
}

impl Default for Artifacts {
    fn default() -> Self {
        Artifacts { allow_http: AllowHttp::Loopback, max_bytes: 1 << 30 }
    }
}

/// Where plain http may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllowHttp {
    /// Nowhere.
    Never,
    /// On loopback addresses.
    Loopback,
    /// Anywhere.
    Any,
}

/// `[agents]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agents {
    /// Longest hold of a sync.
    pub hold: Span,
    /// A node that has not reported for this long is silent.
    pub silent_after: Span,
}

impl Default for Agents {
    fn default() -> Self {
        Agents { hold: Span::secs(10), silent_after: Span::secs(30) }
    }
}

fn two() -> usize {
    2
}

fn one_second() -> Span {
    Span::secs(1)
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The file is no TOML of this shape.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the line.
        why: Box<toml::de::Error>,
    },
    /// Everything that is wrong with it.
    #[error("{path}: {}", .faults.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// One sentence each, with the key.
        faults: Vec<String>,
    },
}

impl Config {
    /// Reads a file and applies `WEMIXFLEET_DATA_DIR`, `WEMIXFLEET_LISTEN`, `WEMIXFLEET_PUBLIC_URL` over it.
    ///
    /// # Errors
    /// [`ConfigError`], all faults at once.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| ConfigError::Unreadable { path: path.to_owned(), why })?;
        Self::parse(&text, path, |key| std::env::var(key).ok())
    }

    /// As [`Config::load`], from a text and a given environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut config: Config = toml::from_str(text)
            .map_err(|why| ConfigError::Malformed { path: path.to_owned(), why: Box::new(why) })?;
        let mut faults = Vec::new();
        if let Some(dir) = env("WEMIXFLEET_DATA_DIR") {
            config.data_dir = dir.into();
        }
        if let Some(url) = env("WEMIXFLEET_PUBLIC_URL") {
            config.public_url = url;
        }
        if let Some(listen) = env("WEMIXFLEET_LISTEN") {
            match listen.parse() {
                Ok(addr) => config.listen = addr,
                Err(_) => faults.push(format!("WEMIXFLEET_LISTEN: {listen:?} is no address:port")),
            }
        }
        let base = path.parent().unwrap_or(Path::new("."));
        config.data_dir = base.join(&config.data_dir);
        config.check(&mut faults);
        if let Some(governance) = &mut config.governance
            && common::policy::builtin(&governance.policy).is_none()
        {
            governance.policy = base.join(&governance.policy).display().to_string();
        }
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid { path: path.to_owned(), faults })
        }
    }

    fn check(&self, faults: &mut Vec<String>) {
        if self.schema != 1 {
            faults.push(format!("schema: {} is not known, this program knows 1", self.schema));
        }
        if !self.public_url.is_empty() && !self.public_url.starts_with("https://") {
            faults.push(format!("public_url: {:?} must begin with https://", self.public_url));
        }
        if let Some(chain) = &self.chain {
            if chain.required == 0 || chain.required > chain.endpoints.len() {
                faults.push(format!(
                    "chain.required: {} of {} endpoints must agree; it must be at least 1 and at most their number",
                    chain.required,
                    chain.endpoints.len()
                ));
            }
            if chain.poll < Span(100) {
                faults.push("chain.poll: at least 100ms".into());
            }
            for (i, e) in chain.endpoints.iter().enumerate() {
                if !e.url.starts_with("http://") && !e.url.starts_with("https://") {
                    faults.push(format!(
                        "chain.endpoint[{i}].url: {:?} must begin with http:// or https://",
                        e.url
                    ));
                }
                if chain.endpoints[..i].iter().any(|o| o.label == e.label) {
                    faults.push(format!("chain.endpoint[{i}].label: {} is used twice", e.label));
                }
            }
        }
        if let Some(trust) = &self.trust
            && let Err(e) = trust.validate()
        {
            faults.push(format!("trust: {e}"));
        }
        if self.governance.is_some() && (self.chain.is_none() || self.trust.is_none()) {
            faults.push("governance: needs [chain] and [trust]".into());
        }
        if self.agents.hold < Span(100) || self.agents.hold > Span::mins(5) {
            faults.push("agents.hold: between 100ms and 5m".into());
        }
        if self.agents.silent_after.0 <= self.agents.hold.0 {
            faults.push("agents.silent_after: must be longer than agents.hold".into());
        }
    }

    /// What agents call, given where the listener really is.
    pub fn url(&self, bound: SocketAddr) -> String {
        if self.public_url.is_empty() { format!("https://{bound}") } else { self.public_url.clone() }
    }
}
