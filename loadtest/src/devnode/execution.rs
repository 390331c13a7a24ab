//! The execution layer: a JSON-RPC client of the network's anvil.
use common::chain::{Address, Hash32};
use serde_json::{Value, json};
use std::time::Duration;

/// The execution layer did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// No answer, or no JSON.
    #[error("the execution layer did not answer {method}")]
    Transport {
        /// What was asked.
        method: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It answered with an error.
    #[error("{message}")]
    Refused {
        /// JSON-RPC error code.
        code: i64,
        /// Its text.
        message: String,
    },
    /// The answer has not the shape expected.
    #[error("the execution layer answered {method} with {found}")]
    Shape {
        /// What was asked.
        method: String,
        /// The answer, cut to a readable length.
        found: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A client of the execution layer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Execution {
    client: reqwest::Client,
    url: String,
}

impl Execution {
    /// A client for `url`.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(url: &str) -> Result<Self, ExecutionError> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build()
            .map_err(ExecutionError::Client)?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// One JSON-RPC call.
    ///
    /// # Errors
    /// No answer, an error as answer, or no JSON-RPC.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, ExecutionError> {
        let transport = |source| ExecutionError::Transport { method: method.to_owned(), source };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.client.post(&self.url).json(&body).send().await.map_err(transport)?;
        let mut answer: Value = answer.json().await.map_err(transport)?;
        if let Some(error) = answer.get("error") {
            return Err(ExecutionError::Refused {
                code: error["code"].as_i64().unwrap_or(-32000),
                message: error["message"].as_str().unwrap_or("(no text)").to_owned(),
            });
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(shape(method, &answer)),
        }
    }

    /// Height of its newest block.
    ///
    /// # Errors
    /// As [`Execution::call`], or an answer that is no height.
    pub async fn head(&self) -> Result<u64, ExecutionError> {
        let found = self.call("eth_blockNumber", json!([])).await?;
        quantity(&found).ok_or_else(|| shape("eth_blockNumber", &found))
    }

    /// Hash and time (seconds since 1970) of a block.
    ///
    /// # Errors
    /// As [`Execution::call`], or the block does not exist.
    pub async fn block(&self, height: u64) -> Result<(Hash32, u64), ExecutionError> {
        let found = self.call("eth_getBlockByNumber", json!([hex_quantity(height), false])).await?;
        let hash = found["hash"].as_str().and_then(|h| h.parse().ok());
        match (hash, quantity(&found["timestamp"])) {
            (Some(hash), Some(time)) => Ok((hash, time)),
            _ => Err(shape("eth_getBlockByNumber", &found)),
        }
    }

    /// Mines one block for `proposer`, not earlier than its parent.
    ///
    /// # Errors
    /// As [`Execution::call`].
    pub async fn mine(&self, height: u64, proposer: Address, time_ms: u64) -> Result<Hash32, ExecutionError> {
        let (_, parent_s) = self.block(height - 1).await?;
        self.call("anvil_setCoinbase", json!([proposer])).await?;
        self.call("evm_mine", json!([{"timestamp": (time_ms / 1000).max(parent_s)}])).await?;
        Ok(self.block(height).await?.0)
    }
}

fn shape(method: &str, found: &Value) -> ExecutionError {
    let mut found = found.to_string();
    if found.len() > 200 {
        found = found.chars().take(200).collect();
    }
    ExecutionError::Shape { method: method.to_owned(), found }
}

/// A JSON-RPC quantity: `0x` and hexadecimal digits.
pub fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Writes a JSON-RPC quantity.
pub fn hex_quantity(value: u64) -> String {
    format!("{value:#x}")
}
