//! A node for tests: JSON-RPC over HTTP with a head that advances. How it behaves is written behind its
//! own executable's last byte as `\n##{json}`, so that releases differ in their bytes as real ones do.
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// Time between blocks.
const BLOCK_MS: u128 = 50;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Behaviour {
    version: String,
    /// Exit code right after the start.
    crash: Option<i32>,
    /// RPC answers, the head stands still.
    stuck: bool,
    ignore_term: bool,
    flush_ms: u64,
    rpc_after_ms: u64,
    version_ms: u64,
    /// Starts a process that outlives a careless stop.
    child: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            version: "0.0.0".into(),
            crash: None,
            stuck: false,
            ignore_term: false,
            flush_ms: 0,
            rpc_after_ms: 0,
            version_ms: 0,
            child: false,
        }
    }
}

fn behaviour() -> Behaviour {
    let own = std::fs::read("/proc/self/exe").unwrap_or_default();
    let mark = own.windows(3).rposition(|w| w == b"\n##");
    let text = mark.map(|at| &own[at + 3..]).unwrap_or(b"{}");
    serde_json::from_slice(text).unwrap_or_default()
}

struct Node {
    behaviour: Behaviour,
    started: Instant,
    folder: PathBuf,
    base: u64,
}

impl Node {
    fn note(&self, what: &str) {
        note(&self.folder, what);
    }

    fn head(&self) -> u64 {
        if self.behaviour.stuck {
            return self.base;
        }
        self.base + u64::try_from(self.started.elapsed().as_millis() / BLOCK_MS).unwrap_or(0)
    }

    fn block(&self, number: u64) -> Value {
        let hash = |n: u64, kind: u8| format!("0x{:02x}{:062x}", kind, n);
        json!({"number": format!("0x{number:x}"), "hash": hash(number, 1), "stateRoot": hash(number, 2),
            "receiptsRoot": hash(number, 3), "timestamp": format!("0x{:x}", 1_700_000_000 + number),
            "parentHash": hash(number.saturating_sub(1), 1)})
    }

    fn answer(&self, request: &Value) -> Value {
        match request["method"].as_str().unwrap_or_default() {
            "eth_chainId" => json!("0x2327"),
            "eth_getBlockByNumber" => {
                let said = request["params"][0].as_str().unwrap_or("latest");
                let number = said.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
                self.block(number.unwrap_or_else(|| self.head()))
            }
            "net_peerCount" => json!("0x3"),
            "eth_syncing" => json!(false),
            "web3_clientVersion" => json!(format!("Scripted/{}", self.behaviour.version)),
            "admin_nodeInfo" => json!({"protocols": {"eth": {"config": {"bohoBlock": 40}}}}),
            _ => Value::Null,
        }
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                let line = line.trim().to_ascii_lowercase();
                if let Some(n) = line.strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap_or(0);
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            let body = json!({"jsonrpc": "2.0", "id": 1, "result": self.answer(&request)}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await?;
        }
    }
}

fn note(folder: &Path, what: &str) {
    let line = format!("{what} {}\n", std::process::id());
    let file = OpenOptions::new().create(true).append(true).open(folder.join("events"));
    let _ = file.and_then(|mut f| f.write_all(line.as_bytes()));
}

fn main() -> std::io::Result<()> {
    let behaviour = behaviour();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "version") {
        std::thread::sleep(Duration::from_millis(behaviour.version_ms));
        println!("Scripted\nVersion: {}", behaviour.version);
        return Ok(());
    }
    let [folder, port] = args.as_slice() else { return Err(std::io::Error::other("folder and port")) };
    let folder = PathBuf::from(folder);
    let lock = OpenOptions::new().create(true).append(true).open(folder.join("LOCK"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        note(&folder, "double");
        std::process::exit(1);
    }
    note(&folder, &format!("started {}", behaviour.version));
    if let Some(code) = behaviour.crash {
        std::process::exit(code);
    }
    if behaviour.child {
        std::process::Command::new("sleep").arg("600").spawn()?;
    }
    let base = std::fs::read_to_string(folder.join("head")).ok().and_then(|h| h.parse().ok()).unwrap_or(100);
    let node = Arc::new(Node { behaviour, started: Instant::now(), folder, base });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = format!("127.0.0.1:{port}");
    let code = runtime.block_on(live(Arc::clone(&node), address))?;
    std::process::exit(code)
}

async fn live(node: Arc<Node>, address: String) -> std::io::Result<i32> {
    let mut terminate = signal(SignalKind::terminate())?;
    let server = Arc::clone(&node);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(server.behaviour.rpc_after_ms)).await;
        let Ok(listener) = TcpListener::bind(&address).await else { std::process::exit(3) };
        while let Ok((stream, _)) = listener.accept().await {
            let node = Arc::clone(&server);
            tokio::spawn(async move { node.serve(stream).await });
        }
    });
    loop {
        terminate.recv().await;
        node.note("term");
        if node.behaviour.ignore_term {
            continue;
        }
        tokio::time::sleep(Duration::from_millis(node.behaviour.flush_ms)).await;
        std::fs::write(node.folder.join("head"), node.head().to_string())?;
        node.note("flushed");
        return Ok(0);
    }
}
