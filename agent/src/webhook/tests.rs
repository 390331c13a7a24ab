use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use std::sync::atomic::AtomicU32;
use tokio::sync::mpsc;

struct Receiver {
    url: String,
    got: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    /// Requests still to be refused.
    refuse: Arc<AtomicU32>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receiver(refused: u32) -> Receiver {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (tell, got) = mpsc::unbounded_channel();
    let refuse = Arc::new(AtomicU32::new(refused));
    let left = Arc::clone(&refuse);
    let handler = move |headers: HeaderMap, body: Bytes| {
        let refused = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        let _ = tell.send((headers, body));
        async move { if refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT } }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(handler));
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Receiver { url, got, refuse, server }
}

impl Receiver {
    async fn next(&mut self) -> (HeaderMap, Value) {
        let (headers, body) =
            tokio::time::timeout(Duration::from_secs(30), self.got.recv()).await.unwrap().unwrap();
        (headers, serde_json::from_slice(&body).unwrap())
    }

    fn sender(&self, secret_file: Option<PathBuf>, on: &[&str]) -> (Sender, Arc<Counters>) {
        let on = on.iter().map(|n| (*n).to_owned()).collect();
        let settings = WebhookSettings { url: self.url.clone(), secret_file, on };
        let counters = Arc::new(Counters::default());
        let pause = Duration::from_millis(1);
        let sender = start_with(&settings, "val-01".into(), "/home".into(), Arc::clone(&counters), pause);
        (sender.unwrap(), counters)
    }
}

fn count(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test]
async fn an_event_is_posted_signed_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "key\n").unwrap();
    let mut receiver = receiver(2).await;
    let (sender, counters) = receiver.sender(Some(secret), &[]);
    let event =
        Event { release: Some("v2".into()), height: Some(9), ..Event::new(Kind::UpgradeDone, "it runs") };
    sender.tell(event);
    let mut ids = Vec::new();
    for attempt in 1..=3 {
        let (headers, body) = receiver.got.recv().await.unwrap();
        let signed = headers["x-wemixvisor-signature"].to_str().unwrap();
        assert_eq!(signed, signature(b"key", &body), "the secret's line end is no part of it");
        assert_eq!(headers["x-wemixvisor-event"], "upgrade_done");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(headers["x-wemixvisor-delivery"].to_str().unwrap(), body["id"]);
        assert!(body["at"].as_u64().unwrap() > 0);
        ids.push(body["id"].clone());
        let wanted = serde_json::json!({"event": "upgrade_done", "node": "val-01", "home": "/home",
            "detail": "it runs", "release": "v2", "height": 9, "attempt": attempt});
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(body[key], *value, "{key}");
        }
    }
    sender.drain(Duration::from_secs(30)).await;
    assert!(ids.iter().all(|id| *id == ids[0]) && ids[0].as_str().unwrap().len() == 32);
    assert_eq!((count(&counters.webhook_sent), count(&counters.webhook_retries)), (1, 2));
}

#[test]
fn signatures_are_hmac_sha256() {
    // RFC 4231, test case 2.
    let wanted = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), wanted);
}

#[tokio::test]
async fn after_five_tries_it_goes_on_with_the_next() {
    let mut receiver = receiver(TRIES).await;
    let (sender, counters) = receiver.sender(None, &[]);
    sender.tell(Event::new(Kind::NodeCrashed, "first"));
    sender.tell(Event::new(Kind::NodeStarted, "second"));
    for attempt in 1..=TRIES {
        let (headers, body) = receiver.next().await;
        assert_eq!((&body["detail"], &body["attempt"]), (&"first".into(), &attempt.into()));
        assert!(!headers.contains_key("x-wemixvisor-signature"), "there is no secret");
    }
    assert_eq!(receiver.next().await.1["detail"], "second");
    sender.drain(Duration::from_secs(30)).await;
    assert_eq!((count(&counters.webhook_sent), count(&counters.webhook_failed)), (1, 1));
    assert_eq!(receiver.refuse.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_same_is_told_once_and_what_is_not_wanted_never() {
    let mut receiver = receiver(0).await;
    let (sender, counters) = receiver.sender(None, &["disk_low", "healthy"]);
    sender.tell(Event::new(Kind::NodeStarted, "not wanted"));
    for _ in 0..3 {
        sender.tell(Event::new(Kind::DiskLow, "5 MiB"));
    }
    sender.tell(Event::new(Kind::Healthy, "x".repeat(5000)));
    assert_eq!(receiver.next().await.1["event"], "disk_low");
    let (_, last) = receiver.next().await;
    assert_eq!((&last["event"], last["detail"].as_str().unwrap().len()), (&"healthy".into(), MAX));
    sender.drain(Duration::from_secs(30)).await;
    assert_eq!((count(&counters.webhook_sent), count(&counters.webhook_repeated)), (2, 2));
}

const MAX: usize = 1024;

#[tokio::test]
async fn a_receiver_that_is_gone_keeps_nobody_waiting_and_the_oldest_make_room() {
    let mut receiver = receiver(0).await;
    let (sender, counters) = receiver.sender(None, &[]);
    // The task does not run before this one waits.
    for n in 0..QUEUE + 10 {
        sender.tell(Event::new(Kind::NodeCrashed, format!("{n}")));
    }
    assert_eq!(count(&counters.webhook_dropped), 10);
    assert_eq!(receiver.next().await.1["detail"], "10");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for url in ["https://example.org/x", "http://127.0.0.1:9/x", "http://[::1]/x", "http://localhost/x"] {
        assert!(check_url(url).is_ok(), "{url}");
    }
    for url in [
        "http://example.org/x",
        "http://10.0.0.1/",
        "ftp://localhost/",
        "nonsense",
        "http://127.0.0.1.example.org/",
    ] {
        assert!(check_url(url).is_err(), "{url}");
    }
    let settings = |on: &str, file: &str| WebhookSettings {
        url: "https://example.org".into(),
        secret_file: (!file.is_empty()).then(|| file.into()),
        on: vec![on.into()],
    };
    let begin = |s: &WebhookSettings| start(s, String::new(), String::new(), Arc::default());
    let error = begin(&settings("upgraded", "")).unwrap_err().to_string();
    assert!(error.contains("upgraded") && error.contains("upgrade_done"), "{error}");
    let error = begin(&settings("healthy", "/nonexistent/secret")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/secret"), "{error}");
    for kind in Kind::ALL {
        assert_eq!((Kind::of(kind.name()), serde_json::json!(kind)), (Some(*kind), kind.name().into()));
    }
}
