//! Nodes, chain, tokens, readiness.
use super::body::{
    ChainStatus, Cordon, CreatedToken, IndexReport, NewNode, NewToken, NodeList, NodeStatus, TokenList,
};
use super::{App, Trouble};
use crate::auth::{TokenRecord, new_token};
use crate::fleet::{FleetError, Write, now};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use common::fleet::{NodeRecord, Role};
use common::id::NodeName;
use common::release::Digest;
use common::time::Span;
use common::wire::v1::Instruction;
use std::sync::Arc;

/// Longest life of an operator's token.
const LONGEST_TOKEN: Span = Span(366 * 24 * 3_600_000);

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Trouble> {
    if app.config.chain.is_some() && app.fleet.chain().is_none() {
        let detail = "no chain view yet: too few RPC endpoints answer and agree";
        return Err(Trouble::new(503, "not-ready", detail).hint("wemixfleet chain status"));
    }
    Ok("ready\n")
}

fn status(app: &App, record: NodeRecord) -> NodeStatus {
    let observed = app.fleet.observation(&record.name);
    let desired =
        app.fleet.known().desired.get(&record.name).map_or_else(Instruction::none, |r| r.value.clone());
    let silent =
        observed.as_ref().is_none_or(|o| now().since(o.received_at).0 > app.config.agents.silent_after.0);
    NodeStatus { record, observed, desired, silent }
}

pub(super) async fn list_nodes(State(app): State<Arc<App>>) -> Json<NodeList> {
    let records: Vec<_> = app.fleet.known().nodes.values().map(|r| r.value.clone()).collect();
    Json(NodeList { as_of: now(), nodes: records.into_iter().map(|r| status(&app, r)).collect() })
}

pub(super) async fn show_node(
    State(app): State<Arc<App>>,
    name: Result<Path<NodeName>, PathRejection>,
) -> Result<Json<NodeStatus>, Trouble> {
    let Path(name) = name?;
    let record = app.fleet.known().nodes.get(&name).map(|r| r.value.clone());
    let record =
        record.ok_or_else(|| Trouble::new(404, "no-such-node", format!("node {name} is not registered")))?;
    Ok(Json(status(&app, record)))
}

pub(super) async fn add_node(
    State(app): State<Arc<App>>,
    body: Result<Json<NewNode>, JsonRejection>,
) -> Result<Json<NodeRecord>, Trouble> {
    let Json(new) = body?;
    if new.network != app.config.network.name {
        let detail =
            format!("network {} is not this fleet's, which is {}", new.network, app.config.network.name);
        return Err(Trouble::new(422, "other-network", detail));
    }
    if new.role == Role::Validator && new.validator.is_none() {
        let detail = format!("validator {} needs the address it seals with", new.name);
        return Err(Trouble::new(422, "no-validator-address", detail).hint("--validator 0x…"));
    }
    if new.labels.len() > 32 || new.labels.iter().any(|(k, v)| k.is_empty() || k.len() > 64 || v.len() > 256)
    {
        return Err(Trouble::new(
            422,
            "labels",
            "at most 32 labels, keys of 1 to 64, values of up to 256 characters",
        ));
    }
    let record = NodeRecord {
        name: new.name,
        network: new.network,
        role: new.role,
        labels: new.labels,
        validator: new.validator,
        ssh: new.ssh,
        cordoned: false,
        added_at: now(),
        agent_key: None,
    };
    let stored = app
        .fleet
        .transact(|known| {
            if known.nodes.contains_key(&record.name) {
                return Err(FleetError::refused(
                    409,
                    "node-exists",
                    format!("node {} exists already", record.name),
                ));
            }
            let twin =
                record.validator.and_then(|v| known.nodes.values().find(|r| r.value.validator == Some(v)));
            if let Some(twin) = twin {
                let detail = format!("{} seals with the same address", twin.value.name);
                return Err(FleetError::refused(409, "validator-exists", detail));
            }
            Ok((vec![Write::Node(record.clone())], record))
        })
        .await?;
    Ok(Json(stored))
}

pub(super) async fn cordon(
    State(app): State<Arc<App>>,
    name: Result<Path<NodeName>, PathRejection>,
    body: Result<Json<Cordon>, JsonRejection>,
) -> Result<Json<NodeRecord>, Trouble> {
    let (Path(name), Json(body)) = (name?, body?);
    let record = app
        .fleet
        .transact(|known| {
            let row = known.nodes.get(&name).ok_or_else(|| {
                FleetError::refused(404, "no-such-node", format!("node {name} is not registered"))
            })?;
            let record = NodeRecord { cordoned: body.cordoned, ..row.value.clone() };
            Ok((vec![Write::Node(record.clone())], record))
        })
        .await?;
    Ok(Json(record))
}

pub(super) async fn chain(State(app): State<Arc<App>>) -> Json<ChainStatus> {
    let known = app.fleet.known();
    let newest = known.rollouts.values().rev().find_map(|r| app.fleet.plan_of(&r.value.id));
    drop(known);
    let index = app.governance.as_ref().map(|g| {
        let s = g.index_status();
        IndexReport {
            cursor: s.cursor.map_or(0, |c| c.height),
            head: s.head.unwrap_or(0),
            events: s.events,
            unknown_events: s.unknown,
            reorgs: s.reorgs,
            last_error: s.last_error,
        }
    });
    Json(ChainStatus {
        network: app.config.network.name.clone(),
        view: app.fleet.chain().map(|v| (*v).clone()),
        index,
        quorum: newest.and_then(|(_, plan)| plan.quorum),
        as_of: now(),
    })
}

pub(super) async fn tokens(State(app): State<Arc<App>>) -> Json<TokenList> {
    Json(TokenList { tokens: app.fleet.known().tokens.values().map(|r| r.value.clone()).collect() })
}

pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    body: Result<Json<NewToken>, JsonRejection>,
) -> Result<Json<CreatedToken>, Trouble> {
    let Json(new) = body?;
    if new.name.is_empty() || new.name.len() > 64 || new.name.chars().any(char::is_control) {
        return Err(Trouble::new(422, "token-name", "a name of 1 to 64 printable characters is needed"));
    }
    if new.ttl == Span::ZERO || new.ttl > LONGEST_TOKEN {
        return Err(Trouble::new(422, "token-life", "a token lives more than nothing and at most 366 days"));
    }
    let (token, id) = new_token();
    let record = TokenRecord { id, name: new.name, role: new.role, expires_at: now().plus(new.ttl) };
    app.fleet.transact(|_| Ok((vec![Write::Token(record.clone())], ()))).await?;
    Ok(Json(CreatedToken { token, record }))
}

pub(super) async fn revoke_token(
    State(app): State<Arc<App>>,
    id: Result<Path<Digest>, PathRejection>,
) -> Result<Json<TokenRecord>, Trouble> {
    let Path(id) = id?;
    let gone = app
        .fleet
        .transact(|known| match known.tokens.get(&id) {
            None => Err(FleetError::refused(404, "no-such-token", format!("there is no token {id}"))),
            Some(row) => Ok((vec![Write::TokenGone(id)], row.value.clone())),
        })
        .await?;
    Ok(Json(gone))
}
