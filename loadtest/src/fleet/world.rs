//! Everything put together.
use super::{Agent, Coordinator, Published, Publisher, Tamper, kill_under};
use crate::devnet::governance::Registry;
use crate::devnet::{Network, NetworkSpec, Role, free_ports, make_release, wait_until};
use crate::devnode::release::{Behaviour, Release};
use anyhow::{Context as _, Result};
use common::chain::{Fork, Hash32};
use common::manifest::TrustRoot;
use common::rollout::{Phase, Verb};
use coordinator::api::body::{JoinToken, NodeList, ProposalList, RolloutList, RolloutStatus, VerbRequest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Address of the first contract of the first account of anvil's standard mnemonic: the registry, because it is the first
/// thing deployed. The coordinator's configuration names it before it is there.
const REGISTRY: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `wemixfleet`.
    pub wemixfleet: PathBuf,
    /// `wemixvisor`.
    pub wemixvisor: PathBuf,
    /// `devnode`.
    pub devnode: PathBuf,
}

impl Programs {
    /// Those beside a program of the same build.
    ///
    /// # Errors
    /// Names the program that is missing and how to build it.
    pub fn beside(dir: &Path) -> Result<Programs> {
        let find = |name: &str| {
            let path = dir.join(name);
            path.is_file().then_some(path).with_context(|| {
                format!(
                    "{name} is not in {}: build everything first (cargo build --workspace)",
                    dir.display()
                )
            })
        };
        Ok(Programs {
            wemixfleet: find("wemixfleet")?,
            wemixvisor: find("wemixvisor")?,
            devnode: find("devnode")?,
        })
    }
}

/// How the fleet is to be.
#[derive(Debug, Clone)]
pub struct WorldSpec {
    /// Folder, new or empty; removed by nobody.
    pub dir: PathBuf,
    /// Programs.
    pub programs: Programs,
    /// Validators.
    pub validators: usize,
    /// RPC nodes.
    pub rpc_nodes: usize,
    /// Validators, from the last, that belong to another operator: they run, with no agent and unknown to the fleet.
    pub foreign: usize,
    /// Time between blocks, milliseconds.
    pub block_ms: u64,
    /// Policy for drafts, TOML.
    pub policy: String,
}

/// A running fleet. Dropping it ends every process.
#[derive(Debug)]
pub struct World {
    /// Its folder.
    pub dir: PathBuf,
    /// The development network.
    pub network: Network,
    /// The maintainers.
    pub publisher: Publisher,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// Agents by node.
    pub agents: BTreeMap<String, Agent>,
    /// The governance contract, once deployed.
    pub registry: Option<Registry>,
    /// Executable of the old release.
    pub old: PathBuf,
    programs: Programs,
}

fn config(spec: &WorldSpec, network: &Network, trust: &TrustRoot, ports: (u16, u16)) -> Result<String> {
    let file = network.file();
    // Every other validator and every RPC node is a witness; two must agree.
    let witnesses =
        network.nodes().iter().filter(|n| n.role == Role::Rpc || n.name.as_str().ends_with(['1', '3', '5']));
    let endpoints: Vec<Value> = witnesses.map(|n| json!({"label": n.name, "url": n.rpc_url})).collect();
    let value = json!({
        "schema": 1, "data_dir": "data", "listen": format!("127.0.0.1:{}", ports.0),
        "metrics_listen": format!("127.0.0.1:{}", ports.1),
        "network": {"name": "devnet", "chain_id": file.chain_id, "genesis_hash": file.genesis_hash},
        "chain": {"required": 2, "poll": format!("{}ms", (spec.block_ms / 2).max(100)), "endpoint": endpoints},
        "governance": {"registry": REGISTRY, "policy": spec.dir.join("policy.toml")},
        "trust": trust, "agents": {"hold": "5s", "silent_after": "15s"},
    });
    Ok(toml::to_string(&value)?)
}

