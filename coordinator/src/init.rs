//! `wemixfleet init`: data directory, CA, sample configuration, first admin token. Refuses to overwrite.
use crate::auth::{OperatorRole, TokenRecord, new_token};
use crate::config::Config;
use crate::enrol::{Authority, CaError, write_secret};
use crate::fleet::{Fleet, FleetError, Write, now};
use crate::store::RedbStore;
use common::time::Span;
use std::path::{Path, PathBuf};

/// Where and what for.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Directory to make; holds `wemixfleet.toml` and everything else.
    pub dir: PathBuf,
    /// Text of the configuration; the commented sample when `None`.
    pub config: Option<String>,
    /// Life of the first admin token.
    pub token_life: Span,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct InitOutcome {
    /// The configuration file.
    pub config: PathBuf,
    /// The CA certificate.
    pub ca: PathBuf,
    /// The first admin token; shown once.
    pub admin_token: String,
}

/// Why `init` did not finish.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a fleet already.
    #[error("{0} exists already; nothing was changed")]
    Exists(PathBuf),
    /// A directory or file cannot be made.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The store.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The configuration given is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}

/// The sample configuration, complete and commented.
pub const SAMPLE: &str = include_str!("../../config/wemixfleet.toml");

/// Makes a new coordinator. Must be called in a tokio runtime.
///
/// # Errors
/// [`InitError`]; an existing configuration or CA is never touched.
pub async fn init(options: &InitOptions) -> Result<InitOutcome, InitError> {
    let config_path = options.dir.join("wemixfleet.toml");
    let text = options.config.as_deref().unwrap_or(SAMPLE);
    let config = Config::parse(text, &config_path, |_| None)?;
    let data = |name| config.data_dir.join(name);
    for path in [config_path.clone(), data("ca.key"), data("ca.crt"), data("fleet.redb")] {
        if path.exists() {
            return Err(InitError::Exists(path));
        }
    }
    let make = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|why| InitError::File { path: path.to_owned(), why })
    };
    make(&options.dir)?;
    make(&config.data_dir)?;
    write_secret(&config_path, text)?;
    Authority::create(&config.data_dir)?;
    let store = RedbStore::open(&config.data_dir.join("fleet.redb")).map_err(FleetError::from)?;
    store.campaign().await.map_err(FleetError::from)?;
    let fleet = Fleet::load(store)?;
    let (admin_token, id) = new_token();
    let record = TokenRecord {
        id,
        name: "first-admin".into(),
        role: OperatorRole::Admin,
        expires_at: now().plus(options.token_life),
    };
    fleet.transact(|_| Ok((vec![Write::Token(record)], ()))).await?;
    Ok(InitOutcome { config: config_path, ca: config.data_dir.join("ca.crt"), admin_token })
}
