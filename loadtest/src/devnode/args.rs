//! The command line of a devnode: the flags of a geth that a supervisor uses, with the same names.
use super::links::Peer;
use clap::{Parser, Subcommand};
use common::time::Span;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A node of the development network.
#[derive(Debug, Parser)]
#[command(name = "devnode", disable_version_flag = true)]
pub struct Args {
    /// Folder for keys and chain.
    #[arg(long, global = true, default_value = "devnode-data")]
    pub datadir: PathBuf,
    /// Network id; must be the genesis' chain id when given.
    #[arg(long)]
    pub networkid: Option<u64>,
    /// Serve HTTP JSON-RPC (always on; accepted for likeness).
    #[arg(long)]
    pub http: bool,
    /// Address of the HTTP JSON-RPC server.
    #[arg(long = "http.addr", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub http_addr: IpAddr,
    /// Port of the HTTP JSON-RPC server.
    #[arg(long = "http.port", default_value_t = 8545)]
    pub http_port: u16,
    /// Namespaces offered over HTTP.
    #[arg(long = "http.api", value_delimiter = ',', default_value = "eth,net,web3,istanbul,admin")]
    pub http_api: Vec<String>,
    /// Port for other nodes, on loopback.
    #[arg(long, default_value_t = 30303)]
    pub port: u16,
    /// Propose and vote, if this node's key is a validator's.
    #[arg(long)]
    pub mine: bool,
    /// Serve metrics.
    #[arg(long)]
    pub metrics: bool,
    /// Address of the metrics server.
    #[arg(long = "metrics.addr", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub metrics_addr: IpAddr,
    /// Port of the metrics server.
    #[arg(long = "metrics.port", default_value_t = 6060)]
    pub metrics_port: u16,
    /// Peers as enode URLs, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub bootnodes: Vec<String>,
    /// TOML file with `[Node.P2P] StaticNodes`.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Time a graceful stop takes to write everything out, for example 500ms.
    #[arg(long = "shutdown.flush", default_value = "0s")]
    pub shutdown_flush: Span,
    /// No discovery (there is none; accepted for likeness).
    #[arg(long)]
    pub nodiscover: bool,
    /// Synchronisation mode (there is only one; accepted for likeness).
    #[arg(long)]
    pub syncmode: Option<String>,
    /// End with the process that started this one, however that ends.
    #[arg(long)]
    pub die_with_parent: bool,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Commands besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Store a genesis in the data folder.
    Init {
        /// The genesis file.
        genesis: PathBuf,
    },
    /// Print the version.
    Version,
    /// Become another program that ends with the process that started this one.
    #[command(hide = true)]
    ExecWithParent {
        /// Program and arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
}

/// The peers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The file.
    #[error("cannot read the configuration {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its form.
    #[error("{path} is no configuration with [Node.P2P] StaticNodes")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    /// One of the nodes.
    #[error("{0:?} is no peer: enode://ADDRESS@IP:PORT with 40 hexadecimal digits is expected")]
    Enode(String),
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Node")]
    node: Node,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "P2P")]
    p2p: P2p,
}

#[derive(Deserialize)]
struct P2p {
    #[serde(rename = "StaticNodes")]
    static_nodes: Vec<String>,
}

impl Args {
    /// All peers, from the configuration file and the command line.
    ///
    /// # Errors
    /// The file or one of the enode URLs cannot be read.
    pub fn peers(&self) -> Result<Vec<Peer>, PeersError> {
        let mut urls = self.bootnodes.clone();
        if let Some(path) = &self.config {
            urls.extend(static_nodes(path)?);
        }
        urls.iter().filter(|u| !u.is_empty()).map(|u| parse_enode(u)).collect()
    }
}

fn static_nodes(path: &Path) -> Result<Vec<String>, PeersError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| PeersError::Read { path: path.into(), source })?;
    let config: Config =
        toml::from_str(&text).map_err(|source| PeersError::Parse { path: path.into(), source })?;
    Ok(config.node.p2p.static_nodes)
}

/// Reads `enode://ADDRESS@IP:PORT`.
///
/// # Errors
/// The text has another form.
pub fn parse_enode(url: &str) -> Result<Peer, PeersError> {
    let bad = || PeersError::Enode(url.to_owned());
    let (id, socket) = url.strip_prefix("enode://").and_then(|u| u.split_once('@')).ok_or_else(bad)?;
    let address = format!("0x{id}").parse().map_err(|_| bad())?;
    let socket: SocketAddr = socket.parse().map_err(|_| bad())?;
    Ok(Peer { address, socket })
}

/// Writes `enode://ADDRESS@IP:PORT`.
pub fn enode(peer: &Peer) -> String {
    format!("enode://{}@{}", hex::encode(peer.address.0), peer.socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_geth_are_understood() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let args = Args::try_parse_from([
            "devnode",
            "--datadir",
            "/d",
            "--networkid",
            "1337",
            "--http.addr",
            "127.0.0.1",
            "--http.port",
            "1",
            "--port",
            "2",
            "--mine",
            "--metrics",
            "--metrics.port",
            "3",
            "--shutdown.flush",
            "250ms",
        ])
        .unwrap();
        assert_eq!((args.http_port, args.port, args.metrics_port), (1, 2, 3));
        assert_eq!(args.shutdown_flush, Span(250));
        let init = Args::try_parse_from(["devnode", "--datadir", "/d", "init", "g.json"]).unwrap();
        assert!(matches!(init.command, Some(Command::Init { .. })));
        assert!(Args::try_parse_from(["devnode", "frobnicate"]).is_err());
    }

    #[test]
    fn enodes_round_trip() {
        let url = format!("enode://{}@127.0.0.1:30303", "ab".repeat(20));
        assert_eq!(enode(&parse_enode(&url).unwrap()), url);
        for bad in ["", "enode://", "enode://zz@127.0.0.1:1", "http://x@127.0.0.1:1"] {
            assert!(parse_enode(bad).unwrap_err().to_string().contains("is no peer"));
        }
    }
}
