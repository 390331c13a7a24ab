//! Events told to somebody else by HTTP. Whatever the receiver does, nobody here waits for it.
//!
//! A bounded queue and one task: the HTTP client exists only while there is something to send, so that a quiet agent
//! stays small. The body is signed; an id that stays the same over all tries lets the receiver drop repetitions.
mod event;

pub use event::{Event, Kind};

use crate::clock;
use crate::config::WebhookSettings;
use crate::metrics::Counters;
use event::Body;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use sha2::Sha256;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events that wait at most; the oldest make room.
const QUEUE: usize = 128;
/// How often one event is tried.
const TRIES: u32 = 5;
/// Pause before the second try; doubled for each one after.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(10);
/// The same is not told twice in this time.
const SAME: Duration = Duration::from_secs(60);
/// Longest secret file read, in bytes.
const MAX_SECRET: u64 = 4096;

/// Why events cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address cannot be used.
    #[error("[webhook] url: {0}")]
    Address(String),
    /// An event that does not exist.
    #[error("[webhook] on: {0:?} is no event; there are {known}", known = Kind::names())]
    Unknown(String),
    /// The secret cannot be read.
    #[error("[webhook] secret_file: {path}: {why}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The HTTP client cannot be made.
    #[error("the webhook's HTTP client cannot be made: {0}")]
    Client(String),
}

/// Takes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    news: Notify,
    busy: AtomicBool,
    on: Vec<Kind>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Body>,
    told: VecDeque<(Instant, Event)>,
}

impl Sender {
    /// Tells an event, unless it is not wanted or the same was told within a minute. Never waits.
    pub fn tell(&self, event: Event) {
        let shared = &self.0;
        if !shared.on.is_empty() && !shared.on.contains(&event.event) {
            return;
        }
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while queue.told.front().is_some_and(|(at, _)| now - *at >= SAME) || queue.told.len() > QUEUE {
            queue.told.pop_front();
        }
        if queue.told.iter().any(|(_, told)| *told == event) {
            shared.counters.webhook_repeated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if queue.waiting.len() >= QUEUE {
            queue.waiting.pop_front();
            shared.counters.webhook_dropped.fetch_add(1, Ordering::Relaxed);
        }
        queue.told.push_back((now, event.clone()));
        queue.waiting.push_back(Body::new(event, clock::now()));
        drop(queue);
        shared.news.notify_one();
    }

    /// Waits until everything is told or given up, at most for `within`. For the end of the agent.
    pub async fn drain(&self, within: Duration) {
        let end = Instant::now() + within;
        while self.is_busy() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_busy(&self) -> bool {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        !queue.waiting.is_empty() || self.0.busy.load(Ordering::Acquire)
    }

    /// The next event to send; from then on there is work until the next call that gives none.
    fn take(&self) -> Option<Body> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let next = queue.waiting.pop_front();
        self.0.busy.store(next.is_some(), Ordering::Release);
        next
    }
}

/// Begins to tell events of `node` in `home`. Needs a runtime to run in.
///
/// # Errors
/// [`WebhookError`] when the settings cannot work.
pub fn start(
    settings: &WebhookSettings,
    node: String,
    home: String,
    counters: Arc<Counters>,
) -> Result<Sender, WebhookError> {
    start_with(settings, node, home, counters, PAUSE)
}

fn start_with(
    settings: &WebhookSettings,
    node: String,
    home: String,
    counters: Arc<Counters>,
    pause: Duration,
) -> Result<Sender, WebhookError> {
    let url = check_url(&settings.url)?;
    let kind = |name: &String| Kind::of(name).ok_or_else(|| WebhookError::Unknown(name.clone()));
    let on = settings.on.iter().map(kind).collect::<Result<_, _>>()?;
    let teller = Teller { url, secret_file: settings.secret_file.clone(), node, home, pause };
    teller.secret()?;
    let shared = Shared { queue: Mutex::default(), news: Notify::new(), busy: false.into(), on, counters };
    let sender = Sender(Arc::new(shared));
    tokio::spawn(teller.run(sender.clone()));
    Ok(sender)
}

/// An address that events may go to: https, or http to this host.
///
/// # Errors
/// [`WebhookError::Address`].
pub fn check_url(text: &str) -> Result<Url, WebhookError> {
    let wrong = |why: &str| WebhookError::Address(format!("{text:?} {why}"));
    let url = Url::parse(text).map_err(|e| wrong(&format!("is no address: {e}")))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err(wrong("is not encrypted: use https, or http to this host only")),
        _ => Err(wrong("is neither https nor http")),
    }
}

struct Teller {
    url: Url,
    secret_file: Option<PathBuf>,
    node: String,
    home: String,
    pause: Duration,
}

impl Teller {
    async fn run(self, sender: Sender) {
        loop {
            // Before the look at the queue, so that what comes in between is not missed.
            let news = sender.0.news.notified();
            let mut client = None;
            while let Some(body) = sender.take() {
                let counters = &sender.0.counters;
                let kind = body.event.event;
                match self.deliver(&mut client, body, counters).await {
                    Ok(()) => counters.webhook_sent.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        tracing::warn!(event = kind.name(), error, "the webhook was not told");
                        counters.webhook_failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
            drop(client);
            news.await;
        }
    }

    /// Tries one event until it is taken.
    async fn deliver(
        &self,
        client: &mut Option<reqwest::Client>,
        mut body: Body,
        counters: &Counters,
    ) -> Result<(), String> {
        let mut pause = self.pause;
        loop {
            body.attempt += 1;
            let error = match self.post(client, &body).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if body.attempt >= TRIES {
                return Err(error);
            }
            tracing::debug!(error, attempt = body.attempt, "the webhook is tried again");
            counters.webhook_retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn post(&self, client: &mut Option<reqwest::Client>, body: &Body) -> Result<(), String> {
        let bytes = body.json(&self.node, &self.home);
        let secret = self.secret().map_err(|e| e.to_string())?;
        let client = match client {
            Some(client) => client,
            None => client.insert(self.client().map_err(|e| e.to_string())?),
        };
        let mut request = client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("x-wemixvisor-event", body.event.event.name())
            .header("x-wemixvisor-delivery", &body.id);
        if let Some(secret) = secret {
            request = request.header("x-wemixvisor-signature", signature(&secret, &bytes));
        }
        // The address may hold a token: it is not told.
        let answer = request.body(bytes).send().await;
        let answer = answer.map_err(|e| crate::host::download::cause(&e.without_url()))?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("the receiver says {}", answer.status()))
        }
    }

    fn client(&self) -> Result<reqwest::Client, WebhookError> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(WITHIN)
            .pool_max_idle_per_host(1);
        let builder = if self.url.scheme() == "http" { builder.no_proxy() } else { builder };
        builder.build().map_err(|e| WebhookError::Client(crate::host::download::cause(&e)))
    }

    /// The secret as it is now, without the line's end; a file that is there and cannot be read is no reason to send
    /// unsigned.
    fn secret(&self) -> Result<Option<Vec<u8>>, WebhookError> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let failed = |why: String| WebhookError::Secret { path: path.clone(), why };
        let mut secret = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
        let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_SECRET), &mut secret);
        read.map_err(|e| failed(e.to_string()))?;
        let secret = secret.trim_ascii().to_vec();
        if secret.is_empty() { Err(failed("it is empty".to_owned())) } else { Ok(Some(secret)) }
    }
}

/// `sha256=` and the HMAC of a body, in hexadecimal.
fn signature(secret: &[u8], body: &[u8]) -> String {
    // Keys of any length are taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests;
