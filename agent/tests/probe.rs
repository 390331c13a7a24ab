//! Looking at a node over HTTP and over its IPC socket: what is asked, how often, and what an answer that
//! cannot be used makes of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
use agent::health::Sealing;
use agent::probe::{ProbeError, Prober};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

const OWN: &str = "0x1111111111111111111111111111111111111111";
const OTHER: &str = "0x2222222222222222222222222222222222222222";

/// How the node answers on its connections.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// As it should.
    Proper,
    /// One answer for each connection.
    OneEach,
    /// Never.
    Silent,
    /// Without an end.
    Endless,
    /// One byte at a time, after a notification and an answer to somebody else.
    Chatty,
}

/// A node that says what it is told to.
struct Chain {
    head: Value,
    syncing: Value,
    validators: Option<Vec<&'static str>>,
    /// Blocks below this carry the node's seal.
    sealed_below: u64,
    manner: Manner,
    asked: Vec<String>,
    connections: usize,
}

type Shared = Arc<Mutex<Chain>>;

fn chain(head: u64) -> Shared {
    Arc::new(Mutex::new(Chain {
        head: json!(format!("0x{head:x}")),
        syncing: json!(false),
        validators: None,
        sealed_below: 0,
        manner: Manner::Proper,
        asked: Vec::new(),
        connections: 0,
    }))
}

fn hash(n: u64) -> String {
    format!("0x{:064x}", n + 1)
}

impl Chain {
    fn block(&self, said: &str) -> Value {
        let height = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let number = if said == "latest" { self.head.clone() } else { json!(said) };
        let n = number.as_str().and_then(height).unwrap_or(0);
        json!({"number": number, "hash": hash(n), "stateRoot": hash(n), "receiptsRoot": hash(n),
            "timestamp": "0x65", "parentHash": hash(n.saturating_sub(1))})
    }

    fn answer(&mut self, request: &Value) -> Value {
        let method = request["method"].as_str().unwrap();
        let param = request["params"][0].as_str().unwrap_or_default();
        self.asked.push(format!("{method} {param}").trim_end().to_owned());
        let result = match method {
            "eth_getBlockByNumber" => self.block(param),
            "eth_chainId" => json!("0x539"),
            "eth_syncing" => self.syncing.clone(),
            "net_peerCount" => json!("0x4"),
            "web3_clientVersion" => json!("Gstable/v1"),
            "admin_nodeInfo" => json!({"protocols": {"eth": {"config": {"bohoBlock": 9}}}}),
            "istanbul_nodeAddress" if self.validators.is_some() => json!(OWN),
            "istanbul_getValidators" if self.validators.is_some() => json!(self.validators),
            "istanbul_getWbftExtraInfo" if self.validators.is_some() => {
                let height = u64::from_str_radix(&param[2..], 16).unwrap();
                let own = (height - 1 < self.sealed_below).then_some(OWN);
                let sealers: Vec<&str> = own.into_iter().chain([OTHER]).collect();
                json!({"prevCommittedSeal": {"sealers": sealers, "signature": "0x"}})
            }
            _ => {
                let error = json!({"code": -32601, "message": format!("the method {method} does not exist")});
                return json!({"jsonrpc": "2.0", "id": request["id"], "error": error});
            }
        };
        json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
    }

    fn count(&self, what: &str) -> usize {
        self.asked.iter().filter(|a| a.starts_with(what)).count()
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, chain: Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let manner = chain.lock().unwrap().manner;
        match manner {
            Manner::Silent => return std::future::pending().await,
            Manner::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n[\"").await?;
                return endless(&mut stream).await;
            }
            _ => {}
        }
        let body = chain.lock().unwrap().answer(&serde_json::from_slice(&body).unwrap()).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await?;
        // Closed without a word, as a server does with a connection that was idle for long.
        if manner == Manner::OneEach {
            return stream.shutdown().await;
        }
    }
}

async fn endless(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    loop {
        stream.write_all(&[b'x'; 64 << 10]).await?;
    }
}

async fn ipc(mut stream: impl AsyncRead + AsyncWrite + Unpin, chain: Shared) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        let Ok(request) = serde_json::from_slice::<Value>(&read) else { continue };
        read.clear();
        let manner = chain.lock().unwrap().manner;
        if manner == Manner::Endless {
            stream.write_all(b"{\"a\":\"").await?;
            return endless(&mut stream).await;
        }
        let answer = chain.lock().unwrap().answer(&request).to_string();
        if manner == Manner::Chatty {
            let notice = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": {"a": "}]"}});
            let other = json!({"jsonrpc": "2.0", "id": 99_999, "result": "0x0"});
            for byte in format!("{notice}\n{other}{answer}").bytes() {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
            }
        } else {
            stream.write_all(answer.as_bytes()).await?;
        }
        if manner == Manner::OneEach {
            return Ok(());
        }
    }
}

