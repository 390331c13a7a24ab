//! A toy fleet: agents of a few lines, a chain that seals with whoever is up, and a store that carries out plans. The
//! planner and its second opinion are the real ones, run after every second.
#![allow(dead_code, unused_imports, reason = "every test file uses a part")]
mod agent;

pub use agent::{Flaw, ToyNode};

use common::chain::{Address, BlockRef, BlockRoots, BlockSeals, ChainView, Hash32};
use common::fleet::{NodeRecord, Role};
use common::id::{NetworkName, NodeName, PolicyName, ReleaseName, RolloutId};
use common::inventory::Observation;
use common::manifest::{Activation, Manifest};
use common::planner::{self, Action, NodeView, OutstandingPermission, Plan, PlanInput};
use common::policy::{PolicyFile, ResolvedPolicy};
use common::quorum::quorum;
use common::release::{Artifact, Digest};
use common::rollout::{Control, NodeState, Origin, Phase, Reason, Rollout, RolloutEvent, Verb};
use common::time::{Span, UnixMs};
use common::wire::v1::Instruction;
use std::collections::BTreeMap;

/// The whole toy.
#[derive(Debug, Clone)]
pub struct World {
    pub now: UnixMs,
    pub rollout: Rollout,
    pub views: BTreeMap<NodeName, NodeView>,
    pub agents: BTreeMap<NodeName, ToyNode>,
    pub permissions: BTreeMap<NodeName, OutstandingPermission>,
    pub next_permission: u64,
    /// Validators nobody of us operates, and whether each seals.
    pub foreign: BTreeMap<Address, bool>,
    pub validators: Vec<Address>,
    pub window: Vec<BlockSeals>,
    pub head_advanced_at: UnixMs,
    pub cancelled: bool,
    pub view_gone: bool,
    pub events: Vec<RolloutEvent>,
    pub last: Option<Plan>,
    /// Ticks without a block.
    pub halted: u32,
}

pub fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub fn address(n: u8) -> Address {
    Address([n; 20])
}

fn hash(kind: u8, height: u64) -> Hash32 {
    let mut bytes = [kind; 32];
    bytes[24..].copy_from_slice(&height.to_be_bytes());
    Hash32(bytes)
}

pub fn roots(height: u64, diverged: bool) -> BlockRoots {
    BlockRoots {
        height,
        hash: hash(1 + u8::from(diverged), height),
        state_root: hash(3 + u8::from(diverged), height),
        receipts_root: hash(5, height),
        timestamp_s: 1_700_000_000 + height,
    }
}

pub fn record(text: &str, role: Role, validator: Option<Address>) -> NodeRecord {
    NodeRecord {
        name: name(text),
        network: NetworkName::new("toynet").unwrap(),
        role,
        labels: BTreeMap::new(),
        validator,
        ssh: None,
        cordoned: false,
        added_at: UnixMs(0),
        agent_key: None,
    }
}

pub fn manifest(activation: Activation) -> Manifest {
    Manifest {
        schema: 1,
        name: ReleaseName::new("v2").unwrap(),
        sequence: 2,
        chain_id: 7,
        genesis_hash: hash(0, 0),
        activation,
        forks: vec![],
        irreversible: false,
        version: None,
        expires_at: None,
        artifacts: vec![Artifact {
            os: "linux".into(),
            arch: "x86_64".into(),
            variant: None,
            url: "https://example.org/v2".into(),
            sha256: Digest([2; 32]),
            size: 10,
            member: None,
            executable_sha256: None,
        }],
    }
}

/// The nodes `rpc-1..` and `val-1..`, all ours.
pub fn fleet(rpcs: u8, validators: u8) -> Vec<NodeRecord> {
    let rpc = (1..=rpcs).map(|i| record(&format!("rpc-{i}"), Role::Rpc, None));
    let val = (1..=validators).map(|i| record(&format!("val-{i:02}"), Role::Validator, Some(address(i))));
    rpc.chain(val).collect()
}

pub const POLICY: &str = r#"
schema = 1
[quorum]
reserve = 1
[defaults]
max_parallel = 8
proof = { blocks = 10, seals = 3, compare = 2 }
expect = { switch = "20s" }
deadline = { download = "2m", stop = "1m", start = "1m", rpc = "1m", catch_up = "2m", sealing = "2m", progress = "5m" }
[[stage]]
name = "consensus-canary"
select = 'role == "rpc"'
count = 1
soak = { blocks = 5 }
gate = ["state_root_equal", "rpc_ok"]
[[stage]]
name = "rpc"
select = 'role == "rpc"'
parallel = 2
[[stage]]
name = "validator-canary"
select = 'role == "validator"'
count = 1
soak = { blocks = 5 }
gate = ["sealing", "chain_health"]
[[stage]]
name = "validators"
select = 'role == "validator"'
gate = ["sealing"]
"#;

