//! HTTP JSON-RPC as a geth answers it: single calls and batches.
mod eth;
mod istanbul;
mod node;

use super::execution::{Execution, ExecutionError};
use super::runner::State;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most calls in one batch.
const MAX_BATCH: usize = 1_000;
/// Largest request body, bytes.
const MAX_BODY: usize = 4 << 20;

/// An error as JSON-RPC tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    code: i64,
    message: String,
}

impl RpcError {
    fn params(message: impl Into<String>) -> Self {
        Self { code: -32602, message: message.into() }
    }

    fn server(message: impl Into<String>) -> Self {
        Self { code: -32000, message: message.into() }
    }
}

impl From<ExecutionError> for RpcError {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::Refused { code, message } => Self { code, message },
            other => Self { code: -32603, message: other.to_string() },
        }
    }
}

/// What a call needs.
#[derive(Debug)]
pub struct Service {
    /// The node.
    pub state: Arc<State>,
    /// Its execution layer.
    pub execution: Execution,
    /// Namespaces offered.
    pub api: Vec<String>,
    /// Port for other nodes, as `admin_nodeInfo` tells it.
    pub p2p_port: u16,
}

/// The JSON-RPC server's routes.
pub fn router(service: Arc<Service>) -> Router {
    Router::new().route("/", post(serve)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(service)
}

async fn serve(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Response {
    let answer = match serde_json::from_slice(&body) {
        Ok(Value::Array(calls)) => batch(&service, calls).await,
        Ok(call) => one(&service, call).await,
        Err(_) => Some(failure(Value::Null, -32700, "parse error")),
    };
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::OK.into_response(),
    }
}

async fn batch(service: &Service, calls: Vec<Value>) -> Option<Value> {
    if calls.is_empty() {
        return Some(failure(Value::Null, -32600, "empty batch"));
    }
    if calls.len() > MAX_BATCH {
        return Some(failure(Value::Null, -32600, "batch too large"));
    }
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.extend(one(service, call).await);
    }
    (!answers.is_empty()).then_some(Value::Array(answers))
}

/// Answers one call; nothing when it is a notification.
async fn one(service: &Service, mut call: Value) -> Option<Value> {
    let id = call.get_mut("id").map(Value::take);
    let params = call.get_mut("params").map_or(Value::Null, Value::take);
    let Some(method) = call.get("method").and_then(Value::as_str) else {
        return Some(failure(id.unwrap_or_default(), -32600, "invalid request"));
    };
    let params = match params {
        Value::Null => Ok(Vec::new()),
        Value::Array(params) => Ok(params),
        _ => Err(RpcError::params("non-array args")),
    };
    let answer = match params {
        Ok(params) => dispatch(service, method, params).await,
        Err(error) => Err(error),
    };
    let id = id?;
    Some(match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => failure(id, error.code, &error.message),
    })
}

fn failure(id: Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

async fn dispatch(service: &Service, method: &str, params: Vec<Value>) -> Result<Value, RpcError> {
    let space = method.split('_').next().unwrap_or_default();
    let offered = space == "rpc" || service.api.iter().any(|a| a == space);
    let answer = match space {
        _ if !offered => None,
        "eth" => return eth::call(service, method, params).await,
        "istanbul" => istanbul::call(&service.state, method, &params).transpose()?,
        _ => node::call(service, method, &params),
    };
    answer.ok_or_else(|| no_method(method))
}

fn no_method(method: &str) -> RpcError {
    let method: String = method.chars().take(64).collect();
    RpcError { code: -32601, message: format!("the method {method} does not exist/is not available") }
}
