//! Who may do what. One table; a route that is not in it is closed.
use super::{App, Connection, Trouble};
use crate::auth::OperatorRole;
use crate::fleet::now;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use common::id::NodeName;
use common::release::Digest;
use std::sync::Arc;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// The client certificate of a registered node, by its current key.
    Agent,
    /// A certificate as above, or an operator of at least this role.
    AgentOr(OperatorRole),
    /// An operator of at least this role.
    Operator(OperatorRole),
}

/// A row of the table: method, path, need.
pub type RouteNeed = (&'static str, &'static str, Need);

use Need::{Agent, AgentOr, Operator, Public};
use OperatorRole::{Admin, Viewer};

/// The table. Verbs of a rollout need `Operator`, approve and rollback `Approver`: the handler asks for more.
pub const ROUTES: &[RouteNeed] = &[
    ("GET", "/healthz", Public),
    ("GET", "/readyz", Public),
    ("GET", "/v1/ca", Public),
    ("POST", "/v1/enroll", Public),
    ("GET", "/v1/nodes", Operator(Viewer)),
    ("POST", "/v1/nodes", Operator(OperatorRole::Operator)),
    ("GET", "/v1/nodes/{name}", Operator(Viewer)),
    ("POST", "/v1/nodes/{name}/cordon", Operator(OperatorRole::Operator)),
    ("POST", "/v1/nodes/{name}/join-token", Operator(Admin)),
    ("POST", "/v1/nodes/{name}/certificate", Operator(Admin)),
    ("POST", "/v1/nodes/{name}/sync", Agent),
    ("GET", "/v1/artifacts/{sha256}", AgentOr(Viewer)),
    ("PUT", "/v1/artifacts/{sha256}", Operator(OperatorRole::Operator)),
    ("GET", "/v1/manifests/{file}", AgentOr(Viewer)),
    ("GET", "/v1/releases", Operator(Viewer)),
    ("POST", "/v1/releases", Operator(OperatorRole::Operator)),
    ("GET", "/v1/releases/{name}", Operator(Viewer)),
    ("GET", "/v1/proposals", Operator(Viewer)),
    ("GET", "/v1/proposals/{id}", Operator(Viewer)),
    ("GET", "/v1/rollouts", Operator(Viewer)),
    ("POST", "/v1/rollouts", Operator(OperatorRole::Operator)),
    ("GET", "/v1/rollouts/{id}", Operator(Viewer)),
    ("POST", "/v1/rollouts/{id}/verbs", Operator(OperatorRole::Operator)),
    ("GET", "/v1/rollouts/{id}/events", Operator(Viewer)),
    ("GET", "/v1/chain", Operator(Viewer)),
    ("GET", "/v1/tokens", Operator(Admin)),
    ("POST", "/v1/tokens", Operator(Admin)),
    ("DELETE", "/v1/tokens/{id}", Operator(Admin)),
];

/// Who a request comes from, after the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Anybody.
    Anybody,
    /// The agent of a node.
    Node(NodeName),
    /// An operator.
    Operator {
        /// The token's name.
        name: String,
        /// Its role.
        role: OperatorRole,
    },
}

impl Principal {
    /// Name for the history.
    pub fn name(&self) -> String {
        match self {
            Principal::Anybody => "anybody".into(),
            Principal::Node(n) => n.to_string(),
            Principal::Operator { name, .. } => name.clone(),
        }
    }
}

fn agent(app: &App, connection: Option<&Connection>) -> Result<Principal, Trouble> {
    let peer = connection.and_then(|c| c.peer.clone()).ok_or_else(|| {
        Trouble::new(401, "no-certificate", "a client certificate of this fleet is needed")
            .hint("enrol the agent")
    })?;
    let known = app.fleet.known();
    match known.nodes.get(&peer.node) {
        None => Err(Trouble::new(404, "no-such-node", format!("node {} is not registered", peer.node))),
        Some(row) if row.value.agent_key != Some(peer.key) => {
            let detail = format!("node {} was enrolled again with another key", peer.node);
            Err(Trouble::new(401, "replaced-certificate", detail).hint("enrol the agent again"))
        }
        Some(_) => Ok(Principal::Node(peer.node.clone())),
    }
}

fn operator(app: &App, request: &Request, needed: OperatorRole) -> Result<Principal, Trouble> {
    let token = request
        .headers()
        .get(http::header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .ok_or_else(|| Trouble::new(401, "no-token", "a bearer token is needed"))?;
    let known = app.fleet.known();
    // Looked up by digest, so the comparison says nothing of the token by its time.
    let record = known.tokens.get(&Digest::of(token.trim().as_bytes())).map(|r| r.value.clone());
    drop(known);
    let record = record.ok_or_else(|| Trouble::new(401, "unknown-token", "the token is not known"))?;
    if record.expires_at <= now() {
        return Err(Trouble::new(401, "expired-token", format!("the token {:?} has expired", record.name)));
    }
    if record.role < needed {
        let detail = format!("the role {} may not do this, {needed} is needed", record.role);
        return Err(Trouble::new(403, "role", detail));
    }
    Ok(Principal::Operator { name: record.name, role: record.role })
}

fn decide(app: &App, request: &Request) -> Result<Principal, Trouble> {
    let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(Principal::Anybody) };
    // HEAD is served by GET handlers and needs what GET needs.
    let method = if request.method() == http::Method::HEAD { "GET" } else { request.method().as_str() };
    let need = ROUTES.iter().find(|(m, p, _)| *m == method && *p == path.as_str()).map(|(_, _, n)| *n);
    let connection = request.extensions().get::<Connection>();
    match need {
        None => Err(Trouble::new(405, "no-such-method", format!("{method} is not possible here"))),
        Some(Public) => Ok(Principal::Anybody),
        Some(Agent) => agent(app, connection),
        Some(AgentOr(_)) if connection.is_some_and(|c| c.peer.is_some()) => agent(app, connection),
        Some(AgentOr(role) | Operator(role)) => operator(app, request, role),
    }
}

/// Lets a request through to its handler, with its [`Principal`], or answers why not.
pub(super) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let answer = match decide(&app, &request) {
        Err(trouble) => trouble.into_response(),
        Ok(principal) => {
            let key = match (&principal, request.extensions().get::<Connection>()) {
                (Principal::Node(_), _) => None,
                (Principal::Anybody, Some(c)) => Some(c.from.ip().to_string()),
                (p, _) => Some(p.name()),
            };
            if key.is_some_and(|k| app.limiter.check_key(&k).is_err()) {
                Trouble::new(429, "rate-limit", "too many requests").hint("wait a second").into_response()
            } else {
                request.extensions_mut().insert(principal);
                next.run(request).await
            }
        }
    };
    app.metrics.requests.with_label_values(&[answer.status().as_str()]).inc();
    answer
}
