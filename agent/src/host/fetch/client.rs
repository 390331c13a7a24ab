//! Requests that go to checked addresses only.
use super::address::is_public;
use super::error::FetchError;
use super::source::shown;
use crate::config::DownloadSettings;
use crate::host::download::cause;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, Url};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Redirects followed, all within one host.
const MOST_REDIRECTS: usize = 5;
/// A server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Sends requests. The client behind it is made for the host at hand and lives only as long as this.
pub(crate) struct Requests<'a> {
    settings: &'a DownloadSettings,
    made: Option<(String, Client)>,
    /// A server that says nothing for so long is gone.
    pub silence: Duration,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(settings: &'a DownloadSettings) -> Requests<'a> {
        Requests { settings, made: None, silence: SILENCE }
    }

    /// Sends one request and follows redirects within the host. The answer has a status of success, or
    /// 416 when part of a file was asked for.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response, FetchError> {
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let client = self.client(&at).await?;
            let request = client.request(method.clone(), at.clone()).headers(headers.clone());
            let answer = match timeout(self.silence, request.send()).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => return Err(self.broken(&at, &error)),
                Err(_) => return Err(self.silent(&at)),
            };
            let status = answer.status();
            if status.is_success() || (status.as_u16() == 416 && !headers.is_empty()) {
                return Ok(answer);
            }
            let Some(next) = location(&at, answer.headers()).filter(|_| status.is_redirection()) else {
                return Err(FetchError::Status { url: shown(&at), status });
            };
            at = follow(url, next)?;
        }
        let why = format!("more than {MOST_REDIRECTS} times");
        Err(FetchError::Redirect { url: shown(url), why })
    }

    /// Forgets the client: the next request resolves the name again.
    pub(crate) fn forget(&mut self) {
        self.made = None;
    }

    async fn client(&mut self, url: &Url) -> Result<Client, FetchError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        self.check_scheme(url, &host)?;
        if let Some((_, client)) = self.made.as_ref().filter(|(made_for, _)| *made_for == host) {
            return Ok(client.clone());
        }
        let addresses = self.resolve(url, &host).await?;
        let client = build(&host, &addresses, self.settings.ca.as_deref())?;
        self.made = Some((host, client.clone()));
        Ok(client)
    }

    fn check_scheme(&self, url: &Url, host: &str) -> Result<(), FetchError> {
        let loopback = host == "localhost" || literal(host).is_some_and(|ip| ip.is_loopback());
        let fine = url.scheme() == "https" || self.settings.http || (loopback && self.settings.private);
        if fine { Ok(()) } else { Err(FetchError::PlainHttp(shown(url))) }
    }

    /// The addresses of a host, all of which may be connected to.
    async fn resolve(&self, url: &Url, host: &str) -> Result<Vec<SocketAddr>, FetchError> {
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses: Vec<SocketAddr> = match literal(host) {
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => {
                let failed = |why: String| FetchError::Resolve { host: host.to_owned(), why };
                let found = timeout(self.silence, tokio::net::lookup_host((host, port))).await;
                let found = found.map_err(|_| failed("the resolver does not answer".to_owned()))?;
                found.map_err(|e| failed(e.to_string()))?.collect()
            }
        };
        if addresses.is_empty() {
            return Err(FetchError::Resolve { host: host.to_owned(), why: "it has no address".to_owned() });
        }
        match addresses.iter().find(|a| !self.settings.private && !is_public(a.ip())) {
            Some(bad) => Err(FetchError::Private { host: host.to_owned(), address: bad.ip() }),
            None => Ok(addresses),
        }
    }

    fn broken(&mut self, url: &Url, error: &reqwest::Error) -> FetchError {
        self.forget();
        match certificate_fault(error) {
            Some(why) => FetchError::Certificate { url: shown(url), why },
            None => FetchError::Transport { url: shown(url), done: 0, why: cause(error) },
        }
    }

    fn silent(&mut self, url: &Url) -> FetchError {
        self.forget();
        let why = format!("nothing arrived for {:?}", self.silence);
        FetchError::Transport { url: shown(url), done: 0, why }
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

fn location(at: &Url, headers: &HeaderMap) -> Option<Url> {
    at.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

/// A redirect stays with the host that the plan names, and with https.
fn follow(first: &Url, next: Url) -> Result<Url, FetchError> {
    let refused = |why: &str| {
        let why = format!("to {}: {why}", shown(&next));
        Err(FetchError::Redirect { url: shown(first), why })
    };
    if !matches!(next.scheme(), "http" | "https") || next.host_str() != first.host_str() {
        return refused("another host is not followed; name the final URL in the plan");
    }
    if first.scheme() == "https" && next.scheme() != "https" {
        return refused("plain http is not followed from https");
    }
    Ok(next)
}

fn build(host: &str, addresses: &[SocketAddr], ca: Option<&Path>) -> Result<Client, FetchError> {
    // The command line installs it too; in tests and in other programs this is the first use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = |e: reqwest::Error| FetchError::Client(cause(&e));
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(1)
        .user_agent(concat!("wemixvisor/", env!("CARGO_PKG_VERSION")))
        .resolve_to_addrs(host, addresses);
    if let Some(path) = ca {
        let pem = std::fs::read(path).map_err(super::error::disk_error(path))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(client)?;
        if certificates.is_empty() {
            return Err(FetchError::Client(format!("{} holds no certificate", path.display())));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(client)
}

/// What is wrong with the server's certificate, if that is why the request failed: no time heals it.
fn certificate_fault(error: &reqwest::Error) -> Option<String> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(fault @ rustls::Error::InvalidCertificate(_)) = current.downcast_ref::<rustls::Error>() {
            return Some(fault.to_string());
        }
        // The source of an I/O error is the source of what it wraps, not what it wraps.
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|w| w as &(dyn Error + 'static)).or_else(|| current.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay() {
        let first = Url::parse("https://r.example.org/geth").unwrap();
        let go = |to: &str| follow(&first, first.join(to).unwrap()).map(|u| u.to_string());
        assert_eq!(go("/files/geth?x=1").unwrap(), "https://r.example.org/files/geth?x=1");
        assert_eq!(go("https://r.example.org:8443/geth").unwrap(), "https://r.example.org:8443/geth");
        for bad in
            ["https://other.example.org/geth", "http://r.example.org/geth", "file:///bin/sh", "//x.org/geth"]
        {
            assert!(matches!(go(bad), Err(FetchError::Redirect { .. })), "{bad}");
        }
    }
}
