//! Three pages over HTTP: `/metrics`, `/health` (200 when the node is well) and `/ready` (200 when its RPC answers).
use super::{Counters, render};
use common::wire::v1::SyncRequest;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Duration, timeout};

/// Longest request head, in bytes.
const MAX_HEAD: usize = 4096;
/// Connections served at once; more are closed.
const AT_ONCE: usize = 32;
/// How long one request may take, from its first byte to the last of its answer.
const WITHIN: Duration = Duration::from_secs(5);
/// Pause when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Opens the address; the future serves it.
///
/// # Errors
/// When the address cannot be opened.
pub async fn serve(
    address: SocketAddr,
    reports: watch::Receiver<SyncRequest>,
    counters: Arc<Counters>,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "metrics");
    Ok(serve_on(listener, reports, counters))
}

pub(super) async fn serve_on(
    listener: TcpListener,
    reports: watch::Receiver<SyncRequest>,
    counters: Arc<Counters>,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (reports, counters) = (reports.clone(), Arc::clone(&counters));
        tokio::spawn(async move {
            let _ = timeout(WITHIN, answer(stream, &reports, &counters)).await;
            drop(place);
        });
    }
}

async fn answer(
    mut stream: TcpStream,
    reports: &watch::Receiver<SyncRequest>,
    counters: &Counters,
) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        ("GET", "/metrics") => ("200 OK", TEXT, render(&reports.borrow(), counters)),
        ("GET", "/health") => health(counters),
        ("GET", "/ready") => ready(reports.borrow().report.health.rpc_up),
        ("GET", _) => ("404 Not Found", TEXT, "there are /metrics, /health and /ready\n".to_owned()),
        _ => ("405 Method Not Allowed", TEXT, "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}

fn health(counters: &Counters) -> (&'static str, &'static str, String) {
    let verdict = counters.verdict();
    let healthy = verdict.as_ref().is_some_and(|v| v.healthy);
    let checks = verdict.map(|v| v.checks).unwrap_or_default();
    let body = serde_json::json!({"healthy": healthy, "checks": checks}).to_string();
    (if healthy { "200 OK" } else { UNAVAILABLE }, JSON, body)
}

fn ready(up: bool) -> (&'static str, &'static str, String) {
    (if up { "200 OK" } else { UNAVAILABLE }, JSON, serde_json::json!({"ready": up}).to_string())
}

const UNAVAILABLE: &str = "503 Service Unavailable";
