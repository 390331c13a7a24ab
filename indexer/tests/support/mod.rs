//! What the tests share: a real anvil, and the registry on it.
#![allow(dead_code)] // Each test file uses its own part.
pub mod fake;

use anyhow::{Context, Result, bail, ensure};
use common::chain::{Address, Hash32};
use common::id::NodeName;
use common::release::Digest;
use common::time::Span;
use indexer::registry_calls;
use indexer::rpc::{Client, Endpoint, Limits, Pool, RpcError};
use indexer::run::{Finality, IndexConfig};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for anything that must come.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn quick() -> Limits {
    Limits {
        timeout: Span::secs(5),
        deadline: Span::secs(10),
        backoff: Span(5),
        attempts: 3,
        ..Limits::default()
    }
}

pub fn endpoint(label: &str, url: &str) -> Endpoint {
    Endpoint { label: NodeName::new(label).unwrap(), url: url.to_owned() }
}

pub fn pool(urls: &[&str]) -> Arc<Pool> {
    let endpoints: Vec<Endpoint> =
        urls.iter().enumerate().map(|(at, url)| endpoint(&format!("rpc-{}", at + 1), url)).collect();
    Arc::new(Pool::new(&endpoints, quick()).unwrap())
}

/// Polls until `done` gives a value.
pub async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn anvil_path() -> Result<PathBuf> {
    let contracts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contracts");
    let path = contracts.join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    ensure!(path.is_file(), "anvil is not installed at {}: run `make tools`", path.display());
    Ok(path)
}

/// A running anvil; ends with the value.
pub struct Anvil {
    child: Child,
    pub url: String,
    client: Client,
    pub accounts: Vec<Address>,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Anvil {
    /// Starts one that mines a block for each transaction.
    pub async fn start(more: &[&str]) -> Result<Self> {
        let path = anvil_path()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(&path)
            .args(["--silent", "--chain-id", "1337", "--accounts", "4", "--port", &port.to_string()])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", path.display()))?;
        let url = format!("http://127.0.0.1:{port}");
        let once = Limits { attempts: 1, ..quick() };
        let client = Client::new(&endpoint("anvil", &url), once)?;
        let mut anvil = Self { child, url, client, accounts: Vec::new() };
        anvil.accounts = until("anvil", async || anvil.rpc("eth_accounts", json!([])).await.ok())
            .await
            .as_array()
            .context("accounts")?
            .iter()
            .map(|a| a.as_str().unwrap_or_default().to_lowercase().parse())
            .collect::<Result<_, _>>()?;
        Ok(anvil)
    }

    pub async fn rpc(&self, method: &'static str, params: Value) -> Result<Value> {
        Ok(self.client.call(method, params).await?)
    }

    pub async fn height(&self) -> Result<u64> {
        let text: String = serde_json::from_value(self.rpc("eth_blockNumber", json!([])).await?)?;
        Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
    }

    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await?;
        Ok(())
    }

    /// Sends a transaction and waits for its receipt, which must be of success.
    pub async fn send(&self, from: Address, to: Option<Address>, input: &[u8]) -> Result<Value> {
        let mut transaction =
            json!({"from": from, "gas": "0x1c9c380", "input": format!("0x{}", hex::encode(input))});
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await?;
        let receipt = until("receipt", async || {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await.ok()?;
            (!receipt.is_null()).then_some(receipt)
        })
        .await;
        ensure!(receipt["status"] == "0x1", "the transaction failed: {receipt}");
        Ok(receipt)
    }

    /// Calls without a transaction; the revert data when it reverts.
    pub async fn refusal(&self, from: Address, to: Address, input: &[u8]) -> Result<String> {
        let call = json!([{"from": from, "to": to, "input": format!("0x{}", hex::encode(input))}, "latest"]);
        match self.client.call::<Value>("eth_call", call).await {
            Ok(value) => bail!("not refused: {value}"),
            Err(RpcError::Refused { data: Some(data), .. }) => Ok(data),
            Err(error) => Err(error.into()),
        }
    }
}

/// The registry on an anvil, with the first three accounts as members and two votes needed.
pub struct Registry {
    pub address: Address,
    pub deployed_at: u64,
}

impl Registry {
    pub async fn deploy(anvil: &Anvil) -> Result<Self> {
        let input = registry_calls::deploy(&anvil.accounts[..3], 2)?;
        let receipt = anvil.send(anvil.accounts[0], None, &input).await?;
        let address = receipt["contractAddress"].as_str().context("no address")?.to_lowercase().parse()?;
        Ok(Self { address, deployed_at: anvil.height().await? })
    }

    pub async fn propose(&self, anvil: &Anvil, name: &str, height: u64, uri: &str) -> Result<Hash32> {
        let input = registry_calls::propose(name, height, Digest::of(name.as_bytes()), uri);
        let receipt = anvil.send(anvil.accounts[0], Some(self.address), &input).await?;
        registry_calls::proposed_plan(&receipt).context("no plan in the receipt")
    }

    pub async fn vote(&self, anvil: &Anvil, member: usize, plan: Hash32) -> Result<()> {
        anvil.send(anvil.accounts[member], Some(self.address), &registry_calls::vote(plan)).await.map(drop)
    }

    pub async fn cancel(&self, anvil: &Anvil, member: usize, plan: Hash32) -> Result<()> {
        anvil.send(anvil.accounts[member], Some(self.address), &registry_calls::cancel(plan)).await.map(drop)
    }

    pub fn config(&self, finality: Finality) -> IndexConfig {
        IndexConfig {
            chain_id: 1337,
            registry: self.address,
            from_height: self.deployed_at,
            finality,
            poll: Span(10),
            required: 1,
        }
    }
}
