//! `[geth]`: the chain client's own configuration, and the arguments it becomes.
use super::field::Value;
use super::key::{Draft, Key, Reload, keys};
use super::settings::Settings;
use std::path::PathBuf;

/// `[geth]`: flags of a geth-like chain client; what is not said is left to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GethSettings {
    /// `--networkid`.
    pub network_id: Option<u64>,
    /// `--datadir`, absolute.
    pub datadir: Option<PathBuf>,
    /// `--config`: the client's own TOML file, absolute.
    pub config: Option<PathBuf>,
    /// `--syncmode`.
    pub syncmode: Option<String>,
    /// `--gcmode`.
    pub gcmode: Option<String>,
    /// `--cache`, in MiB.
    pub cache: Option<u32>,
    /// `--http`.
    pub http: Option<bool>,
    /// `--http.addr`.
    pub http_addr: Option<String>,
    /// `--http.port`.
    pub http_port: Option<u16>,
    /// `--http.api`.
    pub http_api: Vec<String>,
    /// `--http.vhosts`.
    pub http_vhosts: Vec<String>,
    /// `--http.corsdomain`.
    pub http_corsdomain: Vec<String>,
    /// `--ws`.
    pub ws: Option<bool>,
    /// `--ws.addr`.
    pub ws_addr: Option<String>,
    /// `--ws.port`.
    pub ws_port: Option<u16>,
    /// `--ws.api`.
    pub ws_api: Vec<String>,
    /// `--ws.origins`.
    pub ws_origins: Vec<String>,
    /// `--ipcpath`.
    pub ipcpath: Option<PathBuf>,
    /// `--port`: peer to peer.
    pub port: Option<u16>,
    /// `--bootnodes`.
    pub bootnodes: Vec<String>,
    /// `--maxpeers`.
    pub max_peers: Option<u32>,
    /// `--nat`.
    pub nat: Option<String>,
    /// `--nodekey`, absolute.
    pub nodekey: Option<PathBuf>,
    /// `--mine`.
    pub mine: Option<bool>,
    /// `--miner.etherbase`: `0x` and 40 hexadecimal digits.
    pub etherbase: Option<String>,
    /// `--verbosity`, 0 to 5.
    pub verbosity: Option<u32>,
    /// Further arguments, as they are.
    pub extra: Vec<String>,
}

/// The rows of `[geth]`.
pub(super) static GETH: &[Key] = keys! {
    "geth" "network_id" Node (settings.geth.network_id) [] "1111" ""
        "Number of the network (`--networkid`). With `[node] network` it has to be one of that network.";
    "geth" "datadir" Node (settings.geth.datadir) [] "/var/lib/node/data" "[node] data_dir"
        "Folder of the chain (`--datadir`), absolute. `[node] data_dir` follows it.";
    "geth" "config" Node (settings.geth.config) [] "/etc/node/geth.toml" ""
        "The client's own configuration file (`--config`), absolute.";
    "geth" "syncmode" Node (settings.geth.syncmode) [] "full" ""
        "How it catches up (`--syncmode`): full, snap.";
    "geth" "gcmode" Node (settings.geth.gcmode) [] "full" ""
        "What it keeps of old states (`--gcmode`): full, archive.";
    "geth" "cache" Node (settings.geth.cache) [] "4096" ""
        "Memory for its caches (`--cache`), in MiB.";
    "geth" "http" Node (settings.geth.http) [] "true" ""
        "Whether JSON-RPC is served over HTTP (`--http`).";
    "geth" "http_addr" Node (settings.geth.http_addr) [] "127.0.0.1" ""
        "Address of that (`--http.addr`).";
    "geth" "http_port" Node (settings.geth.http_port) [] "8545" ""
        "Port of that (`--http.port`). `[node] rpc` follows address and port.";
    "geth" "http_api" Node (settings.geth.http_api) [] "eth,net,web3" ""
        "Modules it offers (`--http.api`). admin and istanbul make reports richer; keep them on loopback.";
    "geth" "http_vhosts" Node (settings.geth.http_vhosts) [] "localhost" ""
        "Host names it answers to (`--http.vhosts`).";
    "geth" "http_corsdomain" Node (settings.geth.http_corsdomain) [] "https://wallet.example.org" ""
        "Web origins it answers to (`--http.corsdomain`).";
    "geth" "ws" Node (settings.geth.ws) [] "true" ""
        "Whether JSON-RPC is served over WebSocket (`--ws`).";
    "geth" "ws_addr" Node (settings.geth.ws_addr) [] "127.0.0.1" ""
        "Address of that (`--ws.addr`).";
    "geth" "ws_port" Node (settings.geth.ws_port) [] "8546" ""
        "Port of that (`--ws.port`).";
    "geth" "ws_api" Node (settings.geth.ws_api) [] "eth,net,web3" ""
        "Modules it offers (`--ws.api`).";
    "geth" "ws_origins" Node (settings.geth.ws_origins) [] "https://wallet.example.org" ""
        "Web origins it answers to (`--ws.origins`).";
    "geth" "ipcpath" Node (settings.geth.ipcpath) [] "/var/lib/node/data/geth.ipc" ""
        "Its IPC socket (`--ipcpath`), absolute.";
    "geth" "port" Node (settings.geth.port) [] "30303" ""
        "Port between peers (`--port`).";
    "geth" "bootnodes" Node (settings.geth.bootnodes) [] "enode://PUBLIC-KEY@boot.example.org:30303" ""
        "Peers to begin with (`--bootnodes`): enode URLs.";
    "geth" "max_peers" Node (settings.geth.max_peers) [] "50" ""
        "Most peers (`--maxpeers`).";
    "geth" "nat" Node (settings.geth.nat) [] "any" ""
        "How its address is found out (`--nat`).";
    "geth" "nodekey" Node (settings.geth.nodekey) [] "/var/lib/node/nodekey" ""
        "File with the key of the node among its peers (`--nodekey`), absolute.";
    "geth" "mine" Node (settings.geth.mine) [] "true" ""
        "Whether it seals blocks (`--mine`).";
    "geth" "etherbase" Node (settings.geth.etherbase) [] "0x0000000000000000000000000000000000000000" ""
        "Address that is rewarded (`--miner.etherbase`).";
    "geth" "verbosity" Node (settings.geth.verbosity) [] "3" ""
        "How much it logs (`--verbosity`), 0 to 5.";
    "geth" "extra" Node (settings.geth.extra) [] "--metrics --metrics.addr=127.0.0.1" ""
        "Further arguments, as they are.";
};

