//! Numbers for Prometheus, on loopback, when asked for. Rendered by hand: a registry would cost more memory than
//! everything that is told.
mod process;
mod serve;

pub use serve::serve;

use crate::clock;
use crate::health::{Sealing, Verdict};
use common::time::{Span, UnixMs};
use common::wire::v1::{Direction, NodeReport, ProcessState, SyncRequest};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the report does not hold: counted, or put here, by whoever knows. Counters begin at 0 with the agent.
#[derive(Debug, Default)]
pub struct Counters {
    /// Starts of the node after an end that nobody asked for.
    pub restarts: AtomicU64,
    /// Ends of the node that nobody asked for.
    pub exits: AtomicU64,
    /// Upgrades whose new release came up healthy.
    pub upgrades_done: AtomicU64,
    /// Upgrades that failed.
    pub upgrades_failed: AtomicU64,
    /// Ways back that ended on the release before.
    pub upgrades_rolled_back: AtomicU64,
    /// Plans that could not be understood or followed.
    pub plan_faults: AtomicU64,
    /// Upgrades that wait for their height or permission, now.
    pub upgrades_pending: AtomicU64,
    /// Height of the next upgrade; 0 is none.
    pub upgrade_height: AtomicU64,
    /// When the last backup was complete, in milliseconds since 1970; 0 is never.
    pub backup_done_ms: AtomicU64,
    /// When the last backup failed, in milliseconds since 1970; 0 is never.
    pub backup_failed_ms: AtomicU64,
    /// Size of the last backup, in bytes.
    pub backup_bytes: AtomicU64,
    /// How long the last backup took, in milliseconds.
    pub backup_took_ms: AtomicU64,
    /// Rotations of the node's output.
    pub log_rotations: AtomicU64,
    /// Events the webhook's receiver took.
    pub webhook_sent: AtomicU64,
    /// Events given up.
    pub webhook_failed: AtomicU64,
    /// Further tries.
    pub webhook_retries: AtomicU64,
    /// Events that made room for newer ones.
    pub webhook_dropped: AtomicU64,
    /// Events not told because the same was told a moment ago.
    pub webhook_repeated: AtomicU64,
    seen: Mutex<Seen>,
}

/// What was seen last.
#[derive(Debug, Clone, Default)]
struct Seen {
    verdict: Option<Verdict>,
    sealing: Option<Sealing>,
}

