//! JSON-RPC to the node: one question at a time, over one connection that is kept.
//!
//! A supervisor asks its own node on its own host, so the way is plain HTTP or a socket in the file system. Neither
//! needs a pool, a resolver or TLS; what does (https, or a name and password in the address) goes through a
//! client that is built when it is first used, and costs memory only then.
use super::http::Http;
use super::ipc::Ipc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How long one question may take, the connection included.
const WITHIN: Duration = Duration::from_secs(3);
/// Longest answer read, in bytes. A block with every hash of a full block stays far below.
pub(super) const MAX_ANSWER: usize = 4 << 20;
/// JSON-RPC's code for a method that is not there, or whose namespace is closed.
const NO_SUCH_METHOD: i64 = -32601;

/// Why the node gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The address is none the agent can ask at.
    #[error(
        "the node's RPC address {address:?} cannot be used: {why}; give http://HOST:PORT, https://… or the absolute path of its IPC socket"
    )]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection, no HTTP answer, not in time.
    #[error("{0}: {1}")]
    Transport(&'static str, String),
    /// The node answered with an error.
    #[error("{method}: the node says {message} ({code})")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// JSON-RPC's code.
        code: i64,
        /// What the node said.
        message: String,
    },
    /// The answer has another shape than it should have.
    #[error("{0}: the answer cannot be read: {1}")]
    Unreadable(&'static str, String),
}

impl ProbeError {
    /// Whether the node has no such method, or does not open it here.
    pub fn is_closed(&self) -> bool {
        matches!(self, ProbeError::Refused { code: NO_SUCH_METHOD, .. })
    }

    /// Whether the node answered at all, if only to say no.
    pub fn is_refusal(&self) -> bool {
        matches!(self, ProbeError::Refused { .. })
    }
}

/// How the node is reached.
#[derive(Debug, Clone)]
enum Way {
    Http(Http),
    Ipc(Ipc),
    /// Anything that needs TLS or credentials; the client is made by the first question.
    Wide(String, Option<reqwest::Client>),
}

/// The node's RPC. A clone has a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    way: Way,
    next_id: u64,
}

#[derive(Serialize)]
struct Question<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'static str,
    params: &'a Value,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Answer<T> {
    result: Option<T>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl Rpc {
    /// The RPC at an address; nothing is connected yet.
    ///
    /// # Errors
    /// [`ProbeError::Address`] when it is neither HTTP nor an absolute path.
    pub(super) fn new(address: &str) -> Result<Rpc, ProbeError> {
        let wrong = |why: String| ProbeError::Address { address: address.to_owned(), why };
        let way = if address.starts_with('/') {
            Way::Ipc(Ipc::new(address.into()))
        } else {
            let url = reqwest::Url::parse(address).map_err(|e| wrong(e.to_string()))?;
            match url.scheme() {
                "http" if url.username().is_empty() && url.password().is_none() => {
                    Way::Http(Http::new(&url).ok_or_else(|| wrong("it names no host".to_owned()))?)
                }
                "http" | "https" => Way::Wide(address.to_owned(), None),
                other => return Err(wrong(format!("{other} is no scheme for it"))),
            }
        };
        Ok(Rpc { way, next_id: 1 })
    }

    /// Asks one question.
    ///
    /// # Errors
    /// [`ProbeError`]; a connection that failed is not used again.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<T, ProbeError> {
        let id = self.next_id;
        self.next_id += 1;
        let unreadable = |e: serde_json::Error| ProbeError::Unreadable(method, e.to_string());
        let question = Question { jsonrpc: "2.0", id, method, params: &params };
        let question = serde_json::to_vec(&question).map_err(unreadable)?;
        let sent = tokio::time::timeout(WITHIN, self.send(question, id)).await;
        let bytes = match sent {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(why)) => return Err(ProbeError::Transport(method, why)),
            Err(_) => {
                self.hang_up();
                return Err(ProbeError::Transport(method, format!("no answer within {WITHIN:?}")));
            }
        };
        let answer: Answer<T> = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if let Some(RpcError { code, message }) = answer.error {
            let message = message.chars().take(256).collect();
            return Err(ProbeError::Refused { method, code, message });
        }
        answer.result.ok_or_else(|| ProbeError::Unreadable(method, "it holds no result".to_owned()))
    }

    async fn send(&mut self, question: Vec<u8>, id: u64) -> Result<Vec<u8>, String> {
        match &mut self.way {
            Way::Http(http) => http.ask(question).await,
            Way::Ipc(ipc) => ipc.ask(&question, id).await,
            Way::Wide(url, client) => wide(url, client, question).await,
        }
    }

    /// Closes the connection: an answer that comes late must not be taken for the next one.
    fn hang_up(&mut self) {
        match &mut self.way {
            Way::Http(http) => http.hang_up(),
            Way::Ipc(ipc) => ipc.hang_up(),
            Way::Wide(..) => {}
        }
    }
}

async fn wide(url: &str, client: &mut Option<reqwest::Client>, question: Vec<u8>) -> Result<Vec<u8>, String> {
    let said = |e: reqwest::Error| crate::host::download::cause(&e);
    let client = match client {
        Some(client) => client,
        None => {
            let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1);
            client.insert(builder.redirect(reqwest::redirect::Policy::none()).build().map_err(said)?)
        }
    };
    let request = client.post(url).header("content-type", "application/json").body(question);
    let mut answer = request.send().await.map_err(said)?;
    if !answer.status().is_success() {
        return Err(format!("HTTP {}", answer.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(said)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER {
            return Err(too_long());
        }
    }
    Ok(bytes)
}

pub(super) fn too_long() -> String {
    format!("the answer is longer than {} MiB", MAX_ANSWER >> 20)
}
