//! A network: its files, its anvil, and the node processes started here.
use super::anvil::{AnvilPlan, find_anvil, start as start_anvil};
use super::error::{DevnetError, file};
use super::plan::{DevNode, NetworkFile, NetworkSpec, Role, genesis, node, peers_toml};
use super::ports::free_ports;
use super::process::{Exit, signal, spawn};
use super::rpc::Rpc;
use crate::devnode::commit::CommitPoint;
use crate::devnode::datadir::Datadir;
use common::id::NodeName;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A network on this machine. Dropping it kills what it started.
///
/// Children are tied to the *thread* that started them: call [`Network::create`] and [`Network::start_node`] from the main
/// thread or a worker of the runtime, not from `spawn_blocking`, whose threads come and go.
#[derive(Debug)]
pub struct Network {
    file: NetworkFile,
    spec: NetworkSpec,
    anvil: Mutex<Child>,
    children: Mutex<BTreeMap<String, Child>>,
}

impl Network {
    /// Makes folders, keys and ports, starts anvil, and writes `network.json`. No node is started.
    ///
    /// # Errors
    /// The specification is impossible, the folder is in use, or anvil does not come up.
    pub async fn create(spec: &NetworkSpec) -> Result<Self, DevnetError> {
        spec.check()?;
        let mut spec = spec.clone();
        let anvil = find_anvil(spec.anvil.as_deref())?;
        make_dirs(&mut spec)?;
        let count = spec.validators + spec.rpc_nodes;
        let ports = free_ports(count * 3 + 1)?;
        let nodes = make_nodes(&spec, &ports)?;
        let url = format!("http://127.0.0.1:{}", ports[count * 3]);
        let validators = nodes.iter().filter(|n| n.role == Role::Validator).map(|n| n.address).collect();
        let genesis = genesis(&spec, validators, &url);
        genesis.check()?;
        for node in &nodes {
            Datadir::new(&node.datadir).init(&genesis)?;
        }
        let genesis_file = spec.dir.join("genesis.json");
        write_json(&genesis_file, &genesis)?;
        write(&spec.dir.join("peers.toml"), peers_toml(&nodes).as_bytes())?;
        let (child, anvil_url) = start_anvil(AnvilPlan {
            anvil: &anvil,
            node_binary: &spec.node_binary,
            port: ports[count * 3],
            chain_id: spec.chain_id,
            log: &spec.dir.join("logs/anvil.log"),
        })
        .await?;
        let anvil_pid = child.id();
        // From here on dropping the network ends anvil, also when the next steps fail.
        let mut network = Self {
            file: NetworkFile {
                chain_id: spec.chain_id,
                genesis_hash: common::chain::Hash32([0; 32]),
                anvil_url,
                anvil_pid,
                block_ms: spec.block_ms,
                request_timeout_ms: spec.request_timeout_ms,
                genesis_file,
                commit_dir: genesis.devnet.commit_dir,
                nodes,
            },
            spec,
            anvil: Mutex::new(child),
            children: Mutex::default(),
        };
        let block = Rpc::new(&network.file.anvil_url)?
            .call("eth_getBlockByNumber", serde_json::json!(["0x0", false]))
            .await?;
        network.file.genesis_hash = block["hash"]
            .as_str()
            .and_then(|h| h.parse().ok())
            .ok_or_else(|| DevnetError::Spec("anvil's block 0 has no hash".to_owned()))?;
        write_json(&network.spec.dir.join("network.json"), &network.file)?;
        Ok(network)
    }

    /// All there is to know about the network, as in `network.json`.
    pub fn file(&self) -> &NetworkFile {
        &self.file
    }

    /// All nodes, validators first.
    pub fn nodes(&self) -> &[DevNode] {
        &self.file.nodes
    }

    /// Folder of the network.
    pub fn dir(&self) -> &Path {
        &self.spec.dir
    }

