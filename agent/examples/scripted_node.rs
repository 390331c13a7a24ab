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
    /// Starts a process that leaves the session.
    deserter: bool,
    /// Time between blocks in milliseconds.
    block_ms: u64,
    /// Ends by itself before this height is made, with `exit_code`; refuses to start again there.
    exit_at: Option<u64>,
    exit_code: i32,
    /// As `exit_at`, by SIGABRT.
    panic_at: Option<u64>,
    /// Stands still before this height, with RPC up.
    halt_at: Option<u64>,
    /// Refuses to start below this height (a release that came too early).
    not_below: Option<u64>,
    /// Writes this plan file into its folder when `plan_at` is reached.
    plan: Option<Value>,
    plan_at: u64,
    /// Exit codes of `pre-upgrade`, one a call; the last one stays.
    pre_upgrade: Vec<i32>,
    /// Prints a numbered line this often, in milliseconds; 0 is never.
    chatter_ms: u64,
    /// No RPC at all.
    mute: bool,
    /// The block time of the head stands this far behind, in seconds.
    behind_s: u64,
    peers: Option<u64>,
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
            deserter: false,
            block_ms: 50,
            exit_at: None,
            exit_code: 0,
            panic_at: None,
            halt_at: None,
            not_below: None,
            plan: None,
            plan_at: 0,
            pre_upgrade: Vec::new(),
            chatter_ms: 0,
            mute: false,
            behind_s: 0,
            peers: Some(3),
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
        let made =
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0) / self.behaviour.block_ms.max(1);
        (self.base + made).min(self.last())
    }

    /// The last block this release makes.
    fn last(&self) -> u64 {
        let b = &self.behaviour;
        let ends = [b.exit_at, b.panic_at, b.halt_at].into_iter().flatten().min();
        ends.map_or(u64::MAX, |h| h.saturating_sub(1))
    }

    fn keep_head(&self) {
        let _ = std::fs::write(self.folder.join("head"), self.head().to_string());
    }

    fn block(&self, number: u64) -> Value {
        let hash = |n: u64, kind: u8| format!("0x{:02x}{:062x}", kind, n);
        json!({"number": format!("0x{number:x}"), "hash": hash(number, 1), "stateRoot": hash(number, 2),
            "receiptsRoot": hash(number, 3), "timestamp": format!("0x{:x}", self.time(number)),
            "parentHash": hash(number.saturating_sub(1), 1)})
    }

    /// Block times that end with now at the head.
    fn time(&self, number: u64) -> u64 {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        (now - self.behaviour.behind_s)
            .saturating_sub(self.head().saturating_sub(number) * self.behaviour.block_ms / 1000)
    }

    fn answer(&self, request: &Value) -> Value {
        match request["method"].as_str().unwrap_or_default() {
            "eth_chainId" => json!("0x2327"),
            "eth_getBlockByNumber" => {
                let said = request["params"][0].as_str().unwrap_or("latest");
                let number = said.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
                self.block(number.unwrap_or_else(|| self.head()))
            }
            "net_peerCount" => self.behaviour.peers.map_or(Value::Null, |n| json!(format!("0x{n:x}"))),
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

impl Node {
    /// Numbered lines on standard output.
    async fn chat(self: Arc<Self>) {
        let every = self.behaviour.chatter_ms;
        if every == 0 {
            return;
        }
        for number in 0_u64.. {
            println!("line {} {number}", std::process::id());
            tokio::time::sleep(Duration::from_millis(every)).await;
        }
    }
}

/// JSON-RPC over a unix socket, as geth's IPC: values one after the other, nothing between them.
async fn serve_ipc(node: Arc<Node>, path: &str) {
    let _ = std::fs::remove_file(path);
    let Ok(listener) = tokio::net::UnixListener::bind(path) else { std::process::exit(3) };
    while let Ok((mut stream, _)) = listener.accept().await {
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
                let mut values = serde_json::Deserializer::from_slice(&buffer).into_iter::<Value>();
                let mut answers = Vec::new();
                while let Some(Ok(request)) = values.next() {
                    answers.push(
                        json!({"jsonrpc": "2.0", "id": request["id"], "result": node.answer(&request)}),
                    );
                }
                let read = values.byte_offset();
                buffer.drain(..read);
                for answer in answers {
                    if stream.write_all(answer.to_string().as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// Each call takes the next exit code; the calls are counted beside the executable.
fn pre_upgrade(behaviour: &Behaviour) -> i32 {
    let Some(home) = std::env::var_os("DAEMON_HOME").map(PathBuf::from) else { return 99 };
    let calls = home.join("pre-upgrade-calls");
    let text = std::fs::read_to_string(&calls).unwrap_or_default();
    let _ = std::fs::write(&calls, format!("{text}{}\n", behaviour.version));
    let done = text.lines().filter(|l| *l == behaviour.version).count();
    // As geth does with a command it does not know.
    behaviour.pre_upgrade.get(done).or(behaviour.pre_upgrade.last()).copied().unwrap_or(1)
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
    if args.first().is_some_and(|a| a == "pre-upgrade") {
        std::process::exit(pre_upgrade(&behaviour));
    }
    if args.first().is_some_and(|a| a == "attach") {
        println!("attached with {}", args[1..].join(" "));
        return Ok(());
    }
    let [folder, port, rest @ ..] = args.as_slice() else {
        return Err(std::io::Error::other("folder and port"));
    };
    let folder = PathBuf::from(folder);
    if !rest.is_empty() {
        note(&folder, &format!("args {}", rest.join("|")));
    }
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
    if behaviour.deserter {
        std::process::Command::new("setsid").args(["sleep", "600"]).spawn()?;
    }
    let base = std::fs::read_to_string(folder.join("head")).ok().and_then(|h| h.parse().ok()).unwrap_or(100);
    if behaviour.exit_at.is_some_and(|h| base + 1 >= h) || behaviour.not_below.is_some_and(|h| base + 1 < h) {
        note(&folder, "refused");
        std::process::exit(behaviour.exit_code.max(1));
    }
    let node = Arc::new(Node { behaviour, started: Instant::now(), folder, base });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = if port.starts_with('/') { port.clone() } else { format!("127.0.0.1:{port}") };
    let code = runtime.block_on(live(Arc::clone(&node), address))?;
    std::process::exit(code)
}

async fn live(node: Arc<Node>, address: String) -> std::io::Result<i32> {
    let mut terminate = signal(SignalKind::terminate())?;
    let server = Arc::clone(&node);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(server.behaviour.rpc_after_ms)).await;
        if server.behaviour.mute {
            return;
        }
        if address.starts_with('/') {
            return serve_ipc(server, &address).await;
        }
        let Ok(listener) = TcpListener::bind(&address).await else { std::process::exit(3) };
        while let Ok((stream, _)) = listener.accept().await {
            let node = Arc::clone(&server);
            tokio::spawn(async move { node.serve(stream).await });
        }
    });
    tokio::spawn(Arc::clone(&node).chat());
    let (mut planned, mut blocks) = (false, tokio::time::interval(Duration::from_millis(5)));
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = blocks.tick() => {
                if node.head() >= node.behaviour.plan_at && !planned && node.behaviour.plan.is_some() {
                    planned = true;
                    let text = node.behaviour.plan.as_ref().map(Value::to_string).unwrap_or_default();
                    std::fs::write(node.folder.join("upgrade-info.json"), text)?;
                }
                if node.behaviour.exit_at.is_some_and(|h| node.head() + 1 >= h) {
                    node.keep_head();
                    node.note("halted");
                    return Ok(node.behaviour.exit_code);
                }
                if node.behaviour.panic_at.is_some_and(|h| node.head() + 1 >= h) {
                    node.keep_head();
                    node.note("halted");
                    std::process::abort();
                }
                continue;
            }
        }
        node.note("term");
        if node.behaviour.ignore_term {
            continue;
        }
        tokio::time::sleep(Duration::from_millis(node.behaviour.flush_ms)).await;
        node.keep_head();
        node.note("flushed");
        return Ok(0);
    }
}