impl World {
    /// Starts network, coordinator and agents, deploys the registry, and waits until the chain seals and every agent
    /// has reported. `say` is told what happens.
    ///
    /// # Errors
    /// What did not start, in words.
    pub async fn start(spec: &WorldSpec, say: impl Fn(&str)) -> Result<World> {
        let _once = rustls::crypto::ring::default_provider().install_default();
        std::fs::create_dir_all(&spec.dir)?;
        let dir = spec.dir.canonicalize()?;
        let spec = &WorldSpec { dir: dir.clone(), ..spec.clone() };
        std::fs::write(dir.join("policy.toml"), &spec.policy)?;
        say("network: keys, genesis, execution layer");
        let network = Network::create(&NetworkSpec {
            validators: spec.validators,
            rpc_nodes: spec.rpc_nodes,
            block_ms: spec.block_ms,
            ..NetworkSpec::new(dir.join("net"), &spec.programs.devnode)
        })
        .await?;
        let old = dir.join("releases/v1");
        std::fs::create_dir_all(dir.join("releases"))?;
        let release =
            Release { version: semver::Version::new(1, 0, 0), forks: vec![], behaviour: Behaviour::Normal };
        make_release(&spec.programs.devnode, &release, &old)?;
        let publisher = Publisher::start(&dir.join("published")).await?;
        say("coordinator: CA, store, listeners");
        let ports = free_ports(2)?;
        let text = config(spec, &network, &publisher.trust(), (ports[0], ports[1]))?;
        let url = format!("https://127.0.0.1:{}", ports[0]);
        let coordinator = Coordinator::init(&spec.programs.wemixfleet, &dir.join("fleet"), &text, &url)?;
        let mut world = World {
            dir,
            network,
            publisher,
            coordinator,
            agents: BTreeMap::new(),
            registry: None,
            old,
            programs: spec.programs.clone(),
        };
        world.coordinator.start().await?;
        world.enrol(spec, &say).await?;
        world.settle(&say).await?;
        Ok(world)
    }

    async fn enrol(&mut self, spec: &WorldSpec, say: &impl Fn(&str)) -> Result<()> {
        let nodes = self.network.nodes().to_vec();
        let ours = spec.validators - spec.foreign;
        let mut validators = 0;
        for node in nodes {
            if node.role == Role::Validator {
                validators += 1;
                if validators > ours {
                    say(&format!("{}: belongs to another operator", node.name));
                    self.network.start_node(node.name.as_str(), &self.old)?;
                    continue;
                }
            }
            say(&format!("{}: home, enrolment, agent", node.name));
            let home = self.dir.join("homes").join(node.name.as_str());
            let mut agent = Agent::init(&self.programs.wemixvisor, &home, &node, &self.old, "stop")?;
            let zone = format!("z{}", node.p2p_port % 3);
            let (role, validator) = match node.role {
                Role::Validator => ("validator", Some(node.address)),
                Role::Rpc => ("rpc", None),
            };
            let body = json!({"name": node.name, "network": "devnet", "role": role, "validator": validator,
                "labels": {"zone": zone}});
            let _record: Value = self.coordinator.post("/v1/nodes", &body).await?;
            let path = format!("/v1/nodes/{}/join-token", node.name);
            let join: JoinToken = self.coordinator.post(&path, &json!({})).await?;
            let (hash, name) = (join.ca_hash.to_string(), node.name.to_string());
            agent.command(&[
                "enroll",
                "--url",
                &join.url,
                "--node",
                &name,
                "--token",
                &join.token,
                "--ca-hash",
                &hash,
            ])?;
            agent.start()?;
            self.agents.insert(name, agent);
        }
        Ok(())
    }

    async fn settle(&mut self, say: &impl Fn(&str)) -> Result<()> {
        say("waiting for the first blocks");
        let rpc = self.network.rpc("rpc-1")?;
        wait_until("the chain seals", Duration::from_secs(60), || async {
            rpc.head().await.is_ok_and(|h| h >= 3).then_some(())
        })
        .await
        .with_context(|| self.troubles())?;
        say("governance: deploying the UpgradeRegistry");
        let registry = Registry::deploy(self.network.rpc("rpc-1")?).await?;
        anyhow::ensure!(registry.address.to_string() == REGISTRY, "the registry is at {}", registry.address);
        self.registry = Some(registry);
        say("waiting for every agent's first report");
        let wanted = self.agents.len();
        wait_until("every agent has reported a node with RPC up", Duration::from_secs(60), || async {
            let list: NodeList = self.coordinator.get("/v1/nodes").await.ok()?;
            let up = list
                .nodes
                .iter()
                .filter(|n| n.observed.as_ref().is_some_and(|o| o.report.health.rpc_up))
                .count();
            (up == wanted).then_some(())
        })
        .await
        .with_context(|| self.troubles())
    }

