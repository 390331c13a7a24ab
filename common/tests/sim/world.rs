//! The world: events in virtual time, one at a time, from one seed.
use super::chain::Chain;
use super::coordinator::Coordinator;
use super::host::{Host, Process};
use super::rng::Rng;
use crate::toy;
use common::chain::Address;
use common::id::NodeName;
use common::machine::{Event, Machine, Probe};
use common::planner::{check, plan};
use common::release::InstalledRelease;
use common::rollout::{Control, Reason, Verb};
use common::time::UnixMs;
use common::wire::v1::{Instruction, NodeReport};
use std::collections::{BTreeMap, VecDeque};

pub const START_MS: u64 = 1_700_000_000_000;
/// When the last fault ends.
const QUIET_MS: u64 = 200_000;
/// How long after that the rollout may take.
const PATIENCE_MS: u64 = 1_200_000;
const LOG: usize = 60;

/// A validator of another operator.
#[derive(Debug)]
pub struct Foreign {
    pub up: bool,
    pub since: u64,
}

#[derive(Debug, Clone)]
pub enum Happening {
    Block,
    Plan,
    Chaos,
    Tick(NodeName, u64),
    Sync(NodeName, u64),
    ReportArrives(NodeName, u64, Box<NodeReport>),
    InstructionArrives(NodeName, Box<Instruction>),
    JobDone(NodeName, u64, u64, Box<Event>),
    NothingToStop(NodeName, u64),
    Switch(NodeName, u64, InstalledRelease, bool),
    Start(NodeName, u64, u64, InstalledRelease),
    ProcessGone(NodeName, u64),
    AgentBack(NodeName),
    CoordinatorBack,
}