    /// One node.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<&DevNode, DevnetError> {
        let found = self.nodes().iter().find(|n| n.name.as_str() == name);
        found.ok_or_else(|| DevnetError::NoNode(name.to_owned()))
    }

    /// A client of one node's JSON-RPC.
    ///
    /// # Errors
    /// There is no such node, or no HTTP client.
    pub fn rpc(&self, name: &str) -> Result<Rpc, DevnetError> {
        Ok(Rpc::new(&self.node(name)?.rpc_url)?)
    }

    /// Starts a node with a release; its process id. It is up when its RPC answers.
    ///
    /// # Errors
    /// There is no such node, it runs already, or the program cannot be started.
    pub fn start_node(&self, name: &str, binary: &Path) -> Result<u32, DevnetError> {
        let node = self.node(name)?;
        let mut children = self.lock();
        if children.get_mut(name).is_some_and(|c| matches!(c.try_wait(), Ok(None))) {
            return Err(DevnetError::Running(name.to_owned()));
        }
        let log = std::fs::File::options().create(true).append(true).open(&node.log);
        let log = log.map_err(file("open", &node.log))?;
        let mut command = Command::new(binary);
        command.args(&node.argv).arg("--die-with-parent");
        let child = spawn(command, binary, log)?;
        let pid = child.id();
        children.insert(name.to_owned(), child);
        Ok(pid)
    }

    /// Starts all nodes with one release.
    ///
    /// # Errors
    /// As [`Network::start_node`], for the first that fails.
    pub fn start_all(&self, binary: &Path) -> Result<(), DevnetError> {
        self.nodes().iter().try_for_each(|n| self.start_node(n.name.as_str(), binary).map(drop))
    }

    /// Stops a node in order (one SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It does not run here, or does not end within its flush time and ten seconds.
    pub async fn stop(&self, name: &str) -> Result<Exit, DevnetError> {
        self.signal(name, Signal::TERM)?;
        self.wait_exit(name, Duration::from_millis(self.spec.flush_ms) + Duration::from_secs(10)).await
    }

    /// Kills a node (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// It does not run here.
    pub async fn kill9(&self, name: &str) -> Result<Exit, DevnetError> {
        self.signal(name, Signal::KILL)?;
        self.wait_exit(name, Duration::from_secs(10)).await
    }

    /// Waits for the end of a node's process.
    ///
    /// # Errors
    /// It was never started here, or does not end within `limit`.
    pub async fn wait_exit(&self, name: &str, limit: Duration) -> Result<Exit, DevnetError> {
        let start = Instant::now();
        loop {
            if let Some(exit) = self.exited(name)? {
                self.lock().remove(name);
                return Ok(exit);
            }
            if start.elapsed() >= limit {
                return Err(DevnetError::DidNotEnd { name: name.to_owned(), limit_ms: limit.as_millis() });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How a node's process ended, if it did.
    ///
    /// # Errors
    /// It was not started here.
    pub fn exited(&self, name: &str) -> Result<Option<Exit>, DevnetError> {
        let mut children = self.lock();
        let child = children.get_mut(name).ok_or_else(|| DevnetError::NotRunning(name.to_owned()))?;
        let found = child.try_wait();
        let failed = |source| DevnetError::Process { what: "wait for", name: name.to_owned(), source };
        Ok(found.map_err(failed)?.map(Exit::from))
    }

    /// Number of seal records: what the execution layer's head must be.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn record_count(&self) -> Result<u64, DevnetError> {
        let mut height = 0;
        while CommitPoint::record_path(&self.file.commit_dir, height + 1).exists() {
            height += 1;
        }
        let dir = self.file.commit_dir.join("seals");
        let entries = std::fs::read_dir(&dir).map_err(file("read", &dir))?;
        let found = entries
            .filter_map(Result::ok)
            .filter(|e| e.path().extension().is_some_and(|x| x == "json"))
            .count() as u64;
        // A record above a gap would be a broken chain: count it, so that the comparison fails.
        Ok(height.max(found))
    }

    /// Stops everything in order: nodes first, all at once, then anvil. What does not end in time is killed.
    pub async fn shutdown(self) {
        let names: Vec<String> = self.lock().keys().cloned().collect();
        for name in &names {
            let _ = self.signal(name, Signal::TERM);
        }
        let limit = Duration::from_millis(self.spec.flush_ms) + Duration::from_secs(3);
        for name in &names {
            let _ = self.wait_exit(name, limit).await;
        }
    }

    fn signal(&self, name: &str, which: Signal) -> Result<(), DevnetError> {
        let children = self.lock();
        let child = children.get(name).ok_or_else(|| DevnetError::NotRunning(name.to_owned()))?;
        signal(child, which).map_err(|source| DevnetError::Process {
            what: "signal",
            name: name.to_owned(),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let anvil = self.anvil.get_mut().unwrap_or_else(PoisonError::into_inner);
        let children = self.children.get_mut().unwrap_or_else(PoisonError::into_inner);
        for child in children.values_mut().chain([anvil]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn make_dirs(spec: &mut NetworkSpec) -> Result<(), DevnetError> {
    let dir = spec.dir.clone();
    std::fs::create_dir_all(&dir).map_err(file("create", &dir))?;
    spec.dir = dir.canonicalize().map_err(file("resolve", &dir))?;
    if spec.dir.join("network.json").exists() {
        return Err(DevnetError::Spec(format!("{} holds a network already", spec.dir.display())));
    }
    for part in ["commit/seals", "nodes", "logs"] {
        let path = spec.dir.join(part);
        std::fs::create_dir_all(&path).map_err(file("create", &path))?;
    }
    Ok(())
}

fn make_nodes(spec: &NetworkSpec, ports: &[u16]) -> Result<Vec<DevNode>, DevnetError> {
    let validators = (1..=spec.validators).map(|i| (Role::Validator, format!("val-{i}")));
    let rpc_nodes = (1..=spec.rpc_nodes).map(|i| (Role::Rpc, format!("rpc-{i}")));
    let ports = ports.as_chunks::<3>().0;
    let mut nodes = Vec::new();
    for ((role, name), ports) in validators.chain(rpc_nodes).zip(ports) {
        let name = NodeName::new(name).map_err(|e| DevnetError::Spec(e.to_string()))?;
        let address = Datadir::new(&spec.dir.join("nodes").join(name.as_str())).address()?;
        nodes.push(node(spec, name, role, address, ports));
    }
    Ok(nodes)
}

fn write(path: &Path, text: &[u8]) -> Result<(), DevnetError> {
    std::fs::write(path, text).map_err(file("write", path))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), DevnetError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| file("write", path)(e.into()))?;
    write(path, &text)
}
