//! Every metric of the coordinator. Base units, `_total` for counters, timestamps rather than ages, few labels.
use crate::fleet::Fleet;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// The metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `wemixfleet_syncs_total{result}`.
    pub syncs: IntCounterVec,
    /// `wemixfleet_sync_seconds`: server time of a sync without its hold.
    pub sync_seconds: Histogram,
    /// `wemixfleet_reconcile_seconds`.
    pub reconcile_seconds: Histogram,
    /// `wemixfleet_plans_total`: plans that changed something.
    pub plans: IntCounter,
    /// `wemixfleet_check_failures_total`: plans the second opinion refused.
    pub check_failures: IntCounter,
    /// `wemixfleet_http_requests_total{code}`.
    pub requests: IntCounterVec,
    /// `wemixfleet_agents_connected`: syncs being served or held.
    pub connected: IntGauge,
    nodes: IntGaugeVec,
    rollout_nodes: IntGaugeVec,
    waiting: IntGaugeVec,
    quorum: IntGaugeVec,
    head: IntGauge,
    head_time: Gauge,
    view_time: Gauge,
    index_cursor: IntGauge,
    events: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When two have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let vec = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let g = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(g.clone()))?;
            Ok(g)
        };
        let int = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let g = IntGauge::new(name, help)?;
            registry.register(Box::new(g.clone()))?;
            Ok(g)
        };
        let float = |name: &str, help: &str| -> Result<Gauge, prometheus::Error> {
            let g = Gauge::new(name, help)?;
            registry.register(Box::new(g.clone()))?;
            Ok(g)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let c = IntCounter::new(name, help)?;
            registry.register(Box::new(c.clone()))?;
            Ok(c)
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let c = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(c.clone()))?;
                Ok(c)
            };
        let seconds = |name: &str, help: &str| -> Result<Histogram, prometheus::Error> {
            let buckets =
                vec![0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
            let h = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(h.clone()))?;
            Ok(h)
        };
        vec("wemixfleet_build_info", "Version of the coordinator.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(Metrics {
            syncs: counters("wemixfleet_syncs_total", "Syncs of agents.", &["result"])?,
            sync_seconds: seconds("wemixfleet_sync_seconds", "Server time of a sync without its hold.")?,
            reconcile_seconds: seconds("wemixfleet_reconcile_seconds", "Time of a reconciliation pass.")?,
            plans: counter("wemixfleet_plans_total", "Plans that changed something.")?,
            check_failures: counter(
                "wemixfleet_check_failures_total",
                "Plans refused by the second opinion.",
            )?,
            requests: counters("wemixfleet_http_requests_total", "Answers by status.", &["code"])?,
            connected: int("wemixfleet_agents_connected", "Syncs being served or held.")?,
            nodes: vec("wemixfleet_nodes", "Nodes by phase of their agent.", &["phase"])?,
            rollout_nodes: vec(
                "wemixfleet_rollout_nodes",
                "Nodes of running rollouts by state.",
                &["state"],
            )?,
            waiting: vec("wemixfleet_waiting", "What running rollouts wait for.", &["reason"])?,
            quorum: vec("wemixfleet_quorum_votes", "Votes: total, live, quorum, reserve, slack.", &["kind"])?,
            head: int("wemixfleet_chain_head_height", "Head on which endpoints agree.")?,
            head_time: float("wemixfleet_chain_head_advanced_timestamp_seconds", "When the head last grew.")?,
            view_time: float(
                "wemixfleet_chain_view_timestamp_seconds",
                "When the chain view was completed.",
            )?,
            index_cursor: int("wemixfleet_index_height", "Last height of the governance index.")?,
            events: int("wemixfleet_events", "Entries of the history.")?,
            registry,
        })
    }

    /// The exposition text, with gauges taken from the fleet now.
    pub fn render(&self, fleet: &Fleet, index_cursor: Option<u64>) -> String {
        self.gather(fleet);
        if let Some(cursor) = index_cursor {
            self.index_cursor.set(cursor as i64);
        }
        let mut out = Vec::new();
        let _unreachable = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    fn gather(&self, fleet: &Fleet) {
        for gauges in [&self.nodes, &self.rollout_nodes, &self.waiting, &self.quorum] {
            gauges.reset();
        }
        let known = fleet.known();
        for name in known.nodes.keys() {
            let phase = fleet.observation(name).map_or("unknown".into(), |o| text_of(&o.report.phase));
            self.nodes.with_label_values(&[phase.as_str()]).inc();
        }
        self.events.set(known.event_head().seq as i64);
        let running: Vec<_> =
            known.rollouts.values().filter(|r| !r.value.is_over()).map(|r| &r.value).collect();
        for rollout in running {
            for node in rollout.nodes.values() {
                self.rollout_nodes.with_label_values(&[text_of(&node.state).as_str()]).inc();
            }
            let Some((_, plan)) = fleet.plan_of(&rollout.id) else { continue };
            for reason in &plan.rollout.waiting {
                self.waiting.with_label_values(&[reason.code()]).inc();
            }
            if let Some(q) = &plan.quorum {
                for (kind, votes) in
                    [("total", q.total), ("live", q.live), ("quorum", q.quorum), ("reserve", q.reserve)]
                {
                    self.quorum.with_label_values(&[kind]).set(votes as i64);
                }
                self.quorum.with_label_values(&["slack"]).set(q.slack);
            }
        }
        drop(known);
        if let Some(view) = fleet.chain() {
            self.head.set(view.head.height as i64);
            self.head_time.set(view.head_advanced_at.0 as f64 / 1000.0);
            self.view_time.set(view.observed_at.0 as f64 / 1000.0);
        }
    }
}

/// The serde name of a unit variant.
fn text_of<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(s)) => s,
        _ => "other".into(),
    }
}
