//! What a network consists of, and the file that tells it to others.
use super::error::DevnetError;
use crate::devnode::args::enode;
use crate::devnode::genesis::{Anzeon, ChainConfig, Genesis, Shared, Timing, Validators};
use crate::devnode::links::Peer;
use common::chain::Address;
use common::id::NodeName;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What is wanted.
#[derive(Debug, Clone)]
pub struct NetworkSpec {
    /// Folder of the network; made, or empty.
    pub dir: PathBuf,
    /// Validators, 1 to 100.
    pub validators: usize,
    /// RPC nodes, 0 to 100.
    pub rpc_nodes: usize,
    /// Shortest time between two blocks, milliseconds.
    pub block_ms: u64,
    /// Time-out of round 0, milliseconds.
    pub request_timeout_ms: u64,
    /// Time a node takes to stop in order, milliseconds.
    pub flush_ms: u64,
    /// Chain id.
    pub chain_id: u64,
    /// The devnode executable (also ties anvil's life to ours).
    pub node_binary: PathBuf,
    /// The anvil executable; searched for when absent.
    pub anvil: Option<PathBuf>,
}

impl NetworkSpec {
    /// Seven validators and two RPC nodes, a block every 500 ms.
    pub fn new(dir: impl Into<PathBuf>, node_binary: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            validators: 7,
            rpc_nodes: 2,
            block_ms: 500,
            request_timeout_ms: 1_000,
            flush_ms: 500,
            chain_id: 1337,
            node_binary: node_binary.into(),
            anvil: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), DevnetError> {
        if self.rpc_nodes > 100 {
            return Err(DevnetError::Spec(format!("{} RPC nodes, at most 100 are possible", self.rpc_nodes)));
        }
        if !(1..=100).contains(&self.validators) {
            return Err(DevnetError::Spec(format!("{} validators, 1 to 100 are possible", self.validators)));
        }
        if self.chain_id == 0 {
            return Err(DevnetError::Spec("the chain id must not be 0".to_owned()));
        }
        Ok(())
    }
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Proposes and votes.
    Validator,
    /// Follows and answers.
    Rpc,
}

/// One node of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevNode {
    /// `val-1`, `rpc-1` and so on.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// Address of its key.
    pub address: Address,
    /// JSON-RPC URL.
    pub rpc_url: String,
    /// Metrics URL.
    pub metrics_url: String,
    /// JSON-RPC port.
    pub http_port: u16,
    /// Port for other nodes.
    pub p2p_port: u16,
    /// Metrics port.
    pub metrics_port: u16,
    /// Data folder, initialised.
    pub datadir: PathBuf,
    /// Log that [`super::Network::start_node`] writes.
    pub log: PathBuf,
    /// Arguments with which any release runs this node; the program itself is not among them.
    pub argv: Vec<String>,
}

/// `network.json`: all that others need in order to work with the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFile {
    /// Chain id.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: common::chain::Hash32,
    /// The execution layer; for assertions only, nodes are what clients talk to.
    pub anvil_url: String,
    /// Process id of the execution layer.
    pub anvil_pid: u32,
    /// Shortest time between two blocks, milliseconds.
    pub block_ms: u64,
    /// Time-out of round 0, milliseconds.
    pub request_timeout_ms: u64,
    /// The genesis file.
    pub genesis_file: PathBuf,
    /// Folder of the commit point.
    pub commit_dir: PathBuf,
    /// All nodes, validators first.
    pub nodes: Vec<DevNode>,
}

pub(super) fn genesis(spec: &NetworkSpec, validators: Vec<Address>, execution: &str) -> Genesis {
    let wbft = Timing { block_period_ms: spec.block_ms, request_timeout_ms: spec.request_timeout_ms };
    Genesis {
        config: ChainConfig {
            chain_id: spec.chain_id,
            anzeon: Anzeon { wbft, init: Validators { validators } },
        },
        devnet: Shared { execution: execution.to_owned(), commit_dir: spec.dir.join("commit") },
    }
}

/// One node with its three ports.
pub(super) fn node(
    spec: &NetworkSpec,
    name: NodeName,
    role: Role,
    address: Address,
    ports: &[u16; 3],
) -> DevNode {
    let [http_port, p2p_port, metrics_port] = *ports;
    let datadir = spec.dir.join("nodes").join(name.as_str());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut argv: Vec<String> = [
        ("--datadir", text(&datadir)),
        ("--networkid", spec.chain_id.to_string()),
        ("--http.addr", Ipv4Addr::LOCALHOST.to_string()),
        ("--http.port", http_port.to_string()),
        ("--port", p2p_port.to_string()),
        ("--metrics.port", metrics_port.to_string()),
        ("--config", text(&spec.dir.join("peers.toml"))),
        ("--shutdown.flush", format!("{}ms", spec.flush_ms)),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    argv.push("--metrics".to_owned());
    if role == Role::Validator {
        argv.push("--mine".to_owned());
    }
    DevNode {
        rpc_url: format!("http://127.0.0.1:{http_port}"),
        metrics_url: format!("http://127.0.0.1:{metrics_port}/debug/metrics/prometheus"),
        log: spec.dir.join("logs").join(format!("{name}.log")),
        name,
        role,
        address,
        http_port,
        p2p_port,
        metrics_port,
        datadir,
        argv,
    }
}

/// The peers file, in a geth's form.
pub(super) fn peers_toml(nodes: &[DevNode]) -> String {
    let mut text = String::from("[Node.P2P]\nStaticNodes = [\n");
    for node in nodes {
        let socket = SocketAddr::from((Ipv4Addr::LOCALHOST, node.p2p_port));
        let url = enode(&Peer { address: node.address, socket });
        text.push_str(&format!("  \"{url}\",\n"));
    }
    text.push_str("]\n");
    text
}