pub fn resolve(text: &str, nodes: &[NodeRecord]) -> ResolvedPolicy {
    let file = PolicyFile::parse(text).unwrap();
    file.resolve(PolicyName::new("toy").unwrap(), nodes).unwrap()
}

impl World {
    /// An approved rollout of `v2` over two RPC nodes and `validators` validators.
    pub fn new(validators: u8) -> World {
        World::with(fleet(3, validators), POLICY, Activation::Anytime, 0)
    }

    /// A world of these nodes, and `foreign` validators of another operator.
    pub fn with(nodes: Vec<NodeRecord>, policy: &str, activation: Activation, foreign: u8) -> World {
        let now = UnixMs(1_700_000_000_000);
        let manifest = manifest(activation);
        let release = manifest.as_ref(Digest([9; 32]));
        let id = RolloutId::new("r1").unwrap();
        let by = Origin::Operator { name: "ada".into() };
        let draft = Rollout::draft(id, release, manifest, resolve(policy, &nodes), by, now);
        let (rollout, _) = draft.apply(Verb::Approve, "ada", "go", now).unwrap();
        let foreign: BTreeMap<_, _> = (0..foreign).map(|i| (address(200 + i), true)).collect();
        let validators = nodes.iter().filter_map(|n| n.validator).chain(foreign.keys().copied()).collect();
        let mut world = World {
            now,
            rollout,
            views: BTreeMap::new(),
            agents: BTreeMap::new(),
            permissions: BTreeMap::new(),
            next_permission: 1,
            foreign,
            validators,
            window: vec![],
            head_advanced_at: now,
            cancelled: false,
            view_gone: false,
            events: vec![],
            last: None,
            halted: 0,
        };
        for record in nodes {
            world.agents.insert(record.name.clone(), ToyNode::new());
            let view = NodeView { record, observed: None, desired: Instruction::none() };
            world.views.insert(view.record.name.clone(), view);
        }
        for _ in 0..12 {
            world.mine();
        }
        world.report();
        world
    }

    pub fn flaw(&mut self, node: &str, flaw: Flaw) {
        self.agents.get_mut(&name(node)).unwrap().flaws.insert(flaw as u8);
    }

    pub fn heal(&mut self, node: &str, flaw: Flaw) {
        self.agents.get_mut(&name(node)).unwrap().flaws.remove(&(flaw as u8));
    }

    pub fn state(&self, node: &str) -> NodeState {
        self.rollout.nodes[&name(node)].state
    }

    pub fn head(&self) -> u64 {
        self.window.last().map_or(100, |b| b.block.height)
    }

    pub fn verb(&mut self, verb: Verb) {
        let (rollout, events) = self.rollout.apply(verb, "ada", "because", self.now).unwrap();
        self.rollout = rollout;
        self.events.extend(events);
    }

    pub fn held(&self) -> Option<&Reason> {
        match &self.rollout.control {
            Control::Held { reason, .. } => Some(reason),
            _ => None,
        }
    }

    pub fn waits_for(&self, code: &str) -> bool {
        let published = self.last.as_ref().map(|p| &p.rollout.waiting);
        published.is_some_and(|w| w.iter().any(|r| r.code() == code))
    }

    /// Lets a second pass: agents work, a block is sealed if quorum is up, agents report, plans are carried out.
    pub fn tick(&mut self) {
        self.now = self.now.plus(Span::secs(1));
        for (node, agent) in &mut self.agents {
            if !agent.has(Flaw::AgentGone) {
                agent.step(&self.views[node].desired, self.now);
            }
        }
        self.mine();
        self.report();
        self.plan();
    }

    /// Lets time pass until `done`; panics with the state of the world when it does not come.
    pub fn until(&mut self, seconds: u32, done: impl Fn(&World) -> bool) {
        for _ in 0..seconds {
            if done(self) {
                return;
            }
            self.tick();
        }
        assert!(done(self), "not within {seconds} s: {}", self.picture());
    }

    pub fn picture(&self) -> String {
        let nodes: Vec<_> = self.rollout.nodes.iter().map(|(n, p)| format!("{n} {:?}", p.state)).collect();
        format!(
            "{:?} {:?}\nstages {:?}\nnodes {nodes:?}\nwaiting {:?}",
            self.rollout.phase,
            self.rollout.control,
            self.rollout.stages,
            self.last.as_ref().map(|p| &p.rollout.waiting)
        )
    }

