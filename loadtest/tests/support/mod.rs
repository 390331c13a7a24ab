//! What the tests of the development network share.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]
use common::chain::Fork;
use loadtest::devnet::{Network, NetworkSpec, Rpc, make_release, wait_until};
use loadtest::devnode::{Behaviour, Release};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const NODE: &str = env!("CARGO_BIN_EXE_devnode");
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A network in a temporary folder; the folder goes after the processes.
pub struct World {
    pub net: Network,
    pub dir: tempfile::TempDir,
}

impl World {
    pub async fn new(validators: usize, rpc_nodes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = NetworkSpec::new(dir.path().join("net"), NODE);
        spec.validators = validators;
        spec.rpc_nodes = rpc_nodes;
        spec.block_ms = 100;
        spec.request_timeout_ms = 250;
        spec.flush_ms = 100;
        Self { net: Network::create(&spec).await.unwrap(), dir }
    }

    pub async fn running(validators: usize, rpc_nodes: usize) -> Self {
        let world = Self::new(validators, rpc_nodes).await;
        world.net.start_all(Path::new(NODE)).unwrap();
        world
    }

    pub fn release(&self, version: &str, forks: &[(&str, u64)], behaviour: Behaviour) -> PathBuf {
        let out = self.dir.path().join(format!("devnode-{version}-{behaviour}"));
        let forks = forks.iter().map(|(n, h)| Fork { name: (*n).into(), height: *h }).collect();
        let release = Release { version: version.parse().unwrap(), forks, behaviour };
        make_release(Path::new(NODE), &release, &out).unwrap();
        out
    }

    pub fn rpc(&self, name: &str) -> Rpc {
        self.net.rpc(name).unwrap()
    }

    pub fn address(&self, name: &str) -> String {
        self.net.node(name).unwrap().address.to_string()
    }

    pub async fn reaches(&self, name: &str, height: u64) -> u64 {
        let rpc = self.rpc(name);
        let what = format!("{name} at {height}");
        let found = wait_until(&what, PATIENCE, || {
            let rpc = rpc.clone();
            async move { rpc.head().await.ok().filter(|h| *h >= height) }
        })
        .await;
        found.unwrap_or_else(|e| panic!("{e}\n{}", self.log(name)))
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(&self.net.node(name).unwrap().log).unwrap_or_default()
    }

    pub async fn anvil_head(&self) -> u64 {
        Rpc::new(&self.net.file().anvil_url).unwrap().head().await.unwrap()
    }

    /// Stops what runs, then holds the records against the execution layer: one block per record, the same hashes.
    pub async fn one_chain(&self) -> u64 {
        for node in self.net.nodes() {
            let _ = self.net.kill9(node.name.as_str()).await;
        }
        let records = self.net.record_count().unwrap();
        let head = self.anvil_head().await;
        // The last record may lack its block: its proposer was killed between the two.
        assert!(head == records || head + 1 == records, "{records} records, execution layer at {head}");
        let anvil = Rpc::new(&self.net.file().anvil_url).unwrap();
        for height in 1..=records {
            let path = self.net.file().commit_dir.join(format!("seals/{height}.json"));
            let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(record["height"], json!(height));
            if record.get("hash").is_none() {
                assert_eq!(height, records, "only the last record may be without a hash");
                continue;
            }
            let block =
                anvil.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await.unwrap();
            assert_eq!(block["hash"], record["hash"], "block {height}");
            assert_eq!(block["miner"], record["proposer"], "block {height}");
        }
        records
    }
}

/// A decoded extra of a block.
pub async fn extra(rpc: &Rpc, height: u64) -> Value {
    rpc.call("istanbul_getWbftExtraInfo", json!([format!("{height:#x}")])).await.unwrap()
}

/// Whether `who` is in block `height`'s proof of the block before.
pub async fn sealed_before(rpc: &Rpc, height: u64, who: &str) -> bool {
    let info = extra(rpc, height).await;
    info["prevCommittedSeal"]["sealers"].as_array().unwrap().iter().any(|s| s == who)
}
