//! A few numbers for Prometheus, on loopback, when asked for.
use common::wire::v1::{ProcessState, SyncRequest};
use std::fmt::Write;
use std::future::Future;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

/// Opens the address; the future serves it.
///
/// # Errors
/// When the address cannot be opened.
pub async fn serve(
    address: SocketAddr,
    reports: watch::Receiver<SyncRequest>,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "metrics");
    Ok(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = render(&reports.borrow());
            // Whatever is asked for, this is the answer; the request is only waited for.
            let mut request = [0; 1024];
            let _ = timeout(Duration::from_secs(2), stream.read(&mut request)).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = timeout(Duration::from_secs(2), stream.write_all((head + &body).as_bytes())).await;
        }
    })
}

fn render(request: &SyncRequest) -> String {
    let (report, health) = (&request.report, &request.report.health);
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
    };
    let (up, restarts) = match &report.process {
        ProcessState::Running { .. } => (1, 0),
        ProcessState::BackingOff { restarts, .. } => (0, u64::from(*restarts)),
        ProcessState::Stopped => (0, 0),
    };
    gauge("wemixvisor_node_up", "Whether the node process runs.", Some(up));
    gauge("wemixvisor_node_restarts", "Exits since the node was last healthy.", Some(restarts));
    gauge("wemixvisor_rpc_up", "Whether the node's RPC answers.", Some(health.rpc_up.into()));
    gauge("wemixvisor_head_height", "Height of the node's head.", health.head().map(|b| b.height));
    gauge("wemixvisor_peers", "Connected peers.", health.peers.map(u64::from));
    gauge("wemixvisor_disk_free_bytes", "Free bytes beside the node.", health.disk_free_bytes);
    gauge("wemixvisor_generation", "Newest generation stored.", Some(request.generation));
    gauge("wemixvisor_fault", "Whether there is a fault.", Some(report.fault.is_some().into()));
    gauge(
        "wemixvisor_last_stop_milliseconds",
        "How long the last stop took.",
        report.last_stop.map(|s| s.as_ms()),
    );
    gauge(
        "wemixvisor_last_start_milliseconds",
        "How long the last start took.",
        report.last_start.map(|s| s.as_ms()),
    );
    out
}