impl Counters {
    /// One more.
    pub fn bump(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps what the node was judged to be.
    pub fn judged(&self, verdict: Verdict, sealing: Option<Sealing>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { verdict: Some(verdict), sealing };
    }

    /// The last verdict.
    pub fn verdict(&self) -> Option<Verdict> {
        self.seen().verdict
    }

    /// Notes a backup that is complete.
    pub fn backed_up(&self, now: UnixMs, bytes: u64, took: Span) {
        self.backup_done_ms.store(now.0, Ordering::Relaxed);
        self.backup_bytes.store(bytes, Ordering::Relaxed);
        self.backup_took_ms.store(took.as_ms(), Ordering::Relaxed);
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The text format of Prometheus, version 0.0.4.
struct Page(String);

impl Page {
    /// A metric and its samples: labels as `name="value"` made by [`label`], empty for none. Without samples it is
    /// left out.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        for (at, (labels, value)) in samples.into_iter().enumerate() {
            if at == 0 {
                let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            }
            let braces = if labels.is_empty() { ("", "") } else { ("{", "}") };
            let _ = writeln!(self.0, "{name}{}{labels}{} {value}", braces.0, braces.1);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.family(name, "gauge", help, value.map(|v| (String::new(), v)));
    }

    fn count(&mut self, name: &str, help: &str, counter: &AtomicU64) {
        self.family(name, "counter", help, [(String::new(), number(counter.load(Ordering::Relaxed)))]);
    }
}

/// `name="value"`, escaped.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[expect(clippy::cast_precision_loss, reason = "the format knows nothing but floating point")]
fn number(value: u64) -> f64 {
    value as f64
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1000.0
}

/// Everything, as it is now.
fn render(request: &SyncRequest, counters: &Counters) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    let seen = counters.seen();
    node(&mut page, &request.report, counters);
    chain(&mut page, &request.report, &seen);
    upgrades(&mut page, request, counters);
    backups(&mut page, counters);
    webhook(&mut page, counters);
    page.family(
        "wemixvisor_agent_info",
        "gauge",
        "The agent.",
        [(label("version", &request.report.agent_version), 1.0)],
    );
    process::render(&mut page);
    page.0
}

fn node(page: &mut Page, report: &NodeReport, counters: &Counters) {
    let (up, since, restarts) = match &report.process {
        ProcessState::Running { since, .. } => (true, Some(*since), 0),
        ProcessState::BackingOff { restarts, .. } => (false, None, *restarts),
        ProcessState::Stopped => (false, None, 0),
    };
    page.gauge("wemixvisor_node_up", "Whether the node process runs.", Some(truth(up)));
    page.gauge("wemixvisor_node_restarts", "Exits since the node was last healthy.", Some(restarts.into()));
    page.count(
        "wemixvisor_restarts_total",
        "Starts of the node after an end nobody asked for.",
        &counters.restarts,
    );
    page.count("wemixvisor_process_restarts_total", "As wemixvisor_restarts_total.", &counters.restarts);
    page.count("wemixvisor_exits_total", "Ends of the node that nobody asked for.", &counters.exits);
    let uptime = since.map(|since| seconds(clock::now().since(since).as_ms()));
    page.gauge("wemixvisor_process_uptime_seconds", "Since the node was executed.", uptime);
    let took = |span: Option<Span>| span.map(|s| seconds(s.as_ms()));
    page.gauge("wemixvisor_last_stop_seconds", "How long the last stop took.", took(report.last_stop));
    page.gauge("wemixvisor_last_start_seconds", "How long the last start took.", took(report.last_start));
    page.count("wemixvisor_log_rotations_total", "Rotations of the node's output.", &counters.log_rotations);
    let info = report.running.as_ref().map(|release| {
        let version = report.health.client_version.as_deref().unwrap_or_default();
        let labels = [
            label("release", release.name.as_str()),
            label("digest", &release.digest.to_string()),
            label("client_version", version),
        ];
        (labels.join(","), 1.0)
    });
    page.family("wemixvisor_node_info", "gauge", "The release that `current` points to.", info);
}

fn chain(page: &mut Page, report: &NodeReport, seen: &Seen) {
    let health = &report.health;
    let head = health.head();
    let height = head.map(|b| number(b.height));
    let peers = health.peers.map(f64::from);
    let syncing = health.syncing.map(truth);
    page.gauge("wemixvisor_rpc_up", "Whether the node's RPC answers.", Some(truth(health.rpc_up)));
    page.gauge("wemixvisor_head_height", "Height of the node's head.", height);
    page.gauge("wemixvisor_node_height", "As wemixvisor_head_height.", height);
    let made = head.map(|b| number(b.timestamp_s));
    page.gauge("wemixvisor_head_timestamp_seconds", "Time in the head's block.", made);
    let advanced = health.head_advanced_at.map(|at| seconds(at.0));
    page.gauge(
        "wemixvisor_head_advanced_timestamp_seconds",
        "When the head was last seen to grow.",
        advanced,
    );
    page.gauge("wemixvisor_peers", "Connected peers.", peers);
    page.gauge("wemixvisor_node_peers", "As wemixvisor_peers.", peers);
    page.gauge("wemixvisor_syncing", "Whether the node says it is catching up.", syncing);
    page.gauge("wemixvisor_node_syncing", "As wemixvisor_syncing.", syncing);
    let free = health.disk_free_bytes.map(number);
    page.gauge("wemixvisor_disk_free_bytes", "Free bytes beside the node.", free);
    let sealing = seen.sealing.filter(|s| s.validator);
    let part = sealing.filter(|s| s.window > 0).map(|s| f64::from(s.seen) / f64::from(s.window));
    page.gauge("wemixvisor_sealing", "Part of the newest blocks that carry this validator's seal.", part);
    let healthy = seen.verdict.as_ref().map(|v| truth(v.healthy));
    page.gauge("wemixvisor_healthy", "Whether the node is well.", healthy);
    let checks = seen.verdict.iter().flat_map(|v| &v.checks);
    let known = checks.filter_map(|c| Some((label("check", &c.name), truth(c.ok?))));
    page.family(
        "wemixvisor_health_check",
        "gauge",
        "What health is made of; what is unknown is absent.",
        known,
    );
}

fn upgrades(page: &mut Page, request: &SyncRequest, counters: &Counters) {
    let report = &request.report;
    page.gauge("wemixvisor_generation", "Newest generation stored.", Some(number(request.generation)));
    page.gauge("wemixvisor_fault", "Whether there is a fault.", Some(truth(report.fault.is_some())));
    let phase = serde_json::to_value(report.phase).ok();
    let phase = phase.as_ref().and_then(|p| p.as_str()).map(|phase| {
        let direction = if report.direction == Direction::Back { "back" } else { "forward" };
        (format!("{},{}", label("phase", phase), label("direction", direction)), 1.0)
    });
    page.family("wemixvisor_upgrade_phase", "gauge", "Where the upgrade stands.", phase);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let results = [
        ("done", &counters.upgrades_done),
        ("failed", &counters.upgrades_failed),
        ("rolled_back", &counters.upgrades_rolled_back),
    ];
    page.family(
        "wemixvisor_upgrades_total",
        "counter",
        "Upgrades by how they ended.",
        results.map(|(result, counter)| (label("result", result), number(read(counter)))),
    );
    page.count(
        "wemixvisor_upgrades_success_total",
        "Upgrades that came up healthy.",
        &counters.upgrades_done,
    );
    page.count("wemixvisor_upgrades_failed_total", "Upgrades that failed.", &counters.upgrades_failed);
    let pending = read(&counters.upgrades_pending);
    page.gauge("wemixvisor_upgrade_pending", "Whether an upgrade waits.", Some(truth(pending > 0)));
    page.gauge("wemixvisor_upgrades_pending", "Upgrades that wait.", Some(number(pending)));
    let height = Some(read(&counters.upgrade_height)).filter(|h| *h > 0).map(number);
    page.gauge("wemixvisor_upgrade_height", "Height of the next upgrade.", height);
    page.count("wemixvisor_plan_faults_total", "Plans that could not be followed.", &counters.plan_faults);
}

fn backups(page: &mut Page, counters: &Counters) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let at = |counter: &AtomicU64| Some(read(counter)).filter(|ms| *ms > 0).map(seconds);
    let done = at(&counters.backup_done_ms);
    page.gauge(
        "wemixvisor_backup_last_success_timestamp_seconds",
        "When the last backup was complete.",
        done,
    );
    let failed = at(&counters.backup_failed_ms);
    page.gauge("wemixvisor_backup_last_failure_timestamp_seconds", "When the last backup failed.", failed);
    let size = done.map(|_| number(read(&counters.backup_bytes)));
    page.gauge("wemixvisor_backup_size_bytes", "Size of the last backup.", size);
    let took = done.map(|_| seconds(read(&counters.backup_took_ms)));
    page.gauge("wemixvisor_backup_duration_seconds", "How long the last backup took.", took);
}

fn webhook(page: &mut Page, counters: &Counters) {
    page.count("wemixvisor_webhook_sent_total", "Events the receiver took.", &counters.webhook_sent);
    page.count("wemixvisor_webhook_failed_total", "Events given up.", &counters.webhook_failed);
    page.count("wemixvisor_webhook_retries_total", "Further tries.", &counters.webhook_retries);
    page.count(
        "wemixvisor_webhook_dropped_total",
        "Events that made room for others.",
        &counters.webhook_dropped,
    );
    let repeated = &counters.webhook_repeated;
    page.count("wemixvisor_webhook_repeated_total", "Events told a moment before.", repeated);
}

#[cfg(test)]
mod tests;
