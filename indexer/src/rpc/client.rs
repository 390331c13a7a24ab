use super::error::bounded;
use super::{Endpoint, RpcError};
use common::id::NodeName;
use common::time::Span;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one endpoint may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for one answer.
    pub timeout: Span,
    /// Longest wait for an operation with all its retries.
    pub deadline: Span,
    /// Largest answer in bytes.
    pub max_answer: usize,
    /// Calls a second, each member of a batch counted.
    pub per_second: NonZeroU32,
    /// How often one operation is tried at most.
    pub attempts: u32,
    /// First wait between two attempts; doubles with each.
    pub backoff: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Span::secs(10),
            deadline: Span::secs(30),
            max_answer: 32 << 20,
            per_second: NonZeroU32::new(500).unwrap_or(NonZeroU32::MIN),
            attempts: 4,
            backoff: Span(100),
        }
    }
}

/// One JSON-RPC call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Name of the method.
    pub method: &'static str,
    /// Its parameters, an array.
    pub params: Value,
}

impl Call {
    /// A call of a method with an array of parameters.
    pub fn new(method: &'static str, params: Value) -> Self {
        Self { method, params }
    }
}

/// Longest time an endpoint that keeps failing is left alone.
const LONGEST_REST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    rest_until: Option<Instant>,
}

/// The client of one endpoint.
#[derive(Debug)]
pub struct Client {
    label: NodeName,
    url: reqwest::Url,
    http: reqwest::Client,
    limits: Limits,
    limiter: DefaultDirectRateLimiter,
    health: Mutex<Health>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

/// Answers of one batch, in the order of its calls.
pub(super) type Answers = Vec<Result<Box<RawValue>, RpcError>>;

impl Client {
    /// A client; no connection is made before the first call.
    ///
    /// # Errors
    /// [`RpcError::Address`] when the address is no `http` or `https` address.
    pub fn new(endpoint: &Endpoint, limits: Limits) -> Result<Self, RpcError> {
        let bad = |why: String| RpcError::Address {
            label: endpoint.label.clone(),
            url: bounded(&endpoint.url),
            why: bounded(&why),
        };
        let url = reqwest::Url::parse(&endpoint.url).map_err(|e| bad(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("http:// or https:// is expected".to_owned()));
        }
        // The HTTP client panics without a TLS provider; the first one installed in a process stays.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(limits.timeout.to_std())
            .connect_timeout(limits.timeout.to_std())
            .pool_idle_timeout(Duration::from_secs(60))
            .build()
            .map_err(|e| bad(e.to_string()))?;
        Ok(Self {
            label: endpoint.label.clone(),
            url,
            http,
            limits,
            limiter: RateLimiter::direct(Quota::per_second(limits.per_second)),
            health: Mutex::default(),
        })
    }

    /// The node this endpoint belongs to.
    pub fn label(&self) -> &NodeName {
        &self.label
    }

    /// Asks one thing, with retries, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`RpcError`] of the last attempt.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        let answers = self.batch(&[Call::new(method, params)]).await?;
        match answers.into_iter().next() {
            Some(answer) => self.read(method, &answer?),
            None => Err(self.shape(method, "there is no answer")),
        }
    }

