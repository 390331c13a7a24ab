//! What the chain itself shows: blocks, intervals and rounds during the rollout, and each node's own head past the fork.
use crate::devnet::{Rpc, wait_until};
use crate::fleet::World;
use anyhow::{Context as _, Result};
use common::rollout::NodeState;
use coordinator::api::body::RolloutStatus;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Reads the chain beside the coordinator, by its own connections.
pub(super) struct ChainWatch {
    nodes: Vec<(String, Rpc)>,
    head: u64,
}

/// What was found.
pub(super) struct Verdict {
    nodes: Vec<NodeLine>,
    blocks: u64,
    largest_interval_ms: u64,
    mean_interval_ms: u64,
    late_rounds: u64,
    min_slack: Option<i64>,
    fork: u64,
}

struct NodeLine {
    name: String,
    state: NodeState,
    took_ms: Option<u64>,
    proof: String,
    head: u64,
    version: String,
    knows_fork: bool,
    same_block: bool,
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(s) => u64::from_str_radix(s.trim_start_matches("0x"), 16).ok(),
        other => other.as_u64(),
    }
}

impl ChainWatch {
    pub fn new(world: &World) -> Result<Self> {
        let rpc = |n: &crate::devnet::DevNode| Ok((n.name.to_string(), world.network.rpc(n.name.as_str())?));
        Ok(ChainWatch { nodes: world.network.nodes().iter().map(rpc).collect::<Result<_>>()?, head: 0 })
    }

    pub fn head(&self) -> u64 {
        self.head
    }

    pub async fn look(&mut self) {
        for (_, rpc) in &self.nodes {
            if let Ok(head) = rpc.head().await {
                self.head = self.head.max(head);
                return;
            }
        }
    }

    /// Waits until every node's own head has reached `height`.
    pub async fn pass(&self, height: u64) -> Result<()> {
        for (name, rpc) in &self.nodes {
            wait_until(&format!("{name} has block {height}"), Duration::from_secs(60), || async {
                rpc.head().await.is_ok_and(|h| h >= height).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    async fn block(&self, rpc: &Rpc, height: u64) -> Result<Value> {
        Ok(rpc.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await?)
    }

    pub async fn verdict(&self, status: &RolloutStatus, from: u64, fork: u64) -> Result<Verdict> {
        let (_, witness) = self.nodes.last().context("the network has no node")?;
        let to = witness.head().await?;
        let (mut times, mut late_rounds) = (Vec::new(), 0);
        for height in from..=to {
            let block = self.block(witness, height).await?;
            times.push(
                number(&block["timestampMs"])
                    .or_else(|| Some(number(&block["timestamp"])? * 1000))
                    .unwrap_or(0),
            );
            let extra = witness.call("istanbul_getWbftExtraInfo", json!([format!("{height:#x}")])).await?;
            late_rounds += u64::from(number(&extra["round"]).unwrap_or(0) > 0);
        }
        let gaps: Vec<u64> = times.windows(2).map(|w| w[1].saturating_sub(w[0])).collect();
        let reference = self.block(witness, fork + 1).await?["hash"].clone();
        let mut nodes = Vec::new();
        for (name, rpc) in &self.nodes {
            let progress = status.rollout.nodes.iter().find(|(n, _)| n.as_str() == name).map(|(_, p)| p);
            let version = rpc.call("web3_clientVersion", json!([])).await?;
            let admin = rpc.call("admin_nodeInfo", json!([])).await?;
            let config = &admin["protocols"]["eth"]["config"];
            nodes.push(NodeLine {
                name: name.clone(),
                state: progress.map_or(NodeState::Selected, |p| p.state),
                took_ms: progress.and_then(|p| Some(p.proof.as_ref()?.at.0.saturating_sub(p.granted_at?.0))),
                proof: progress.and_then(|p| p.proof.as_ref()).map_or("none".into(), |p| {
                    format!(
                        "{} seals, {} proposed, {} blocks equal in {}..{}",
                        p.seals, p.proposed, p.blocks_equal, p.heights.0, p.heights.1
                    )
                }),
                head: rpc.head().await?,
                version: version.as_str().unwrap_or_default().to_owned(),
                knows_fork: number(&config["bohoBlock"]) == Some(fork),
                same_block: self.block(rpc, fork + 1).await?["hash"] == reference,
            });
        }
        Ok(Verdict {
            nodes,
            blocks: to - from,
            largest_interval_ms: gaps.iter().copied().max().unwrap_or(0),
            mean_interval_ms: gaps.iter().sum::<u64>() / (gaps.len() as u64).max(1),
            late_rounds,
            min_slack: status.rollout.min_slack,
            fork,
        })
    }
}

impl Verdict {
    /// Whether the chain shows it: every node proved, on the new release, past the fork on the same chain, and consensus
    /// was never below quorum.
    pub fn holds(&self) -> bool {
        let node =
            |n: &NodeLine| n.state == NodeState::Done && n.knows_fork && n.same_block && n.head > self.fork;
        self.blocks > 0 && self.nodes.iter().all(node) && self.min_slack.is_some_and(|s| s >= 1)
    }

    pub fn text(&self, took: Duration) -> String {
        let mut out = String::from("\nSummary\n");
        let proved = self.nodes.iter().filter(|n| n.state == NodeState::Done).count();
        let past = self.nodes.iter().filter(|n| n.same_block && n.head > self.fork).count();
        let all = self.nodes.len();
        let _infallible = (|| {
            writeln!(out, "  nodes upgraded and proved      {proved} of {all}")?;
            writeln!(
                out,
                "  nodes past the fork at {:<7} {past} of {all}, all on the same block",
                self.fork
            )?;
            writeln!(out, "  blocks sealed meanwhile        {}", self.blocks)?;
            writeln!(
                out,
                "  block interval mean / largest  {} / {} ms",
                self.mean_interval_ms, self.largest_interval_ms
            )?;
            writeln!(out, "  blocks sealed in rounds > 0    {}", self.late_rounds)?;
            writeln!(
                out,
                "  smallest slack above quorum    {}",
                self.min_slack.map_or("unknown".into(), |s| s.to_string())
            )?;
            writeln!(out, "  from nothing to here           {:.0} s\n", took.as_secs_f64())?;
            for n in &self.nodes {
                let took = n.took_ms.map_or("-".into(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
                writeln!(out, "  {:<6} {:<28} {took:>7}  {}", n.name, n.version, n.proof)?;
            }
            Ok::<(), std::fmt::Error>(())
        })();
        out
    }
}
