//! Metrics under the names a WBFT node uses, in Prometheus' text form.
use super::runner::State;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one run.
#[derive(Debug, Default)]
pub struct Counters {
    /// Round changes this node took part in.
    pub round_changes: AtomicU64,
    rounds: AtomicU64,
    blocks: AtomicU64,
}

impl Counters {
    /// A block of this round was taken.
    pub fn imported(&self, round: u64) {
        self.blocks.fetch_add(1, Relaxed);
        self.rounds.fetch_add(round, Relaxed);
    }
}

/// The metrics server's routes.
pub fn router(state: Arc<State>) -> Router {
    let page = move || {
        let text = render(&state);
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response() }
    };
    Router::new().route("/debug/metrics/prometheus", get(page))
}

fn render(state: &State) -> String {
    let head = state.head();
    let c = &state.counters;
    let rows = [
        ("consensus_wbft_core_round", "counter", c.rounds.load(Relaxed)),
        ("consensus_wbft_core_sequence", "counter", c.blocks.load(Relaxed)),
        ("consensus_wbft_core_timeout_round", "counter", c.round_changes.load(Relaxed)),
        ("chain_head_block", "gauge", head),
        ("chain_head_header", "gauge", head),
        ("chain_head_finalized", "gauge", head),
        ("p2p_peers", "gauge", state.links.peer_count() as u64),
        ("devnode_double_keys", "counter", state.identity.double_keys.load(Relaxed)),
        ("devnode_refused_links", "counter", state.identity.refused.load(Relaxed)),
        ("devnode_bad_block_height", "gauge", state.bad_block.load(Relaxed)),
    ];
    let mut text = String::with_capacity(1024);
    for (name, kind, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    }
    text
}
