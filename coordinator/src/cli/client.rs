//! The HTTP client: one fleet, one CA, one token. Every answer that is not a success becomes one clear error.
use super::context::Context;
use super::error::{Exit, Failure, Outcome, chain};
use super::escape::escape;
use common::wire::problem::Problem;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest wait for an ordinary answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait for a release whose artifacts the coordinator fetches first, and for uploads.
const SLOW_ANSWER: Duration = Duration::from_secs(30 * 60);
/// Largest answer read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Talks to a coordinator.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    /// When the CA cannot be read or the address is no `https` URL (`http` is for loopback only).
    pub fn new(context: &Context) -> Outcome<Self> {
        let base = context.server.trim_end_matches('/').to_owned();
        check_address(&base)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(ANSWER)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("wemixfleet/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &context.ca {
            let named = |e: &dyn std::fmt::Display| {
                Failure::usage(format!("cannot use the CA certificate {}", path.display())).because(e)
            };
            let pem = std::fs::read(path).map_err(|e| named(&e))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| named(&e))?;
            if certificates.is_empty() {
                return Err(named(&"it holds no certificate"));
            }
            builder = builder.tls_certs_only(certificates);
        } else if base.starts_with("https://") {
            return Err(Failure::usage("which CA signed the coordinator's certificate?")
                .because("no --ca, no WEMIXFLEET_CA and none in the context")
                .hint("copy ca.crt from the coordinator's data directory and name it with --ca"));
        }
        let http = builder
            .build()
            .map_err(|e| Failure::usage("cannot prepare the HTTP client").because(chain(&e)))?;
        Ok(Self { http, base, token: context.token.clone() })
    }

    /// Address of the coordinator.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET path`.
    ///
    /// # Errors
    /// When the coordinator cannot be asked or says no.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.read(path, self.send(Method::GET, path, None::<&()>, ANSWER).await?).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// When the coordinator cannot be asked or says no.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        self.read(path, self.send(Method::POST, path, Some(body), ANSWER).await?).await
    }

    /// `POST path` whose answer may take long.
    ///
    /// # Errors
    /// When the coordinator cannot be asked or says no.
    pub async fn post_slow<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        self.read(path, self.send(Method::POST, path, Some(body), SLOW_ANSWER).await?).await
    }

    /// `DELETE path`, no body expected.
    ///
    /// # Errors
    /// When the coordinator cannot be asked or says no.
    pub async fn delete(&self, path: &str) -> Outcome<()> {
        self.send(Method::DELETE, path, None::<&()>, ANSWER).await.map(|_| ())
    }

    /// `PUT path` with a body that is read from a file while it is sent.
    ///
    /// # Errors
    /// When the file cannot be read, or the coordinator cannot be asked or says no.
    pub async fn put_file(&self, path: &str, file: tokio::fs::File, len: u64) -> Outcome<()> {
        let request = self
            .request(Method::PUT, path, SLOW_ANSWER)
            .header(http::header::CONTENT_LENGTH, len)
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::from(file));
        self.finish(request).await.map(|_| ())
    }

    /// `GET path` as text, whatever the status.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn get_text(&self, path: &str) -> Outcome<(StatusCode, String)> {
        let response =
            self.request(Method::GET, path, ANSWER).send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let text = response.text().await.map_err(|e| self.unreachable(&e))?;
        Ok((status, text))
    }

    fn request(&self, method: Method, path: &str, limit: Duration) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(limit);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
        limit: Duration,
    ) -> Outcome<reqwest::Response> {
        let mut request = self.request(method, path, limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.finish(request).await
    }

    async fn finish(&self, request: reqwest::RequestBuilder) -> Outcome<reqwest::Response> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        Err(refusal(status, &text))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, response: reqwest::Response) -> Outcome<T> {
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if bytes.len() > MAX_ANSWER {
            return Err(Failure::usage(format!("the answer to {path} is too large ({} bytes)", bytes.len())));
        }
        serde_json::from_slice(if bytes.is_empty() { b"null" } else { &bytes }).map_err(|e| {
            Failure::usage(format!("the answer to {path} cannot be read"))
                .because(e)
                .hint("`wemixfleet doctor` compares the versions of this program and the coordinator")
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = chain(error);
        let failure =
            Failure::usage(format!("cannot ask the coordinator at {}", escape(&self.base))).because(&why);
        if error.is_timeout() {
            return failure.hint("it did not answer in time; is it busy or unreachable?");
        }
        if why.contains("certificate") || why.contains("UnknownIssuer") {
            return failure.hint("the address answers with a certificate that the fleet's CA did not sign for it; check --server and --ca");
        }
        failure.hint("is `wemixfleet serve` running, and is the address right? (--server)")
    }
}

/// TLS everywhere; plain HTTP only to this machine.
fn check_address(base: &str) -> Outcome<()> {
    let url = reqwest::Url::parse(base)
        .map_err(|e| Failure::usage(format!("{base:?} is no address")).because(e))?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        _ => Err(Failure::usage(format!("{base:?} is not acceptable"))
            .because("the address must begin with https://")),
    }
}

/// Codes by which a safety rule refuses: exit 5.
const SAFETY: [&str; 12] = [
    "quorum-slack-exhausted",
    "foreign-validator-down",
    "chain-view-missing",
    "chain-view-stale",
    "chain-not-advancing",
    "deadline-infeasible",
    "activation-passed",
    "other-rollout",
    "plan-cancelled",
    "check-failed",
    "rollback-refused",
    "unsafe",
];

/// An answer that is not a success, in words.
fn refusal(status: StatusCode, text: &str) -> Failure {
    let Ok(problem) = serde_json::from_str::<Problem>(text) else {
        let exit = if status.is_server_error() { Exit::Usage } else { Exit::No };
        return Failure::with(exit, format!("the coordinator answered {status}"));
    };
    let exit = match status {
        _ if SAFETY.contains(&problem.code.as_str()) => Exit::Unsafe,
        StatusCode::TOO_MANY_REQUESTS => Exit::Usage,
        s if s.is_server_error() => Exit::Usage,
        _ => Exit::No,
    };
    let mut what = format!("{} ({})", escape(&problem.detail), escape(&problem.code));
    if !problem.request_id.is_empty() {
        what.push_str(&format!(" [request {}]", escape(&problem.request_id)));
    }
    let mut failure = Failure::with(exit, what);
    failure.hint = problem.hint.as_deref().map(escape).or_else(|| match status {
        StatusCode::UNAUTHORIZED => {
            Some("give a token: --token-file FILE, WEMIXFLEET_TOKEN or a context".into())
        }
        StatusCode::FORBIDDEN => {
            Some("the token's role does not allow this; `wemixfleet token list` shows roles".into())
        }
        _ => None,
    });
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in
            ["https://fleet.example:7443", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"]
        {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in
            ["http://fleet.example", "ftp://x", "fleet.example:7443", "", "http://127.0.0.1.evil.example"]
        {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn problems_become_errors_with_hint_and_request_id() {
        let body = r#"{"code":"deadline-infeasible","status":409,"detail":"too\u001b[31m late","hint":"ask for a later height","request_id":"r-1"}"#;
        let failure = refusal(StatusCode::CONFLICT, body);
        assert_eq!(failure.exit, Exit::Unsafe);
        let said = failure.to_string();
        assert!(said.contains("too\\x1b[31m late (deadline-infeasible) [request r-1]"), "{said}");
        assert!(said.ends_with("hint: ask for a later height"), "{said}");
        assert_eq!(refusal(StatusCode::NOT_FOUND, "nonsense").exit, Exit::No);
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, "").exit, Exit::Usage);
    }
}