    /// Builds, signs and publishes a release that knows the fork `boho` at `height`.
    ///
    /// # Errors
    /// When it cannot be built or signed.
    pub fn publish(
        &self,
        name: &str,
        height: u64,
        behaviour: Behaviour,
        tamper: Tamper,
    ) -> Result<Published> {
        let fork = Fork { name: "boho".into(), height };
        let release =
            Release { version: semver::Version::new(1, 1, 0), forks: vec![fork.clone()], behaviour };
        let binary = self.dir.join("releases").join(name);
        make_release(&self.programs.devnode, &release, &binary)?;
        let file = self.network.file();
        self.publisher.publish(name, "1.1.0", &binary, (file.chain_id, file.genesis_hash), &fork, tamper)
    }

    /// Proposes the plan and votes until it is approved; its id.
    ///
    /// # Errors
    /// When a transaction fails.
    pub async fn approve_on_chain(&self, name: &str, height: u64, published: &Published) -> Result<Hash32> {
        let registry = self.registry.as_ref().context("the registry is not deployed")?;
        let plan = registry.propose(name, height, published.hash, &published.uri).await?;
        registry.vote(plan, 1).await?;
        Ok(plan)
    }

    /// The newest rollout, if there is one.
    pub async fn rollout(&self) -> Option<RolloutStatus> {
        let list: RolloutList = self.coordinator.get("/v1/rollouts").await.ok()?;
        let id = list.rollouts.last()?.id.clone();
        self.coordinator.get(&format!("/v1/rollouts/{id}")).await.ok()
    }

    /// Proposals as the coordinator sees them.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn proposals(&self) -> Result<ProposalList> {
        self.coordinator.get("/v1/proposals").await
    }

    /// Carries out a verb on the newest rollout.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn verb(&self, verb: Verb) -> Result<RolloutStatus> {
        let id = self.rollout().await.context("there is no rollout")?.rollout.id;
        let body = VerbRequest { verb, why: "test".into(), revision: None };
        self.coordinator.post(&format!("/v1/rollouts/{id}/verbs"), &body).await
    }

    /// Waits until the newest rollout is as asked for.
    ///
    /// # Errors
    /// After `limit`, with where it stands and the ends of the logs.
    pub async fn wait_rollout(
        &self,
        what: &str,
        limit: Duration,
        want: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        let found = wait_until(what, limit, || async { self.rollout().await.filter(|s| want(s)) }).await;
        if let Ok(status) = found {
            return Ok(status);
        }
        let stands = match self.rollout().await {
            Some(s) => format!(
                "{:?} {:?}\nwaiting {:?}\n{:#?}",
                s.rollout.phase, s.rollout.control, s.rollout.waiting, s.rollout.nodes
            ),
            None => format!("no rollout; proposals {:?}", self.proposals().await),
        };
        found.with_context(|| format!("{stands}\n{}", self.troubles()))
    }

    /// Waits until the newest rollout is over; its outcome's status.
    ///
    /// # Errors
    /// As [`World::wait_rollout`].
    pub async fn wait_done(&self, limit: Duration) -> Result<RolloutStatus> {
        self.wait_rollout("the rollout is over", limit, |s| matches!(s.rollout.phase, Phase::Done(_))).await
    }

    /// Ends of the logs, for error messages.
    pub fn troubles(&self) -> String {
        let mut out = format!("coordinator:\n{}\n", self.coordinator.log_tail());
        for agent in self.agents.values() {
            let log = agent.log();
            let lines: Vec<&str> = log.lines().rev().take(4).collect();
            out += &format!("{}:\n{}\n", agent.name, lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        out
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agents.clear();
        self.coordinator.kill9();
        kill_under(&self.dir);
    }
}