#[derive(Debug)]
pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub chain: Chain,
    pub hosts: BTreeMap<NodeName, Host>,
    pub foreign: BTreeMap<Address, Foreign>,
    pub coordinator: Coordinator,
    pub violation: Option<String>,
    pub log: VecDeque<String>,
    pub serial: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    order: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let ours = u8::try_from(rng.range(4, 10)).unwrap();
        let strangers = u8::try_from(rng.range(0, 2)).unwrap();
        let nodes = toy::fleet(u8::try_from(rng.range(1, 3)).unwrap(), ours);
        let foreign: BTreeMap<_, _> =
            (0..strangers).map(|i| (toy::address(200 + i), Foreign { up: true, since: START_MS })).collect();
        let validators = nodes.iter().filter_map(|n| n.validator).chain(foreign.keys().copied()).collect();
        let mut hosts = BTreeMap::new();
        let broken = rng.chance(250);
        let mute = rng.chance(150);
        for node in &nodes {
            let mut host = Host::new(START_MS, rng.range(0, 20_000));
            host.exits_on_new = broken && rng.chance(400);
            host.mute_on_new = mute && rng.chance(300);
            host.cannot_download = rng.chance(15);
            hosts.insert(node.name.clone(), host);
        }
        let coordinator = Coordinator::new(nodes, UnixMs(START_MS), &mut rng);
        let chain = Chain { validators, window: VecDeque::new(), advanced_at: START_MS };
        let mut world = World {
            now: START_MS,
            rng,
            chain,
            hosts,
            foreign,
            coordinator,
            violation: None,
            log: VecDeque::new(),
            serial: 1,
            queue: BTreeMap::new(),
            order: 0,
        };
        for _ in 0..12 {
            world.seal();
        }
        let names: Vec<_> = world.hosts.keys().cloned().collect();
        for name in names {
            world.after(1, Happening::AgentBack(name));
        }
        for (delay, what) in [(500, Happening::Block), (1_000, Happening::Plan), (5_000, Happening::Chaos)] {
            world.after(delay, what);
        }
        world
    }

    pub fn after(&mut self, delay_ms: u64, what: Happening) {
        self.order += 1;
        self.queue.insert((self.now + delay_ms, self.order), what);
    }

    pub fn quiet(&self) -> bool {
        self.now > START_MS + QUIET_MS
    }

    /// True in `per_mille` of a thousand cases while there are faults.
    pub fn mishap(&mut self, per_mille: u64) -> bool {
        !self.quiet() && self.rng.chance(per_mille)
    }

    pub fn say(&mut self, what: String) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>9.3} {what}", (self.now - START_MS) as f64 / 1000.0));
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) -> Result<(), String> {
        while let Some(((at, _), what)) = self.queue.pop_first() {
            self.now = at;
            self.happen(what);
            self.judge();
            if let Some(what) = self.violation.take() {
                return Err(what);
            }
            if self.quiet() && self.at_rest() && self.all_settled() {
                break;
            }
            if at > START_MS + QUIET_MS + PATIENCE_MS {
                break;
            }
        }
        self.judge_end();
        self.violation.take().map_or(Ok(()), Err)
    }

    fn at_rest(&self) -> bool {
        self.coordinator.input.rollout.is_over() || matches!(self.coordinator.control(), Control::Held { .. })
    }

    /// Whether the chain had the time to recover from the last fault.
    fn all_settled(&self) -> bool {
        self.now > START_MS + QUIET_MS + 60_000 && self.now <= self.chain.advanced_at + 20_000
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Block => {
                self.seal();
                self.after(1_000, Happening::Block);
            }
            Happening::Plan => {
                self.reconcile();
                self.after(2_000, Happening::Plan);
            }
            Happening::Chaos if self.quiet() => self.mend(),
            Happening::Chaos => {
                self.chaos();
                let pause = self.rng.range(1_000, 15_000);
                self.after(pause, Happening::Chaos);
            }
            Happening::Tick(name, life) => self.tick(&name, life),
            Happening::Sync(name, life) => self.sync(&name, life, true),
            Happening::ReportArrives(name, generation, report) => {
                self.report_arrives(name, generation, *report)
            }
            Happening::InstructionArrives(name, instruction) => self.instruction_arrives(&name, *instruction),
            Happening::JobDone(name, life, job, event) => {
                if self.hosts[&name].life == life && self.hosts[&name].job == job {
                    self.feed(&name, *event);
                }
            }
            Happening::NothingToStop(name, life) => self.nothing_to_stop(&name, life),
            Happening::Switch(name, life, release, works) => self.switch(&name, life, release, works),
            Happening::Start(name, life, start, release) => self.start(&name, life, start, &release),
            Happening::ProcessGone(name, serial) => self.process_gone(&name, serial),
            Happening::AgentBack(name) => self.agent_back(&name),
            Happening::CoordinatorBack => {
                self.coordinator.up = true;
                self.say("the coordinator is back".into());
            }
        }
    }

    fn seal(&mut self) {
        let now = self.now;
        let mut live: Vec<Address> = self.foreign.iter().filter(|(_, f)| f.up).map(|(a, _)| *a).collect();
        for (name, _) in self.hosts.iter().filter(|(_, h)| h.seals(now)) {
            live.extend(self.coordinator.input.nodes[name].record.validator);
        }
        if !self.chain.seal(&live, now, &mut self.rng) {
            return;
        }
        let Some(block) = self.chain.window.back() else { return };
        for (name, host) in &mut self.hosts {
            let address = self.coordinator.input.nodes[name].record.validator;
            let worked = address.is_none_or(|a| block.sealers.contains(&a)) && host.is_up(now);
            if let (true, Some(process)) = (worked, &mut host.process) {
                process.worked += 1;
            }
        }
    }

    fn reconcile(&mut self) {
        if !self.coordinator.up {
            return;
        }
        let input = &mut self.coordinator.input;
        input.now = UnixMs(self.now);
        let blind = self.now < START_MS + 200_000 && self.rng.chance(30);
        let (chain_id, genesis) = (input.rollout.manifest.chain_id, input.rollout.manifest.genesis_hash);
        input.chain = if blind { None } else { self.chain.view(self.now, chain_id, genesis) };
        self.operator_when_quiet();
        for _ in 0..50 {
            if self.coordinator.input.rollout.is_over() {
                return;
            }
            let made = plan(&self.coordinator.input);
            if !made.changed && made.actions.is_empty() {
                if made.rollout.waiting.is_empty() && !made.rollout.is_over() {
                    self.violated("I7: the rollout waits for nothing".into());
                }
                self.coordinator.input.rollout.waiting = made.rollout.waiting;
                return;
            }
            let findings = check(&self.coordinator.input, &made);
            if !findings.is_empty() {
                let said: Vec<_> = findings.iter().map(ToString::to_string).collect();
                return self.violated(format!("the second opinion refuses: {}", said.join("; ")));
            }
            self.judge_plan(&made);
            for event in &made.events {
                self.say(format!("plan: {event:?}"));
            }
            self.coordinator.store(made);
        }
        self.violated("the planner does not come to rest".into());
    }

    /// Once faults stop, a person resumes what is paused and promotes what waits for it.
    fn operator_when_quiet(&mut self) {
        if !self.quiet() {
            return;
        }
        let now = UnixMs(self.now);
        let rollout = &self.coordinator.input.rollout;
        if matches!(rollout.control, Control::Paused { .. }) {
            self.coordinator.verb(Verb::Resume, now);
        } else if rollout.waiting.iter().any(|r| matches!(r, Reason::PromotionMissing { .. })) {
            self.coordinator.verb(Verb::Promote, now);
        }
    }

    /// Tells the machine something and carries out what it wants.
    pub fn feed(&mut self, name: &NodeName, event: Event) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name) else { return };
        let clock = host.clock(now);
        let Some(machine) = &mut host.machine else { return };
        let before = machine.phase();
        let effects = machine.step(clock, event);
        let after = machine.phase();
        if before != after {
            self.say(format!("{name}: {before:?} -> {after:?}"));
        }
        self.carry(name, effects);
    }

    fn agent_back(&mut self, name: &NodeName) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.life += 1;
        host.stop_asked = false;
        let (machine, effects) = Machine::booted(host.disk.clone(), host.found(), host.clock(now));
        let (life, phase) = (host.life, machine.phase());
        host.machine = Some(machine);
        self.say(format!("{name}: agent begins life {life} as {phase:?}"));
        self.carry(name, effects);
        let first = self.rng.range(1, 2_000);
        self.after(first, Happening::Tick(name.clone(), life));
        self.after(first, Happening::Sync(name.clone(), life));
    }

    fn tick(&mut self, name: &NodeName, life: u64) {
        let host = &self.hosts[name];
        if host.life != life || host.machine.is_none() {
            return;
        }
        let head = self.chain.head();
        let probe = host.process.as_ref().map(|p: &Process| Probe {
            rpc_up: p.up_at <= self.now,
            head: (p.up_at <= self.now).then_some(head),
            head_advanced: p.up_at <= self.now && head > p.head_at_start,
        });
        self.feed(name, Event::Tick);
        if let Some(probe) = probe {
            self.feed(name, Event::Probed(probe));
        }
        self.after(1_000, Happening::Tick(name.clone(), life));
    }
}