    /// Asks several things in one request, with retries of the whole. The outer error is the request's, the
    /// inner ones are the endpoint's refusals.
    ///
    /// # Errors
    /// [`RpcError`] of the last attempt.
    pub(super) async fn batch(&self, calls: &[Call]) -> Result<Answers, RpcError> {
        let deadline = Instant::now() + self.limits.deadline.to_std();
        let mut wait = self.limits.backoff.to_std();
        for attempt in 1.. {
            let outcome = self.attempt(calls).await;
            let transient = match &outcome {
                Ok(answers) => answers.iter().any(|a| a.as_ref().is_err_and(RpcError::is_transient)),
                Err(error) => error.is_transient(),
            };
            if let Err(RpcError::Status { retry_after_s: Some(s), .. }) = &outcome {
                wait = wait.max(Duration::from_secs(*s));
            }
            if !transient || attempt >= self.limits.attempts || Instant::now() + wait > deadline {
                return outcome;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Ok(Vec::new())
    }

    /// Asks once, without retries: for callers that ask again anyway.
    pub(super) async fn attempt(&self, calls: &[Call]) -> Result<Answers, RpcError> {
        let outcome = self.post(calls).await;
        self.note(outcome.as_ref().err());
        outcome
    }

    /// Whether the endpoint failed so recently that it is left alone for a moment.
    pub(super) fn is_resting(&self) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.rest_until.is_some_and(|until| Instant::now() < until)
    }

    fn note(&self, error: Option<&RpcError>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if error.is_some_and(RpcError::is_transient) {
            health.failures = health.failures.saturating_add(1);
            let rest = self.limits.backoff.to_std().saturating_mul(1 << health.failures.min(10));
            health.rest_until = Some(Instant::now() + rest.min(LONGEST_REST));
        } else {
            *health = Health::default();
        }
    }

    async fn post(&self, calls: &[Call]) -> Result<Answers, RpcError> {
        let Some(first) = calls.first() else { return Ok(Vec::new()) };
        let method = first.method;
        self.admit(calls.len()).await;
        let one = |(id, call): (usize, &Call)| json!({"jsonrpc": "2.0", "id": id, "method": call.method, "params": call.params});
        let body = if calls.len() == 1 {
            one((0, first))
        } else {
            Value::Array(calls.iter().enumerate().map(one).collect())
        };
        let sent = self.http.post(self.url.clone()).json(&body).send().await;
        let mut response = sent.map_err(|e| self.transport(method, &e))?;
        if !response.status().is_success() {
            let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
            return Err(RpcError::Status {
                label: self.label.clone(),
                method,
                status: response.status().as_u16(),
                retry_after_s: retry_after.and_then(|v| v.parse().ok()),
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport(method, &e))? {
            if bytes.len() + chunk.len() > self.limits.max_answer {
                return Err(RpcError::TooLarge {
                    label: self.label.clone(),
                    method,
                    limit: self.limits.max_answer,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        self.sort_out(calls, &bytes)
    }

    async fn admit(&self, calls: usize) {
        let count = u32::try_from(calls).unwrap_or(u32::MAX).min(self.limits.per_second.get());
        if let Some(count) = NonZeroU32::new(count) {
            // Cannot fail: the count was cut to the size of the bucket.
            let _ = self.limiter.until_n_ready(count).await;
        }
    }

    /// Puts the answers of a body in the order of the calls.
    fn sort_out(&self, calls: &[Call], body: &[u8]) -> Result<Answers, RpcError> {
        let method = calls.first().map_or("", |c| c.method);
        let text =
            std::str::from_utf8(body).map_err(|_| self.shape(method, "the answer is no UTF-8 text"))?;
        let answers: Vec<Answer<'_>> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|e| self.shape(method, &e.to_string()))?
        } else {
            let mut single: Answer<'_> =
                serde_json::from_str(text).map_err(|e| self.shape(method, &e.to_string()))?;
            if calls.len() > 1 {
                // A whole batch can only be refused with one object.
                let why = single.error.map_or_else(|| "one answer to a batch".to_owned(), |e| e.message);
                return Err(self.shape(method, &why));
            }
            single.id = Some(0);
            vec![single]
        };
        let mut sorted: Vec<Option<Result<Box<RawValue>, RpcError>>> = calls.iter().map(|_| None).collect();
        for answer in answers {
            let Some(at) = answer.id.and_then(|id| usize::try_from(id).ok()).filter(|at| *at < calls.len())
            else {
                return Err(self.shape(method, "an answer to something that was not asked"));
            };
            sorted[at] = Some(match (answer.error, answer.result) {
                (Some(error), _) => Err(RpcError::Refused {
                    label: self.label.clone(),
                    method: calls[at].method,
                    code: error.code,
                    message: bounded(&error.message),
                    data: error.data.as_str().map(bounded),
                }),
                (None, Some(result)) => Ok(result.to_owned()),
                // `"result": null` and no result at all read the same; null is the meaning of both.
                (None, None) => Ok(RawValue::NULL.to_owned()),
            });
        }
        sorted
            .into_iter()
            .map(|answer| answer.ok_or_else(|| self.shape(method, "an answer is missing in the batch")))
            .collect()
    }

    /// Reads one answer as `T`.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        method: &'static str,
        raw: &RawValue,
    ) -> Result<T, RpcError> {
        serde_json::from_str(raw.get()).map_err(|e| self.shape(method, &e.to_string()))
    }

    /// An answer that cannot be used.
    pub(super) fn shape(&self, method: &'static str, why: &str) -> RpcError {
        RpcError::Shape { label: self.label.clone(), method, why: bounded(why) }
    }

    fn transport(&self, method: &'static str, error: &reqwest::Error) -> RpcError {
        if error.is_timeout() {
            return RpcError::Timeout {
                label: self.label.clone(),
                method,
                after_ms: self.limits.timeout.as_ms(),
            };
        }
        // The cause is at the end of the chain; the address is left out, it may hold a key.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        RpcError::Transport { label: self.label.clone(), method, why: bounded(&cause.to_string()) }
    }
}
