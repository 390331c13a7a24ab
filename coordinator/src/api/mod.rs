//! The HTTP API: routes with who may use them in one table, one error body, and the sync endpoint of agents.
mod access;
mod agents;
pub mod body;
mod fleet_routes;
mod releases;
mod rollouts;
mod trouble;

pub use access::{Need, Principal, ROUTES, RouteNeed};
pub(crate) use releases::{store as store_release, verify as verify_release};
pub(crate) use rollouts::{apply_verb as verb_on, draft_of, draft_writes};
pub use trouble::Trouble;

use crate::artifacts::Mirror;
use crate::config::Config;
use crate::enrol::{Authority, Peer};
use crate::fleet::Fleet;
use crate::governance::Governance;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Largest JSON body, bytes.
const MAX_BODY: usize = 1 << 20;
/// Requests a second a principal may make, beside syncs and downloads.
const RATE: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Where a request came from.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The verified client certificate, if there was one.
    pub peer: Option<Arc<Peer>>,
    /// Address of the other side.
    pub from: SocketAddr,
}

/// What handlers share.
#[derive(Debug)]
pub struct App {
    /// Configuration.
    pub config: Config,
    /// The fleet.
    pub fleet: Arc<Fleet>,
    /// The CA.
    pub authority: Authority,
    /// The mirror.
    pub mirror: Mirror,
    /// Metrics.
    pub metrics: Metrics,
    /// Governance, when configured.
    pub governance: Option<Arc<Governance>>,
    /// What agents call.
    pub url: String,
    limiter: DefaultKeyedRateLimiter<String>,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        fleet: Arc<Fleet>,
        authority: Authority,
        mirror: Mirror,
        metrics: Metrics,
        governance: Option<Arc<Governance>>,
        addr: SocketAddr,
    ) -> Self {
        let url = config.url(addr);
        let limiter = RateLimiter::keyed(Quota::per_second(RATE));
        App { config, fleet, authority, mirror, metrics, governance, url, limiter }
    }
}

/// All routes. What each needs is in [`ROUTES`]; a route that is missing there answers to nobody.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(fleet_routes::healthz))
        .route("/readyz", get(fleet_routes::readyz))
        .route("/v1/ca", get(agents::ca))
        .route("/v1/enroll", post(agents::enroll))
        .route("/v1/nodes", get(fleet_routes::list_nodes).post(fleet_routes::add_node))
        .route("/v1/nodes/{name}", get(fleet_routes::show_node))
        .route("/v1/nodes/{name}/cordon", post(fleet_routes::cordon))
        .route("/v1/nodes/{name}/join-token", post(agents::join_token))
        .route("/v1/nodes/{name}/certificate", post(agents::certificate))
        .route("/v1/nodes/{name}/sync", post(agents::sync))
        .route("/v1/artifacts/{sha256}", get(releases::artifact))
        .route("/v1/artifacts/{sha256}", put(releases::upload).layer(DefaultBodyLimit::disable()))
        .route("/v1/manifests/{file}", get(releases::manifest))
        .route("/v1/releases", get(releases::list).post(releases::add))
        .route("/v1/releases/{name}", get(releases::show))
        .route("/v1/proposals", get(rollouts::proposals))
        .route("/v1/proposals/{id}", get(rollouts::proposal))
        .route("/v1/rollouts", get(rollouts::list).post(rollouts::draft))
        .route("/v1/rollouts/{id}", get(rollouts::show))
        .route("/v1/rollouts/{id}/verbs", post(rollouts::verb))
        .route("/v1/rollouts/{id}/events", get(rollouts::events))
        .route("/v1/chain", get(fleet_routes::chain))
        .route("/v1/tokens", get(fleet_routes::tokens).post(fleet_routes::create_token))
        .route("/v1/tokens/{id}", delete(fleet_routes::revoke_token))
        .fallback(async || Trouble::new(404, "no-such-route", "there is nothing here"))
        .layer(from_fn_with_state(app.clone(), access::guard))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// The metrics listener's routes.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(async || Trouble::new(404, "no-such-route", "metrics are at /metrics"))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> ([(http::HeaderName, &'static str); 1], String) {
    let cursor = app.governance.as_ref().and_then(|g| g.index_status().cursor).map(|c| c.height);
    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render(&app.fleet, cursor))
}
