//! What agents use: enrolment and sync.
use super::body::{CertificateRequest, EnrolRequest, Enrolled, JoinToken};
use super::{App, Connection, Principal, Trouble};
use crate::auth::{JoinRecord, new_token};
use crate::enrol::RENEW_BELOW;
use crate::fleet::{FleetError, Write, now};
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use common::id::NodeName;
use common::inventory::Observation;
use common::release::Digest;
use common::time::Span;
use common::wire::v1::{Instruction, SyncRequest, SyncResponse};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Life of a join token.
const JOIN_LIFE: Span = Span::mins(15);

pub(super) async fn ca(State(app): State<Arc<App>>) -> String {
    app.authority.pem().to_owned()
}

fn no_node(name: &NodeName) -> FleetError {
    FleetError::refused_with(
        404,
        "no-such-node",
        format!("node {name} is not registered"),
        format!("wemixfleet node add {name} …"),
    )
}

pub(super) async fn join_token(
    State(app): State<Arc<App>>,
    name: Result<Path<NodeName>, PathRejection>,
) -> Result<Json<JoinToken>, Trouble> {
    let Path(node) = name?;
    let (token, id) = new_token();
    let expires_at = now().plus(JOIN_LIFE);
    let record = JoinRecord { id, node: node.clone(), expires_at };
    app.fleet
        .transact(|known| {
            known.nodes.get(&node).ok_or_else(|| no_node(&node))?;
            let over = known.joins.values().filter(|j| j.value.expires_at < now() || j.value.node == node);
            let mut writes: Vec<_> = over.map(|j| Write::JoinGone(j.value.id)).take(50).collect();
            writes.push(Write::Join(record));
            Ok((writes, ()))
        })
        .await?;
    Ok(Json(JoinToken { token, expires_at, ca_hash: app.authority.digest(), url: app.url.clone() }))
}

/// Signs and stores the key in one go, so that an answered enrolment is a stored one.
async fn enrol(
    app: &App,
    node: &NodeName,
    csr: &str,
    join: Option<Digest>,
) -> Result<Json<Enrolled>, Trouble> {
    let (certificate, key) = app.authority.sign_request(node, csr)?;
    app.fleet
        .transact(|known| {
            let mut record = known.nodes.get(node).ok_or_else(|| no_node(node))?.value.clone();
            let mut writes = Vec::new();
            if let Some(id) = join {
                let found =
                    known.joins.get(&id).filter(|j| j.value.node == *node && j.value.expires_at > now());
                found.ok_or_else(|| {
                    FleetError::refused_with(
                        401,
                        "join-token",
                        format!("the token is unknown, used, expired, or not for {node}"),
                        format!("wemixfleet node token {node}"),
                    )
                })?;
                writes.push(Write::JoinGone(id));
            }
            record.agent_key = Some(key);
            writes.push(Write::Node(record));
            Ok((writes, ()))
        })
        .await?;
    tracing::info!(%node, key = key.short(), "enrolled");
    let ca = app.authority.pem().to_owned();
    Ok(Json(Enrolled { certificate, ca, trust: app.config.trust.clone() }))
}

pub(super) async fn certificate(
    State(app): State<Arc<App>>,
    name: Result<Path<NodeName>, PathRejection>,
    body: Result<Json<CertificateRequest>, JsonRejection>,
) -> Result<Json<Enrolled>, Trouble> {
    let (Path(node), Json(body)) = (name?, body?);
    enrol(&app, &node, &body.csr, None).await
}

pub(super) async fn enroll(
    State(app): State<Arc<App>>,
    body: Result<Json<EnrolRequest>, JsonRejection>,
) -> Result<Json<Enrolled>, Trouble> {
    let Json(body) = body?;
    enrol(&app, &body.node, &body.csr, Some(Digest::of(body.token.trim().as_bytes()))).await
}

/// Counts a sync for as long as it is served or held, however it ends.
struct Served<'a>(&'a App);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.metrics.connected.dec();
    }
}

pub(super) async fn sync(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Extension(connection): Extension<Connection>,
    name: Result<Path<NodeName>, PathRejection>,
    body: Result<Json<SyncRequest>, JsonRejection>,
) -> Result<Json<SyncResponse>, Trouble> {
    let began = Instant::now();
    app.metrics.connected.inc();
    let _served = Served(&app);
    let (Path(node), Json(request)) = (name?, body?);
    if principal != Principal::Node(node.clone()) || request.node != node {
        app.metrics.syncs.with_label_values(&["refused"]).inc();
        let detail = format!("the certificate names another node than {node}");
        return Err(Trouble::new(403, "other-node", detail));
    }
    let (generation, hold) = (request.generation, request.hold);
    let observation = Observation { received_at: now(), generation, report: request.report };
    app.fleet.observe(&node, observation);
    let mut spent = began.elapsed();

    let waiter = app.fleet.waiter(&node);
    let woken = waiter.notified();
    let mut woken = std::pin::pin!(woken);
    // Registered before the generation is read: an instruction written in between is not missed.
    woken.as_mut().enable();
    if hold && desired(&app, &node).generation <= generation {
        // Spread over the last quarter, so that a fleet that started together does not stay together.
        let jitter = f64::from(rand::random::<u16>()) / f64::from(u16::MAX);
        let longest = app.config.agents.hold.to_std();
        let span = Duration::from_secs_f64(longest.as_secs_f64() * (0.75 + 0.25 * jitter));
        let _woken_or_over = tokio::time::timeout(span, woken).await;
    }
    let began = Instant::now();
    let instruction = desired(&app, &node);
    if instruction.generation < generation {
        app.metrics.syncs.with_label_values(&["behind"]).inc();
        let detail =
            format!("{node} has stored generation {generation}, newest here is {}", instruction.generation);
        return Err(Trouble::new(409, "generation-behind", detail)
            .hint("the coordinator's store was replaced by an older one; restore the newer one"));
    }
    let certificate = renewal(&app, &connection);
    spent += began.elapsed();
    app.metrics.sync_seconds.observe(spent.as_secs_f64());
    app.metrics.syncs.with_label_values(&["ok"]).inc();
    Ok(Json(SyncResponse { now: now(), instruction, hold: app.config.agents.hold, certificate }))
}

fn desired(app: &App, node: &NodeName) -> Instruction {
    app.fleet.known().desired.get(node).map_or_else(Instruction::none, |r| r.value.clone())
}

fn renewal(app: &App, connection: &Connection) -> Option<String> {
    let peer = connection.peer.as_ref()?;
    let left_s = peer.not_after_s - i64::try_from(now().0 / 1000).ok()?;
    if left_s * 1000 > i64::try_from(RENEW_BELOW.0).ok()? {
        return None;
    }
    match app.authority.sign_key(&peer.node, &peer.key_der) {
        Ok(pem) => Some(pem),
        Err(e) => {
            tracing::error!(node = %peer.node, error = %e, "a certificate could not be renewed");
            None
        }
    }
}
