//! What the node says of itself, over JSON-RPC. What it does not say is unknown, never zero.
use crate::clock;
use crate::host::verify::ChainId;
use common::chain::{BlockRoots, Fork, Hash32};
use common::time::UnixMs;
use common::wire::v1::NodeHealth;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// Newest blocks told to the coordinator.
const RECENT: usize = 8;
/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(3);
/// Longest answer read, in bytes. A block with every hash of a full block stays far below.
const MAX_ANSWER: usize = 4 << 20;

/// Why the node gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection, no HTTP answer, not in time.
    #[error("{0}: {1}")]
    Transport(&'static str, String),
    /// The node answered with an error.
    #[error("{0}: the node says {1}")]
    Refused(&'static str, String),
    /// The answer has another shape than it should have.
    #[error("{0}: the answer cannot be read: {1}")]
    Unreadable(&'static str, String),
}

/// The node's RPC, and what was learnt from the process that runs now.
#[derive(Debug, Clone)]
pub struct Prober {
    url: String,
    client: reqwest::Client,
    pid: Option<u32>,
    chain: Option<ChainId>,
    client_version: Option<String>,
    forks: Vec<Fork>,
    first_head: Option<u64>,
    head_advanced_at: Option<UnixMs>,
    recent: Vec<BlockRoots>,
}

/// One look at the node.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// For the report.
    pub health: NodeHealth,
    /// Whether the head grew since the process was started.
    pub head_advanced: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    number: String,
    hash: Hash32,
    state_root: Hash32,
    receipts_root: Hash32,
    timestamp: String,
    parent_hash: Hash32,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    #[serde(default)]
    message: String,
}

impl Prober {
    /// Asks at `url`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: String) -> Result<Prober, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(WITHIN)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Prober {
            url,
            client,
            pid: None,
            chain: None,
            client_version: None,
            forks: Vec::new(),
            first_head: None,
            head_advanced_at: None,
            recent: Vec::new(),
        })
    }

    /// The chain the node said it is on.
    pub fn chain(&self) -> Option<ChainId> {
        self.chain
    }

    /// Looks at the process `pid`; what was learnt of an earlier one is forgotten.
    pub async fn look(&mut self, pid: u32) -> Look {
        if self.pid != Some(pid) {
            self.pid = Some(pid);
            self.client_version = None;
            self.forks.clear();
            self.first_head = None;
            self.head_advanced_at = None;
            self.recent.clear();
            self.chain = None;
        }
        let head = match self.block("latest".to_owned()).await {
            Ok(head) => head,
            Err(error) => {
                tracing::debug!(%error, "the node does not answer");
                return Look::default();
            }
        };
        self.learn().await;
        let height = quantity(&head.number).unwrap_or_default();
        self.note_head(height);
        self.follow(head).await;
        let peers = self.ask::<String>("net_peerCount", json!([])).await.ok();
        let syncing = self.ask::<Value>("eth_syncing", json!([])).await.ok();
        let health = NodeHealth {
            rpc_up: true,
            chain_id: self.chain.map(|c| c.chain_id),
            genesis_hash: self.chain.map(|c| c.genesis_hash),
            recent: self.recent.clone(),
            head_advanced_at: self.head_advanced_at,
            peers: peers.and_then(|p| u32::try_from(quantity(&p)?).ok()),
            syncing: syncing.map(|s| s != Value::Bool(false)),
            client_version: self.client_version.clone(),
            forks: self.forks.clone(),
            disk_free_bytes: None,
        };
        let head_advanced = self.first_head.is_some_and(|first| height > first);
        Look { health, head_advanced }
    }

    fn note_head(&mut self, height: u64) {
        let before = self.recent.last().map(|b| b.height);
        if before.is_some_and(|b| height > b) {
            self.head_advanced_at = Some(clock::now());
        }
        self.first_head.get_or_insert(height);
    }

    /// What does not change while a process runs is asked once.
    async fn learn(&mut self) {
        if self.chain.is_none() {
            let id = self.ask::<String>("eth_chainId", json!([])).await.ok().and_then(|id| quantity(&id));
            let genesis = self.block("0x0".to_owned()).await.ok().map(|b| b.hash);
            if let (Some(chain_id), Some(genesis_hash)) = (id, genesis) {
                self.chain = Some(ChainId { chain_id, genesis_hash });
            }
        }
        if self.client_version.is_none() {
            let said = self.ask::<String>("web3_clientVersion", json!([])).await.ok();
            self.client_version = said.map(|v| v.chars().take(256).collect());
            if let Ok(info) = self.ask::<Value>("admin_nodeInfo", json!([])).await {
                self.forks = forks(&info);
            }
        }
    }

    /// Brings the window of recent blocks up to a new head, along the parents' hashes.
    async fn follow(&mut self, head: Block) {
        let mut fresh = Vec::new();
        let mut parent = head.parent_hash;
        let Some(head) = roots(head) else { return };
        let mut height = head.height;
        fresh.push(head);
        while fresh.len() < RECENT && height > 0 {
            let known = self.recent.iter().position(|b| b.hash == parent && b.height + 1 == height);
            if let Some(known) = known {
                let rest = self.recent[..=known].iter().rev().take(RECENT - fresh.len());
                fresh.extend(rest.copied());
                break;
            }
            height -= 1;
            let Ok(block) = self.block(format!("0x{height:x}")).await else { break };
            let (hash, next) = (block.hash, block.parent_hash);
            // The chain moved under the questions: what was read so far still belongs together.
            if hash != parent {
                break;
            }
            parent = next;
            fresh.extend(roots(block));
        }
        fresh.reverse();
        self.recent = fresh;
    }

    async fn block(&self, number: String) -> Result<Block, ProbeError> {
        self.ask("eth_getBlockByNumber", json!([number, false])).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, ProbeError> {
        let transport = |e: reqwest::Error| ProbeError::Transport(method, crate::host::download::cause(&e));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.client.post(&self.url).json(&body).send().await.map_err(transport)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(ProbeError::Unreadable(method, "it is too long".to_owned()));
            }
        }
        let unreadable = |e: serde_json::Error| ProbeError::Unreadable(method, e.to_string());
        let answer: Answer = serde_json::from_slice(&bytes).map_err(unreadable)?;
        match answer.error {
            Some(error) => Err(ProbeError::Refused(method, error.message)),
            None => serde_json::from_value(answer.result).map_err(unreadable),
        }
    }
}