/// The flag of each key, in the order in which they are rendered.
const FLAGS: [(&str, &str); 26] = [
    ("network_id", "--networkid"),
    ("datadir", "--datadir"),
    ("config", "--config"),
    ("syncmode", "--syncmode"),
    ("gcmode", "--gcmode"),
    ("cache", "--cache"),
    ("http", "--http"),
    ("http_addr", "--http.addr"),
    ("http_port", "--http.port"),
    ("http_api", "--http.api"),
    ("http_vhosts", "--http.vhosts"),
    ("http_corsdomain", "--http.corsdomain"),
    ("ws", "--ws"),
    ("ws_addr", "--ws.addr"),
    ("ws_port", "--ws.port"),
    ("ws_api", "--ws.api"),
    ("ws_origins", "--ws.origins"),
    ("ipcpath", "--ipcpath"),
    ("port", "--port"),
    ("bootnodes", "--bootnodes"),
    ("max_peers", "--maxpeers"),
    ("nat", "--nat"),
    ("nodekey", "--nodekey"),
    ("mine", "--mine"),
    ("etherbase", "--miner.etherbase"),
    ("verbosity", "--verbosity"),
];

impl GethSettings {
    /// Whether anything was said.
    pub fn is_empty(&self) -> bool {
        *self == GethSettings::default()
    }
}

/// The arguments that `[geth]` becomes; none when it says nothing. A client without `--datadir` would use a
/// folder of its own that no backup knows, so the node's data folder is named then.
pub fn arguments(settings: &Settings) -> Vec<String> {
    if settings.geth.is_empty() {
        return Vec::new();
    }
    let mut draft = Draft::of(settings);
    let named = &mut draft.settings.geth.datadir;
    named.get_or_insert_with(|| settings.node.data_dir.clone());
    let mut arguments = Vec::new();
    for (name, flag) in FLAGS {
        let Some(key) = GETH.iter().find(|key| key.name == name) else { continue };
        let text = match (key.get)(&draft).show() {
            None | Some(Value::Bool(false)) => continue,
            Some(Value::Bool(true)) => {
                arguments.push(flag.to_owned());
                continue;
            }
            Some(Value::List(items)) if items.is_empty() => continue,
            Some(Value::List(items)) => items.join(","),
            Some(value) => value.to_string(),
        };
        arguments.extend([flag.to_owned(), text]);
    }
    arguments.extend(settings.geth.extra.iter().cloned());
    arguments
}

/// Where the node answers as `[geth]` says: over HTTP when that is on, else at its socket where one is named.
pub fn rpc(geth: &GethSettings) -> Option<String> {
    if geth.http == Some(true) {
        let address = match geth.http_addr.as_deref().unwrap_or("127.0.0.1").trim_matches(['[', ']']) {
            // Listening everywhere includes this host.
            "" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
            v6 if v6.contains(':') => format!("[{v6}]"),
            other => other.to_owned(),
        };
        return Some(format!("http://{address}:{}", geth.http_port.unwrap_or(8545)));
    }
    geth.ipcpath.as_ref().map(|path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_flag_and_what_is_not_said_has_none() {
        for key in GETH.iter().filter(|key| key.name != "extra") {
            assert!(FLAGS.iter().any(|(name, _)| *name == key.name), "{}", key.name);
        }
        let mut settings = Settings::of("/h".into(), "geth".to_owned());
        assert!(arguments(&settings).is_empty());
        settings.geth.extra = vec!["--x=1".to_owned()];
        assert_eq!(arguments(&settings), ["--datadir", "/h/data", "--x=1"]);
        settings.geth.datadir = Some("/chain".into());
        settings.geth.network_id = Some(1111);
        (settings.geth.http, settings.geth.ws) = (Some(true), Some(false));
        settings.geth.http_api = vec!["eth".to_owned(), "net".to_owned()];
        let line = arguments(&settings).join(" ");
        assert_eq!(line, "--networkid 1111 --datadir /chain --http --http.api eth,net --x=1");
    }
}
