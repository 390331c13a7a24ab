//! JSON-RPC from the outside, as any client would.
use serde_json::{Value, json};
use std::time::Duration;

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No answer, or no JSON.
    #[error("{url} did not answer {method}")]
    Transport {
        /// Whom we asked.
        url: String,
        /// What we asked.
        method: String,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// An error as answer.
    #[error("{url} refused {method}: {message} ({code})")]
    Refused {
        /// Whom we asked.
        url: String,
        /// What we asked.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// Its text.
        message: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A client of one endpoint; keeps its connection.
#[derive(Debug, Clone)]
pub struct Rpc {
    client: reqwest::Client,
    url: String,
}

impl Rpc {
    /// A client for `url`; calls are given up after 5 s.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(url: &str) -> Result<Self, RpcError> {
        // The client wants a TLS provider even where only http is spoken; a second one does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .map_err(RpcError::Client)?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// One call.
    ///
    /// # Errors
    /// No answer, or an error as answer.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let transport =
            |source| RpcError::Transport { url: self.url.clone(), method: method.to_owned(), source };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.client.post(&self.url).json(&body).send().await.map_err(transport)?;
        let mut answer: Value = answer.json().await.map_err(transport)?;
        if let Some(error) = answer.get("error") {
            return Err(RpcError::Refused {
                url: self.url.clone(),
                method: method.to_owned(),
                code: error["code"].as_i64().unwrap_or(0),
                message: error["message"].as_str().unwrap_or("(no text)").to_owned(),
            });
        }
        Ok(answer.get_mut("result").map_or(Value::Null, Value::take))
    }

    /// Height of the endpoint's head.
    ///
    /// # Errors
    /// As [`Rpc::call`]; an answer that is no height counts as 0.
    pub async fn head(&self) -> Result<u64, RpcError> {
        let found = self.call("eth_blockNumber", json!([])).await?;
        Ok(crate::devnode::execution::quantity(&found).unwrap_or(0))
    }
}

/// One call without keeping the connection.
///
/// # Errors
/// As [`Rpc::call`].
pub async fn rpc(url: &str, method: &str, params: Value) -> Result<Value, RpcError> {
    Rpc::new(url)?.call(method, params).await
}
