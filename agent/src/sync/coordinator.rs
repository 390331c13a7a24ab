//! The coordinator as a place to send requests to.
use super::files::FleetFiles;
use super::tls;
use crate::host::download::cause;
use reqwest::{Client, Response};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::RwLock;
use std::time::Duration;

/// Why there is no way to a coordinator.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// The address cannot be used.
    #[error("the coordinator's address {url:?} cannot be used: {why}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Key, certificate or CA cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// The coordinator of a fleet.
pub struct Coordinator {
    url: String,
    files: FleetFiles,
    secure: bool,
    client: RwLock<Client>,
}

impl Coordinator {
    /// The coordinator at `url`, with the key and certificate of this host. Plain HTTP is for loopback only.
    ///
    /// # Errors
    /// [`CoordinatorError`] names the address or the file at fault.
    pub fn new(url: &str, files: FleetFiles) -> Result<Coordinator, CoordinatorError> {
        let url = url.trim_end_matches('/').to_owned();
        let secure = check_address(&url)?;
        let client = build(&files, secure)?;
        Ok(Coordinator { url, files, secure, client: RwLock::new(client) })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn client(&self) -> Client {
        match self.client.read() {
            Ok(client) => client.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Gets a path.
    ///
    /// # Errors
    /// The cause, for people.
    pub async fn get(&self, path: &str) -> Result<Response, String> {
        self.client().get(format!("{}{path}", self.url)).send().await.map_err(|e| cause(&e))
    }

    /// Posts JSON to a path.
    ///
    /// # Errors
    /// The cause, for people.
    pub async fn post(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<Response, String> {
        self.client().post(format!("{}{path}", self.url)).json(body).send().await.map_err(|e| cause(&e))
    }

    /// Uses a fresh certificate from now on; the file is replaced only when it fits the key.
    ///
    /// # Errors
    /// [`CoordinatorError`]; the former certificate is then still in use.
    pub fn renew(&self, certificate: &str) -> Result<(), CoordinatorError> {
        if !self.secure {
            return Ok(());
        }
        tls::check_pair(&self.files, certificate)?;
        self.files.write_certificate(certificate).map_err(tls::TlsError::from)?;
        let fresh = build(&self.files, true)?;
        match self.client.write() {
            Ok(mut client) => *client = fresh,
            Err(poisoned) => *poisoned.into_inner() = fresh,
        }
        Ok(())
    }
}

fn build(files: &FleetFiles, secure: bool) -> Result<Client, CoordinatorError> {
    let builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .tcp_keepalive(Duration::from_secs(30))
        .pool_max_idle_per_host(2);
    let builder = if secure { builder.use_preconfigured_tls(tls::mutual(files)?) } else { builder };
    Ok(builder.build()?)
}

/// Whether an address is https; http is only for loopback.
///
/// # Errors
/// [`CoordinatorError::Address`] for anything else.
pub fn check_address(url: &str) -> Result<bool, CoordinatorError> {
    let wrong = |why: &str| CoordinatorError::Address { url: url.to_owned(), why: why.to_owned() };
    let parsed = reqwest::Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
    let host = parsed.host_str().ok_or_else(|| wrong("it names no host"))?;
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|ip| ip.is_loopback());
    match parsed.scheme() {
        "https" => Ok(true),
        "http" if loopback => Ok(false),
        "http" => Err(wrong("https is needed; plain http is for loopback only")),
        other => Err(wrong(&format!("{other} is no scheme for it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for (url, secure) in
            [("https://fleet.example:7443", true), ("http://127.0.0.1:1", false), ("http://[::1]:1", false)]
        {
            assert_eq!(check_address(url).unwrap(), secure, "{url}");
        }
        for bad in ["http://10.0.0.1", "http://127.0.0.1.example.org", "ftp://localhost", "nonsense", ""] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