    pub fn input(&self) -> PlanInput {
        PlanInput {
            now: self.now,
            rollout: self.rollout.clone(),
            nodes: self.views.clone(),
            permissions: self.permissions.clone(),
            chain: (!self.view_gone).then(|| self.view()),
            cancelled_on_chain: self.cancelled,
            next_permission: self.next_permission,
            silent_after: Span::secs(30),
        }
    }

    pub fn view(&self) -> ChainView {
        let head = self.window.last().unwrap().block;
        let mut window = self.window.clone();
        window.last_mut().unwrap().sealers.clear();
        ChainView {
            observed_at: self.now,
            head_advanced_at: self.head_advanced_at,
            chain_id: 7,
            genesis_hash: hash(0, 0),
            head: BlockRef { height: head.height, hash: head.hash },
            agreeing: vec![name("ep-1"), name("ep-2")],
            required: 2,
            bft: true,
            validators: self.validators.clone(),
            next_validators: vec![],
            epoch_length: 0,
            window,
        }
    }

    /// Validators that vote now.
    pub fn sealing(&self) -> Vec<Address> {
        let ours = |a: &Address| {
            let node = self.views.values().find(|v| v.record.validator == Some(*a))?;
            Some(self.agents[&node.record.name].seals())
        };
        let up = |a: &&Address| ours(a).unwrap_or_else(|| self.foreign.get(a).copied().unwrap_or(false));
        self.validators.iter().filter(up).copied().collect()
    }

    fn mine(&mut self) {
        let sealers = self.sealing();
        if (sealers.len() as u64) < quorum(self.validators.len() as u64) {
            self.halted += 1;
            return;
        }
        let height = self.head() + 1;
        let turn = usize::try_from(height).unwrap() % self.validators.len();
        let order = self.validators[turn..].iter().chain(&self.validators[..turn]);
        let (round, proposer) = order.enumerate().find(|(_, v)| sealers.contains(v)).unwrap();
        let block = roots(height, false);
        self.window.push(BlockSeals { block, proposer: *proposer, round: round as u64, sealers });
        if self.window.len() > 64 {
            self.window.remove(0);
        }
        self.head_advanced_at = self.now;
    }

    pub fn report(&mut self) {
        let head = self.head();
        for (node, agent) in &self.agents {
            if agent.has(Flaw::AgentGone) {
                continue;
            }
            let report = agent.report(self.now, head, &self.rollout.release);
            let observed = Observation { received_at: self.now, generation: agent.generation, report };
            self.views.get_mut(node).unwrap().observed = Some(observed);
        }
    }

    /// Plans until nothing changes, with the second opinion on every plan.
    pub fn plan(&mut self) {
        for _ in 0..50 {
            let input = self.input();
            let plan = planner::plan(&input);
            assert_eq!(planner::check(&input, &plan), vec![], "{}\n{:?}", self.picture(), plan.actions);
            let changed = plan.changed;
            if changed {
                self.carry_out(&plan);
            }
            self.last = Some(plan);
            if !changed {
                return;
            }
        }
        panic!("the planner does not come to rest: {:?}", self.last);
    }

    fn carry_out(&mut self, plan: &Plan) {
        for action in &plan.actions {
            match action {
                Action::Instruct { node, release, goal, limits } => {
                    let desired = &mut self.views.get_mut(node).unwrap().desired;
                    *desired = Instruction {
                        generation: desired.generation + 1,
                        rollout: release.as_ref().map(|_| self.rollout.id.clone()),
                        release: release.clone(),
                        goal: goal.clone(),
                        limits: *limits,
                    };
                }
                Action::Grant { node, permission } => {
                    self.next_permission = self.next_permission.max(permission.id + 1);
                    let rollout = Some(self.rollout.id.clone());
                    let held = OutstandingPermission { permission: permission.clone(), rollout };
                    self.permissions.insert(node.clone(), held);
                }
                Action::Free { node, .. } => _ = self.permissions.remove(node),
            }
        }
        self.rollout = plan.rollout.clone();
        self.events.extend(plan.events.iter().cloned());
    }

    pub fn over(&self) -> bool {
        matches!(self.rollout.phase, Phase::Done(_))
    }

    pub fn stops(&self, node: &str) -> u32 {
        self.agents[&name(node)].stops
    }
}
