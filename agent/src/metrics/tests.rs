use super::*;
use crate::health::Check;
use common::chain::{BlockRoots, Hash32};
use common::id::{NodeName, ReleaseName};
use common::release::{Digest, InstalledRelease};
use common::wire::v1::{AgentPhase, NodeHealth};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

fn request() -> SyncRequest {
    let hash = Hash32([1; 32]);
    let head =
        BlockRoots { height: 42, hash, state_root: hash, receipts_root: hash, timestamp_s: 1_700_000_000 };
    let name = ReleaseName::new("v2").unwrap();
    SyncRequest {
        node: NodeName::new("val-01").unwrap(),
        generation: 3,
        hold: false,
        report: NodeReport {
            at: UnixMs(0),
            agent_version: "1.2.3".into(),
            phase: AgentPhase::Probing,
            target: None,
            direction: Direction::Back,
            phase_since: UnixMs(0),
            running: Some(InstalledRelease { name, sequence: 0, digest: Digest([7; 32]) }),
            previous: None,
            process: ProcessState::Running { pid: 1, since: UnixMs(0) },
            health: NodeHealth {
                rpc_up: true,
                recent: vec![head],
                peers: Some(5),
                syncing: Some(false),
                client_version: Some("Geth/\"x\"\\y\nz".into()),
                head_advanced_at: Some(UnixMs(1_700_000_000_500)),
                disk_free_bytes: Some(1 << 40),
                ..NodeHealth::default()
            },
            fault: None,
            last_stop: Some(Span(1500)),
            last_start: Some(Span(250)),
        },
    }
}

fn judged(counters: &Counters, healthy: bool) {
    let check = |name: &str, ok| Check { name: name.into(), ok, detail: "so".into() };
    let checks = vec![check("rpc", Some(healthy)), check("peers", None)];
    let sealing = Sealing { validator: true, window: 32, seen: 16, last_height: Some(41) };
    counters.judged(Verdict { healthy, changed: true, checks }, Some(sealing));
}

#[test]
fn the_page_says_what_is_known_and_nothing_else() {
    let counters = Counters::default();
    Counters::bump(&counters.restarts);
    counters.upgrade_height.store(1000, Ordering::Relaxed);
    counters.backed_up(UnixMs(1_700_000_001_000), 4096, Span(2500));
    judged(&counters, true);
    let page = render(&request(), &counters);
    for line in [
        "wemixvisor_node_up 1",
        "wemixvisor_restarts_total 1",
        "wemixvisor_process_restarts_total 1",
        "wemixvisor_head_height 42",
        "wemixvisor_node_height 42",
        "wemixvisor_head_timestamp_seconds 1700000000",
        "wemixvisor_head_advanced_timestamp_seconds 1700000000.5",
        "wemixvisor_last_stop_seconds 1.5",
        "wemixvisor_sealing 0.5",
        "wemixvisor_healthy 1",
        r#"wemixvisor_health_check{check="rpc"} 1"#,
        r#"wemixvisor_upgrade_phase{phase="probing",direction="back"} 1"#,
        r#"wemixvisor_upgrades_total{result="rolled_back"} 0"#,
        "wemixvisor_upgrade_height 1000",
        "wemixvisor_backup_last_success_timestamp_seconds 1700000001",
        "wemixvisor_backup_size_bytes 4096",
        r#"wemixvisor_agent_info{version="1.2.3"} 1"#,
        "wemixvisor_webhook_sent_total 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}:\n{page}");
    }
    assert!(page.contains(r#"client_version="Geth/\"x\"\\y\nz"} 1"#), "{page}");
    for absent in ["check=\"peers\"", "backup_last_failure"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let mut nothing = request();
    nothing.report.health = NodeHealth::default();
    let page = render(&nothing, &Counters::default());
    for absent in ["head_height", "_peers", "_syncing", "disk_free", "_healthy", "_sealing", "upgrade_height"]
    {
        assert!(!page.contains(absent), "{absent} is unknown, not zero");
    }
}

/// The grammar of the format, as far as we use it: every sample has its one HELP and TYPE right before it.
#[test]
fn the_page_follows_the_format() {
    let counters = Counters::default();
    judged(&counters, false);
    let page = render(&request(), &counters);
    let (mut names, mut current, mut described) = (BTreeSet::new(), "", "");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            described = rest.split_once(' ').unwrap().0;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, described, "HELP first");
            assert!(names.insert(name), "{name} comes twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            current = name;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert_eq!(series.split('{').next().unwrap(), current, "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(page.ends_with('\n') && names.len() > 40, "{}", names.len());
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"] {
        let value = page.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|v| v >= 0.0), "{name}");
    }
}

#[test]
fn promtool_agrees_where_it_is_installed() {
    use std::process::{Command, Stdio};
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return };
    let counters = Counters::default();
    judged(&counters, true);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), render(&request(), &counters).as_bytes())
        .unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

async fn get(address: std::net::SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn three_pages_are_served_also_beside_clients_that_say_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports, seen) = watch::channel(request());
    let counters = Arc::new(Counters::default());
    let server = tokio::spawn(serve::serve_on(listener, seen, Arc::clone(&counters)));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let page = get(address, "GET /metrics?x=1").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("\r\n\r\n# HELP wemixvisor_node_up"));
    assert!(get(address, "GET /health").await.starts_with("HTTP/1.1 503"), "nothing was judged yet");
    judged(&counters, true);
    let healthy = get(address, "GET /health").await;
    assert!(healthy.starts_with("HTTP/1.1 200") && healthy.ends_with('}'), "{healthy}");
    judged(&counters, false);
    let ill = get(address, "GET /health").await;
    assert!(ill.starts_with("HTTP/1.1 503") && ill.contains(r#""healthy":false"#), "{ill}");
    assert!(get(address, "GET /ready").await.starts_with("HTTP/1.1 200"));
    reports.send_modify(|r| r.report.health.rpc_up = false);
    assert!(get(address, "GET /ready").await.starts_with("HTTP/1.1 503"));
    for (line, status) in [("GET /", "404"), ("GET /metricsx", "404"), ("POST /metrics", "405"), ("x", "405")]
    {
        assert!(get(address, line).await.starts_with(&format!("HTTP/1.1 {status}")), "{line}");
    }
    let mut first = silent.swap_remove(0);
    let mut rest = Vec::new();
    // Ended by the server, whose patience has an end.
    assert_eq!(first.read_to_end(&mut rest).await.unwrap(), 0);
    server.abort();
}