/// Ends the server with the test.
struct Server(String, JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn over_http(chain: &Shared) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let chain = Arc::clone(chain);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            chain.lock().unwrap().connections += 1;
            tokio::spawn(http(stream, Arc::clone(&chain)));
        }
    });
    Server(address, task)
}

fn over_ipc(chain: &Shared, path: &Path, bind_at: &Path) -> Server {
    let listener = UnixListener::bind(bind_at).unwrap();
    let chain = Arc::clone(chain);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            chain.lock().unwrap().connections += 1;
            tokio::spawn(ipc(stream, Arc::clone(&chain)));
        }
    });
    Server(path.display().to_string(), task)
}

fn prober(server: &Server) -> Prober {
    Prober::new(server.0.clone()).unwrap()
}

fn set_head(chain: &Shared, head: u64) {
    chain.lock().unwrap().head = json!(format!("0x{head:x}"));
}

#[tokio::test]
async fn one_connection_facts_once_and_known_blocks_never_again() {
    let chain = chain(20);
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    let look = prober.look(7).await;
    assert!(look.health.rpc_up && !look.head_advanced);
    let heights =
        |look: &agent::probe::Look| -> Vec<u64> { look.health.recent.iter().map(|b| b.height).collect() };
    assert_eq!(heights(&look), (13..=20).collect::<Vec<_>>());
    assert_eq!(
        (look.health.chain_id, look.health.peers, look.health.syncing),
        (Some(1337), Some(4), Some(false))
    );
    assert_eq!(look.health.forks[0].height, 9);
    set_head(&chain, 22);
    let look = prober.look(7).await;
    assert!(look.head_advanced && look.health.head_advanced_at.is_some());
    assert_eq!(heights(&look), (15..=22).collect::<Vec<_>>());
    prober.look(7).await;
    let chain = chain.lock().unwrap();
    assert_eq!(chain.connections, 1, "the connection is kept");
    for once in ["eth_chainId", "web3_clientVersion", "admin_nodeInfo", "istanbul_nodeAddress"] {
        assert_eq!(chain.count(once), 1, "{once}");
    }
    assert_eq!(chain.count("eth_getBlockByNumber latest"), 3);
    assert_eq!((chain.count("net_peerCount"), chain.count("eth_syncing")), (1, 1), "they change slowly");
    // Genesis, the seven before the first head, and the one between the two heads.
    assert_eq!(chain.count("eth_getBlockByNumber 0x"), 9, "{:?}", chain.asked);
}

#[tokio::test]
async fn a_node_that_syncs_is_asked_every_time_until_it_does_not() {
    let chain = chain(20);
    chain.lock().unwrap().validators = Some(vec![OWN]);
    chain.lock().unwrap().syncing = json!({"currentBlock": "0x14", "highestBlock": "0x99"});
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    for _ in 0..2 {
        let look = prober.look(7).await;
        assert_eq!((look.health.syncing, look.sealing), (Some(true), None));
    }
    chain.lock().unwrap().syncing = json!(false);
    let look = prober.look(7).await;
    assert_eq!(look.health.syncing, Some(false));
    assert!(look.sealing.is_some_and(|s| s.validator));
    chain.lock().unwrap().syncing = json!({"currentBlock": "0x14", "highestBlock": "0x99"});
    for known in [false, false, true] {
        assert_eq!(prober.look(7).await.health.syncing, Some(known));
    }
}

#[tokio::test]
async fn another_process_is_learnt_anew() {
    let chain = chain(20);
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    prober.look(7).await;
    set_head(&chain, 21);
    let look = prober.look(8).await;
    assert!(!look.head_advanced, "it did not advance in the life of this process");
    assert_eq!(chain.lock().unwrap().count("web3_clientVersion"), 2);
}

