//! The chain client of the measurement: this program under another name and with padding behind its last byte, so that
//! it weighs what a real one does. It writes down to the nanosecond when it was executed and when it ended, and
//! answers what an agent asks.
use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// First argument that makes this program a node.
pub(super) const COMMAND: &str = "__supervised-node";
/// What it is on.
pub(super) const CHAIN_ID: u64 = 1337;
/// Height of its head when it starts.
pub(super) const FIRST_HEAD: u64 = 100;
const OWN: &str = "0x1111111111111111111111111111111111111111";
/// Validators and seals in an answer: as many as a large network has.
const VALIDATORS: u64 = 21;

/// Nanoseconds since 1970, the clock of the events.
pub(super) fn now_ns() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Is the node when the command line says so: `__supervised-node FOLDER PORT BLOCK_MS`. The first thing `main` does.
pub fn lived() -> Option<ExitCode> {
    let executed = now_ns();
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(COMMAND) => {}
        // What a pre-flight asks of a release; only this program under another name is one.
        Some("version") if std::env::args().next().is_some_and(|a| !a.ends_with("loadtest")) => {
            println!("supervised-node {}", env!("CARGO_PKG_VERSION"));
            return Some(ExitCode::SUCCESS);
        }
        _ => return None,
    }
    let args: Vec<String> = args.collect();
    let [folder, port, block_ms] = args.as_slice() else {
        eprintln!("{COMMAND} needs a folder, a port and milliseconds between blocks");
        return Some(ExitCode::FAILURE);
    };
    Some(match live(Path::new(folder), port, block_ms, executed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Appends an event in one write.
fn note(folder: &Path, what: &str, at: u128) -> Result<()> {
    let mut file = std::fs::File::options().create(true).append(true).open(folder.join("events"))?;
    Ok(file.write_all(format!("{what} {} {at}\n", std::process::id()).as_bytes())?)
}

fn live(folder: &Path, port: &str, block_ms: &str, executed: u128) -> Result<()> {
    note(folder, "executed", executed)?;
    let block = Duration::from_millis(block_ms.parse().context("milliseconds between blocks")?);
    let address = format!("127.0.0.1:{port}");
    let chain = Chain { started: Instant::now(), block: block.max(Duration::from_millis(1)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let listener = tokio::net::TcpListener::bind(&address).await.with_context(|| address.clone())?;
        let app = Router::new().route("/", post(answer)).with_state(chain);
        tokio::select! {
            served = axum::serve(listener, app) => served?,
            _ = terminate.recv() => {}
        }
        note(folder, "ended", now_ns())?;
        // Nothing after that line takes time: the kernel ends the process.
        std::process::exit(0)
    })
}

#[derive(Debug, Clone, Copy)]
struct Chain {
    started: Instant,
    block: Duration,
}

impl Chain {
    fn head(&self) -> u64 {
        let blocks = self.started.elapsed().as_nanos() / self.block.as_nanos();
        FIRST_HEAD + u64::try_from(blocks).unwrap_or(0)
    }
}

fn hash(n: u64) -> String {
    format!("0x{n:064x}")
}

/// A header as long as a real one.
fn block(n: u64) -> Value {
    json!({"number": format!("0x{n:x}"), "hash": hash(n), "parentHash": hash(n.saturating_sub(1)), "stateRoot": hash(n),
        "receiptsRoot": hash(n), "transactionsRoot": hash(n), "timestamp": format!("0x{:x}", 1_700_000_000 + n),
        "miner": OWN, "gasLimit": "0x6422c40", "gasUsed": "0x5208", "difficulty": "0x1", "transactions": [],
        "logsBloom": format!("0x{}", "00".repeat(256)), "extraData": format!("0x{}", "ab".repeat(300))})
}

fn validators() -> Vec<String> {
    (0..VALIDATORS - 1).map(|n| format!("0x{n:040x}")).chain([OWN.to_owned()]).collect()
}

async fn answer(State(chain): State<Chain>, Json(request): Json<Value>) -> Json<Value> {
    let param = request["params"][0].as_str().unwrap_or_default();
    let result = match request["method"].as_str().unwrap_or_default() {
        "eth_chainId" => json!(format!("0x{CHAIN_ID:x}")),
        "eth_blockNumber" => json!(format!("0x{:x}", chain.head())),
        "eth_getBlockByNumber" => {
            let number = param.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
            block(number.unwrap_or_else(|| chain.head()))
        }
        "net_peerCount" => json!("0x14"),
        "eth_syncing" => json!(false),
        "web3_clientVersion" => json!("Supervised/v1"),
        "admin_nodeInfo" => json!({"protocols": {"eth": {"config": {"bohoBlock": 40}}}}),
        "istanbul_nodeAddress" => json!(OWN),
        "istanbul_getValidators" => json!(validators()),
        "istanbul_getWbftExtraInfo" => {
            json!({"prevCommittedSeal": {"sealers": validators(), "signature": format!("0x{}", "cd".repeat(96))}})
        }
        other => {
            let error = json!({"code": -32601, "message": format!("the method {other} does not exist")});
            return Json(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}));
        }
    };
    Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_what_an_agent_asks() {
        let chain = Chain { started: Instant::now(), block: Duration::from_secs(3600) };
        let ask = |method: &str, params: Value| {
            answer(State(chain), Json(json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params})))
        };
        let Json(head) = ask("eth_getBlockByNumber", json!(["latest", false])).await;
        assert_eq!((&head["id"], &head["result"]["number"]), (&json!(3), &json!("0x64")));
        let Json(seals) = ask("istanbul_getWbftExtraInfo", json!(["0x64"])).await;
        let sealers = seals["result"]["prevCommittedSeal"]["sealers"].as_array().unwrap();
        assert!(sealers.contains(&json!(OWN)) && sealers.len() == 21);
        let Json(unknown) = ask("debug_setHead", json!([])).await;
        assert_eq!(unknown["error"]["code"], json!(-32601));
    }
}
