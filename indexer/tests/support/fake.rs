//! A chain in memory behind endpoints that can be made to lag, lie, refuse or fall silent.
use common::chain::{Address, Hash32};
use common::release::Digest;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

pub fn address(n: u8) -> Address {
    Address([n; 20])
}

/// One block: a salt that makes its hash, who sealed it, its logs.
#[derive(Clone, Default)]
pub struct Block {
    pub salt: u8,
    pub sealers: Vec<Address>,
    pub round: u64,
    pub logs: Vec<Value>,
}

/// What one endpoint serves.
#[derive(Clone)]
pub struct Chain {
    pub blocks: Vec<Block>,
    /// `None`: there is no istanbul namespace.
    pub validators: Option<Vec<Address>>,
    /// Largest range of blocks for logs; a larger one gets HTTP 413.
    pub most_blocks: Option<u64>,
    /// Blocks whose logs are left out, without an error.
    pub forgets: Vec<u64>,
    /// About every other request, in no rhythm, is answered by a backend that has only so many blocks.
    pub stale: Option<usize>,
    /// Whether every request fails with HTTP 500.
    pub down: bool,
    /// A fixed body instead of an answer.
    pub body: Option<String>,
    pub chain_id: u64,
    pub requests: u64,
}

impl Chain {
    pub fn of(length: usize) -> Self {
        Self {
            blocks: vec![Block::default(); length],
            validators: None,
            most_blocks: None,
            forgets: Vec::new(),
            stale: None,
            down: false,
            body: None,
            chain_id: 1337,
            requests: 0,
        }
    }

    pub fn hash(&self, height: usize) -> Hash32 {
        let salts: Vec<u8> = self.blocks[..=height].iter().map(|b| b.salt).collect();
        Hash32(Digest::of(&salts).0)
    }

    fn header(&self, height: usize) -> Value {
        if height >= self.blocks.len() {
            return Value::Null;
        }
        let parent = if height == 0 { Hash32([0; 32]) } else { self.hash(height - 1) };
        json!({"number": format!("{height:#x}"), "hash": self.hash(height), "parentHash": parent,
            "miner": address(height as u8), "stateRoot": Hash32([1; 32]), "receiptsRoot": Hash32([2; 32]),
            "timestamp": format!("{:#x}", 1000 + height)})
    }

    fn height(&self, tag: &Value) -> usize {
        let text = tag.as_str().unwrap_or_default();
        match text.strip_prefix("0x") {
            Some(digits) => usize::from_str_radix(digits, 16).unwrap(),
            None => self.blocks.len() - 1,
        }
    }

    fn logs(&self, filter: &Value) -> Value {
        let (from, to) = (self.height(&filter["fromBlock"]), self.height(&filter["toBlock"]));
        // As a node does: past its head the list is short, without an error.
        let heights = from..(to + 1).min(self.blocks.len());
        let mut logs = Vec::new();
        for height in heights.filter(|h| !self.forgets.contains(&(*h as u64))) {
            for (index, log) in self.blocks[height].logs.iter().enumerate() {
                let mut log = log.clone();
                log["blockNumber"] = json!(format!("{height:#x}"));
                log["blockHash"] = json!(self.hash(height));
                log["logIndex"] = json!(format!("{index:#x}"));
                log["transactionHash"] = json!(Hash32([7; 32]));
                logs.push(log);
            }
        }
        Value::Array(logs)
    }

    fn extra(&self, height: usize) -> Value {
        let before = &self.blocks[height - 1];
        let seal = |sealers: &[Address]| json!({"sealers": sealers, "signature": "0x"});
        json!({"vanityData": "0x", "prevRound": before.round, "prevCommittedSeal": seal(&before.sealers),
            "round": self.blocks[height].round, "gasTip": "0", "epochInfo": null})
    }

    fn answer(&self, call: &Value) -> Value {
        let params = &call["params"];
        let result = match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => json!(format!("{:#x}", self.chain_id)),
            "eth_getBlockByNumber" if params[0] == "finalized" => Value::Null,
            "eth_getBlockByNumber" => self.header(self.height(&params[0])),
            "eth_getLogs" => self.logs(&params[0]),
            "istanbul_getValidators" if self.validators.is_some() => json!(self.validators),
            "istanbul_getWbftExtraInfo" if self.validators.is_some() => self.extra(self.height(&params[0])),
            other => {
                let error = json!({"code": -32601, "message": format!("the method {other} does not exist/is not available")});
                return json!({"jsonrpc": "2.0", "id": call["id"], "error": error});
            }
        };
        json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
    }

    fn serve(&mut self, request: &Value) -> (u16, String) {
        self.requests += 1;
        if self.down {
            return (500, String::new());
        }
        if let Some(body) = &self.body {
            return (200, body.clone());
        }
        let unlucky = (self.requests.wrapping_mul(2_654_435_761) >> 13).is_multiple_of(2);
        if let Some(length) = self.stale.filter(|_| unlucky) {
            let mut behind = Self { stale: None, ..self.clone() };
            behind.blocks.truncate(length);
            return behind.serve(request);
        }
        let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
        let too_wide = |call: &Value| {
            let filter = &call["params"][0];
            call["method"] == "eth_getLogs"
                && self.most_blocks.is_some_and(|most| {
                    (self.height(&filter["toBlock"]) - self.height(&filter["fromBlock"])) as u64 >= most
                })
        };
        if calls.iter().any(too_wide) {
            return (413, String::new());
        }
        let answers: Vec<Value> = calls.iter().map(|c| self.answer(c)).collect();
        let body = if request.is_array() { Value::Array(answers) } else { answers[0].clone() };
        (200, body.to_string())
    }
}

/// An endpoint; its task ends with the value.
pub struct Fake {
    pub url: String,
    pub chain: Arc<Mutex<Chain>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn serve(chain: Chain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let chain = Arc::new(Mutex::new(chain));
        let shared = Arc::clone(&chain);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(talk(stream, Arc::clone(&shared)));
            }
        });
        Self { url, chain, task }
    }

    pub fn change(&self, change: impl FnOnce(&mut Chain)) {
        change(&mut self.chain.lock().unwrap());
    }
}

async fn talk(stream: tokio::net::TcpStream, chain: Arc<Mutex<Chain>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let (status, body) = chain.lock().ok()?.serve(&serde_json::from_slice(&body).ok()?);
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