#[tokio::test]
async fn a_connection_that_was_closed_is_opened_again() {
    let chain = chain(3);
    chain.lock().unwrap().manner = Manner::OneEach;
    let server = over_http(&chain).await;
    let look = prober(&server).look(7).await;
    assert_eq!((look.health.recent.len(), look.health.peers), (4, Some(4)));
    assert!(look.health.chain_id.is_some() && look.health.client_version.is_some());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("geth.ipc");
    let server = over_ipc(&chain, &path, &path);
    let look = prober(&server).look(7).await;
    assert_eq!((look.health.recent.len(), look.health.peers), (4, Some(4)));
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_never_zero() {
    let chain = chain(20);
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    assert_eq!(prober.look(7).await.health.head().unwrap().height, 20);
    for head in [json!("twenty"), json!(20), json!(null), json!("0x"), json!("0x1ffffffffffffffff")] {
        chain.lock().unwrap().head = head.clone();
        let look = prober.look(7).await;
        assert!(!look.health.rpc_up && look.health.head().is_none(), "{head}: {look:?}");
        assert!(!look.head_advanced, "{head}");
    }
    set_head(&chain, 21);
    let look = prober.look(7).await;
    assert_eq!(look.health.head().unwrap().height, 21);
    assert!(look.head_advanced, "what was known before is still known");
    drop(server);
    let nobody = Prober::new("http://127.0.0.1:1".to_owned()).unwrap().look(7).await;
    assert!(!nobody.health.rpc_up && nobody.health.head().is_none());
}

#[tokio::test]
async fn the_ipc_socket_is_asked_also_where_its_path_is_long() {
    let chain = chain(20);
    chain.lock().unwrap().manner = Manner::Chatty;
    chain.lock().unwrap().validators = Some(vec![OTHER, OWN]);
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let link = folder.path().join("l");
    std::os::unix::fs::symlink(&deep, &link).unwrap();
    let path = deep.join("geth.ipc");
    let server = over_ipc(&chain, &path, &link.join("geth.ipc"));
    assert!(path.as_os_str().len() > 200);
    let mut prober = prober(&server);
    let look = prober.look(7).await;
    assert_eq!(look.health.head().unwrap().height, 20);
    assert_eq!(look.health.peers, Some(4), "an answer to somebody else was taken");
    assert!(look.sealing.unwrap().validator);
    set_head(&chain, 21);
    assert!(prober.look(7).await.head_advanced);
    assert_eq!(chain.lock().unwrap().connections, 1);
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let chain = chain(20);
    chain.lock().unwrap().manner = Manner::Endless;
    let http = over_http(&chain).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("geth.ipc");
    let ipc = over_ipc(&chain, &path, &path);
    for server in [&http, &ipc] {
        let mut prober = prober(server);
        chain.lock().unwrap().manner = Manner::Endless;
        assert!(!prober.look(7).await.health.rpc_up, "{}", server.0);
        chain.lock().unwrap().manner = Manner::Proper;
        assert!(prober.look(7).await.health.rpc_up, "{}", server.0);
    }
}

#[tokio::test]
async fn a_node_that_says_nothing_is_unknown_until_it_does() {
    let chain = chain(20);
    chain.lock().unwrap().manner = Manner::Silent;
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    assert!(!prober.look(7).await.health.rpc_up);
    chain.lock().unwrap().manner = Manner::Proper;
    assert!(prober.look(7).await.health.rpc_up);
    assert_eq!(chain.lock().unwrap().connections, 2, "the silent connection is not used again");
}

#[tokio::test]
async fn a_validator_shows_which_blocks_carry_its_seal() {
    let chain = chain(20);
    chain.lock().unwrap().validators = Some(vec![OTHER, OWN]);
    chain.lock().unwrap().sealed_below = 17;
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    // The head itself proves nothing yet: blocks 12 to 19, of which 12 to 16 are sealed.
    let first = prober.look(7).await.sealing;
    assert_eq!(first, Some(Sealing { validator: true, window: 8, seen: 5, last_height: Some(16) }));
    set_head(&chain, 22);
    chain.lock().unwrap().sealed_below = 100;
    let second = prober.look(7).await.sealing;
    assert_eq!(second, Some(Sealing { validator: true, window: 10, seen: 7, last_height: Some(21) }));
    assert_eq!(chain.lock().unwrap().count("istanbul_getWbftExtraInfo"), 10, "no block is asked about twice");
    assert_eq!(chain.lock().unwrap().count("istanbul_getValidators"), 1);
    // The set is asked for again in time, and nothing is expected of who is not in it.
    chain.lock().unwrap().validators = Some(vec![OTHER]);
    set_head(&chain, 80);
    let third = prober.look(7).await.sealing;
    assert_eq!(third, Some(Sealing { validator: false, window: 0, seen: 0, last_height: Some(21) }));
}

#[tokio::test]
async fn a_closed_namespace_is_asked_once_and_says_nothing() {
    let chain = chain(20);
    let server = over_http(&chain).await;
    let mut prober = prober(&server);
    for head in 20..24 {
        set_head(&chain, head);
        let look = prober.look(7).await;
        assert!(look.health.rpc_up && look.sealing.is_none());
    }
    assert_eq!(chain.lock().unwrap().count("istanbul_"), 1);
}

#[test]
fn addresses_are_http_or_an_absolute_path() {
    for good in
        ["http://127.0.0.1:8545", "http://[::1]:8545/x?y", "https://user:word@node.example/", "/run/geth.ipc"]
    {
        assert!(Prober::new(good.to_owned()).is_ok(), "{good}");
    }
    for bad in ["", "geth.ipc", "ws://127.0.0.1:8546", "127.0.0.1:8545", "http://"] {
        let refused = Prober::new(bad.to_owned()).unwrap_err();
        assert!(matches!(&refused, ProbeError::Address { address, .. } if address == bad), "{bad}");
        assert!(refused.to_string().contains("IPC socket"), "it says what to do: {refused}");
    }
}
