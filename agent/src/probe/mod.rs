//! What the node says of itself, over JSON-RPC. What it does not say is unknown, never zero.
mod http;
mod ipc;
mod rpc;
mod sealing;

pub use rpc::ProbeError;

use crate::clock;
use crate::health::Sealing;
use crate::host::verify::ChainId;
use common::chain::{BlockRoots, Fork, Hash32};
use common::time::UnixMs;
use common::wire::v1::NodeHealth;
use rpc::Rpc;
use sealing::Watch;
use serde::Deserialize;
use serde_json::{Value, json};

/// Newest blocks told to the coordinator.
const RECENT: usize = 8;
/// Peers and syncing are asked for in every so many looks, while the node says that it does not sync.
const SLOW_EVERY: u32 = 3;

/// The node's RPC, and what was learnt from the process that runs now. A clone connects by itself.
#[derive(Debug, Clone)]
pub struct Prober {
    rpc: Rpc,
    pid: Option<u32>,
    chain: Option<ChainId>,
    asked_version: bool,
    client_version: Option<String>,
    forks: Vec<Fork>,
    first_head: Option<u64>,
    head_advanced_at: Option<UnixMs>,
    recent: Vec<BlockRoots>,
    slow: Slow,
    sealing: Watch,
}

/// What changes slowly, as it was said last.
#[derive(Debug, Clone, Default)]
struct Slow {
    peers: Option<u32>,
    syncing: Option<bool>,
    looks_left: u32,
}

/// One look at the node.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// For the report.
    pub health: NodeHealth,
    /// Whether the head grew since the process was started.
    pub head_advanced: bool,
    /// Whether the node seals blocks; `None` where it does not say.
    pub sealing: Option<Sealing>,
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

impl Prober {
    /// Asks at `address`: `http://HOST:PORT`, `https://…`, or the absolute path of the node's IPC socket.
    ///
    /// # Errors
    /// [`ProbeError::Address`] when it is none of these.
    pub fn new(address: String) -> Result<Prober, ProbeError> {
        Ok(Prober {
            rpc: Rpc::new(&address)?,
            pid: None,
            chain: None,
            asked_version: false,
            client_version: None,
            forks: Vec::new(),
            first_head: None,
            head_advanced_at: None,
            recent: Vec::new(),
            slow: Slow::default(),
            sealing: Watch::default(),
        })
    }

    /// The chain the node said it is on.
    pub fn chain(&self) -> Option<ChainId> {
        self.chain
    }

    /// Looks at the process `pid`; what was learnt of an earlier one is forgotten.
    pub async fn look(&mut self, pid: u32) -> Look {
        if self.pid != Some(pid) {
            self.forget();
            self.pid = Some(pid);
        }
        let head = match self.head().await {
            Ok(head) => head,
            Err(error) => {
                tracing::debug!(%error, "the node does not answer");
                self.slow = Slow::default();
                return Look::default();
            }
        };
        self.learn().await;
        self.note_head(head.0.height);
        self.follow(head).await;
        self.ask_slow().await;
        let sealing = match self.recent.last() {
            // A node that catches up passes blocks that others sealed long ago.
            Some(head) if self.slow.syncing == Some(false) => {
                self.sealing.look(&mut self.rpc, head.height).await
            }
            _ => self.sealing.state(),
        };
        let head = self.recent.last().map(|b| b.height);
        let health = NodeHealth {
            rpc_up: true,
            chain_id: self.chain.map(|c| c.chain_id),
            genesis_hash: self.chain.map(|c| c.genesis_hash),
            recent: self.recent.clone(),
            head_advanced_at: self.head_advanced_at,
            peers: self.slow.peers,
            syncing: self.slow.syncing,
            client_version: self.client_version.clone(),
            forks: self.forks.clone(),
            disk_free_bytes: None,
        };
        let head_advanced = self.first_head.zip(head).is_some_and(|(first, head)| head > first);
        Look { health, head_advanced, sealing }
    }

    fn forget(&mut self) {
        self.chain = None;
        self.asked_version = false;
        self.client_version = None;
        self.forks.clear();
        self.first_head = None;
        self.head_advanced_at = None;
        self.recent.clear();
        self.slow = Slow::default();
        self.sealing = Watch::default();
    }

    /// Peers and syncing. What is not answered is unknown, and asked for again in the next look.
    async fn ask_slow(&mut self) {
        if self.slow.looks_left > 0 {
            self.slow.looks_left -= 1;
            return;
        }
        let peers = self.rpc.ask::<String>("net_peerCount", json!([])).await.ok();
        let peers = peers.and_then(|p| u32::try_from(quantity(&p)?).ok());
        let syncing = self.rpc.ask::<Value>("eth_syncing", json!([])).await.ok().map(|s| s != false);
        let quiet = peers.is_some_and(|p| p > 0) && syncing == Some(false);
        self.slow = Slow { peers, syncing, looks_left: if quiet { SLOW_EVERY - 1 } else { 0 } };
    }

    /// The newest block and the hash of its parent. A head that cannot be read is unknown, not height 0.
    async fn head(&mut self) -> Result<(BlockRoots, Hash32), ProbeError> {
        let block = self.block("latest".to_owned()).await?;
        let parent = block.parent_hash;
        let unreadable = || ProbeError::Unreadable("eth_getBlockByNumber", "no number or time".to_owned());
        Ok((roots(block).ok_or_else(unreadable)?, parent))
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
            let id = self.rpc.ask::<String>("eth_chainId", json!([])).await.ok().and_then(|id| quantity(&id));
            let genesis = self.block("0x0".to_owned()).await.ok().map(|b| b.hash);
            if let (Some(chain_id), Some(genesis_hash)) = (id, genesis) {
                self.chain = Some(ChainId { chain_id, genesis_hash });
            }
        }
        if !self.asked_version {
            let said = self.rpc.ask::<String>("web3_clientVersion", json!([])).await;
            // A closed namespace stays closed while the process runs.
            self.asked_version = said.as_ref().map_or_else(ProbeError::is_refusal, |_| true);
            self.client_version = said.ok().map(|v| v.chars().take(256).collect());
            if self.asked_version
                && let Ok(info) = self.rpc.ask::<Value>("admin_nodeInfo", json!([])).await
            {
                self.forks = forks(&info);
            }
        }
    }

    /// Brings the window of recent blocks up to a new head, along the parents' hashes.
    async fn follow(&mut self, (head, mut parent): (BlockRoots, Hash32)) {
        if self.recent.last() == Some(&head) {
            return;
        }
        let mut height = head.height;
        let mut fresh = vec![head];
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

    async fn block(&mut self, number: String) -> Result<Block, ProbeError> {
        self.rpc.ask("eth_getBlockByNumber", json!([number, false])).await
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