fn quantity(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn roots(block: Block) -> Option<BlockRoots> {
    Some(BlockRoots {
        height: quantity(&block.number)?,
        hash: block.hash,
        state_root: block.state_root,
        receipts_root: block.receipts_root,
        timestamp_s: quantity(&block.timestamp)?,
    })
}

/// Forks in the chain configuration a node shows: keys that end in `Block` with a height above 0.
fn forks(info: &Value) -> Vec<Fork> {
    let config = info.pointer("/protocols/eth/config").and_then(Value::as_object);
    let height = |v: &Value| v.as_u64().or_else(|| quantity(v.as_str()?));
    let fork = |(key, value): (&String, &Value)| {
        let name = key.strip_suffix("Block").filter(|n| !n.is_empty() && n.len() <= 64)?;
        let height = height(value).filter(|h| *h > 0)?;
        Some(Fork { name: name.to_owned(), height })
    };
    let mut forks: Vec<Fork> = config.into_iter().flatten().filter_map(fork).take(64).collect();
    forks.sort();
    forks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_keys_that_end_in_block() {
        let config = json!({"chainId": 1, "homesteadBlock": 0, "bohoBlock": 40, "londonBlock": "0x10",
            "daoForkBlock": null, "Block": 5, "terminalTotalDifficulty": 3});
        let info = json!({"protocols": {"eth": {"config": config}}});
        let said: Vec<_> = forks(&info).into_iter().map(|f| (f.name, f.height)).collect();
        assert_eq!(said, [("boho".to_owned(), 40), ("london".to_owned(), 16)]);
        assert!(forks(&json!("nonsense")).is_empty());
    }

    #[test]
    fn quantities_are_hexadecimal() {
        assert_eq!((quantity("0x1f"), quantity("31"), quantity("0x")), (Some(31), None, None));
    }
}
