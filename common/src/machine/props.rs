//! Random instructions, faults and crashes against a simulated host, after every single effect.
use super::*;
use crate::id::ReleaseName;
use crate::release::{Artifact, Digest, InstalledRelease, ReleaseRef};
use crate::wire::v1::{Direction, Fault, FaultCode, Goal, Instruction, Limits, Permission};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone)]
enum Act {
    /// Goal, release 1..=2, whether the permission is fresh, whether it lives long.
    Order(u8, u64, bool, bool),
    OldOrder,
    Pass(u64),
    NodeDies,
    Probe,
    Deliver,
    /// The agent dies after so many more effects.
    CrashAfter(u8),
    FailStage,
    FailSwitch,
    FailPrepare,
    FailStop,
    /// The host's own plan: release, whether at a height, whether it is there.
    Plan(u64, u64, bool),
    NoPlan,
    Restart,
    Sick(u64, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0u8..4, 1u64..3, any::<bool>(), any::<bool>()).prop_map(|(g, r, f, l)| Act::Order(g, r, f, l)),
        1 => Just(Act::OldOrder),
        4 => (0u64..70_000).prop_map(Act::Pass),
        1 => Just(Act::NodeDies),
        4 => Just(Act::Probe),
        8 => Just(Act::Deliver),
        3 => (0u8..6).prop_map(Act::CrashAfter),
        1 => Just(Act::FailStage),
        1 => Just(Act::FailSwitch),
        1 => Just(Act::FailPrepare),
        2 => (1u64..3, 0u64..3, any::<bool>()).prop_map(|(r, h, p)| Act::Plan(r, h, p)),
        1 => Just(Act::NoPlan),
        1 => Just(Act::Restart),
        1 => Just(Act::FailStop),
        2 => (0u64..3, any::<bool>()).prop_map(|(r, s)| Act::Sick(r, s)),
    ];
    prop::collection::vec(act, 1..80)
}

fn installed(n: u64) -> InstalledRelease {
    let name = ReleaseName::new(format!("r{n}")).unwrap();
    InstalledRelease { name, sequence: n, digest: Digest([n as u8; 32]) }
}

fn reference(n: u64) -> ReleaseRef {
    let r = installed(n);
    ReleaseRef { name: r.name, sequence: n, manifest: Digest([100 + n as u8; 32]) }
}

fn fault(code: FaultCode, at: UnixMs) -> Fault {
    Fault { code, detail: "injected".into(), at }
}

/// A process of the simulated host.
#[derive(Debug, Clone)]
struct Proc {
    pid: u32,
    since: UnixMs,
    release: InstalledRelease,
    asked: bool,
}

struct World {
    now: UnixMs,
    durable: Ledger,
    machine: Machine,
    link: InstalledRelease,
    process: Option<Proc>,
    waiting_start: Option<UnixMs>,
    inbox: VecDeque<Event>,
    crash_in: Option<u8>,
    fail: BTreeMap<&'static str, bool>,
    sick: BTreeMap<u64, bool>,
    generation: u64,
    permissions: u64,
    expiries: BTreeMap<u64, UnixMs>,
    /// Stops per permission: ordered, and of the way back after a failure.
    stops: BTreeMap<(u64, bool), u32>,
    next_pid: u32,
}

impl World {
    fn new() -> World {
        let now = UnixMs(1_000_000);
        let mut durable = Ledger::genesis(installed(0).name, installed(0).digest, now);
        durable.current = installed(0);
        let mut world = World {
            now,
            machine: Machine::new(durable.clone()),
            durable,
            link: installed(0),
            process: None,
            waiting_start: None,
            inbox: VecDeque::new(),
            crash_in: None,
            fail: BTreeMap::new(),
            sick: BTreeMap::new(),
            generation: 0,
            permissions: 0,
            expiries: BTreeMap::new(),
            stops: BTreeMap::new(),
            next_pid: 100,
        };
        world.boot();
        world
    }

    fn boot(&mut self) {
        self.inbox.clear();
        self.waiting_start = None;
        let found = Found {
            current: Some(self.link.clone()),
            process: self.process.as_ref().map(|p| (p.pid, p.since)),
            running: self.process.as_ref().map(|p| p.release.digest),
            stopping: self.process.as_ref().is_some_and(|p| p.asked),
        };
        let (machine, effects) = Machine::booted(self.durable.clone(), found, self.now);
        self.machine = machine;
        self.carry_out(effects);
    }

    fn feed(&mut self, event: Event) {
        let before = self.machine.ledger().clone();
        let effects = self.machine.step(self.now, event);
        let after = self.machine.ledger();
        assert!(after.instruction.generation >= before.instruction.generation, "generation went down");
        assert!(after.spent_permission >= before.spent_permission, "a permission came back");
        let acts = |e: &Effect| !matches!(e, Effect::Persist(_) | Effect::Report | Effect::Watch { .. });
        let changed = (after.phase, &after.destination, after.spent_permission, &after.current)
            != (before.phase, &before.destination, before.spent_permission, &before.current);
        if changed {
            let persisted = effects.iter().position(|e| matches!(e, Effect::Persist(_)));
            let acted = effects.iter().position(acts);
            assert!(persisted.is_some(), "a change that was not written: {effects:?}");
            assert!(acted.is_none_or(|a| persisted < Some(a)), "acted before writing: {effects:?}");
        }
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(left) = self.crash_in {
                if left == 0 {
                    self.crash_in = None;
                    return self.boot();
                }
                self.crash_in = Some(left - 1);
            }
            self.one(effect);
        }
    }

    fn one(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(ledger) => self.durable = *ledger,
            Effect::Stage { release, .. } => {
                let event = if self.fail.remove("stage").is_some() {
                    Err(fault(FaultCode::DigestMismatch, self.now))
                } else {
                    Ok(staged(release.sequence))
                };
                self.inbox.push_back(Event::Staged(event));
            }
            Effect::Cancel => {
                self.inbox.retain(|e| !matches!(e, Event::Staged(_) | Event::Preflighted(_)));
            }
            Effect::Preflight { .. } => self.inbox.push_back(Event::Preflighted(Ok(()))),
            Effect::Stop { .. } => self.stop(),
            Effect::Prepare { .. } => {
                assert!(self.process.is_none(), "hooks and backup beside a running node");
                let ok = self.fail.remove("prepare").is_none();
                let result = if ok { Ok(()) } else { Err(fault(FaultCode::SwitchFailed, self.now)) };
                self.inbox.push_back(Event::Prepared(result));
            }
            Effect::Switch { release } => {
                let ok = self.fail.remove("switch").is_none();
                if ok {
                    self.link = release;
                }
                let result = if ok { Ok(()) } else { Err(fault(FaultCode::SwitchFailed, self.now)) };
                self.inbox.push_back(Event::Switched(result));
            }
            Effect::Start { release, not_before } => {
                assert!(self.process.is_none(), "a second node process");
                assert!(self.waiting_start.is_none_or(|at| not_before < at), "two starts at once");
                assert_eq!(release, self.link, "a start of what `current` is not");
                self.waiting_start = Some(not_before);
                self.start_if_due();
            }
            Effect::Watch { .. } | Effect::Report => {}
        }
    }

    fn start_if_due(&mut self) {
        let Some(at) = self.waiting_start else { return };
        if at > self.now {
            return;
        }
        self.waiting_start = None;
        self.next_pid += 1;
        let pid = self.next_pid;
        self.process = Some(Proc { pid, since: self.now, release: self.link.clone(), asked: false });
        self.inbox.push_back(Event::Started(Ok(pid)));
    }

    fn stop(&mut self) {
        self.waiting_start = None;
        let Some(process) = &mut self.process else {
            return self.inbox.push_back(Event::Stopped(Ok(Span::ZERO)));
        };
        let committed = Machine::new(self.durable.clone()).committed();
        let planned = self.durable.target.as_ref().is_some_and(|t| t.sequence == 0);
        if !process.asked && !committed {
            // A restart that was asked for; it needs no permission.
            process.asked = true;
        } else if !process.asked && planned {
            let height = self.durable.plan.as_ref().and_then(|p| p.height).unwrap_or(0);
            let own = self.durable.failed;
            assert!(
                own || self.now.0 / 1000 + 64 >= height,
                "stopped for a plan at {height} at {:?}",
                self.now
            );
            process.asked = true;
        } else if !process.asked {
            let ledger = &self.durable;
            let id = ledger.spent_permission;
            let own = ledger.failed && ledger.direction == Direction::Back;
            let count = self.stops.entry((id, own)).or_default();
            *count += 1;
            assert_eq!(*count, 1, "stopped twice under permission {id} (way back: {own})");
            let theirs = UnixMs(self.now.0.saturating_add_signed(ledger.clock_ahead_ms));
            assert!(own || theirs < self.expiries[&id], "stopped after permission {id} ended");
            process.asked = true;
        }
        if self.fail.remove("stop").is_some() {
            return self.inbox.push_back(Event::Stopped(Err(fault(FaultCode::StopFailed, self.now))));
        }
        self.process = None;
        self.inbox.retain(|e| !matches!(e, Event::Exited { .. }));
        self.inbox.push_back(Event::Stopped(Ok(Span(40))));
    }

    fn probe(&mut self) {
        let Some(process) = &self.process else { return };
        let well = !self.sick.get(&process.release.sequence).copied().unwrap_or(false);
        let probe = Probe { rpc_up: well, head: Some(self.now.0 / 1000), head_advanced: well };
        self.feed(Event::Probed(probe));
    }

    fn die(&mut self) {
        if let Some(process) = self.process.take() {
            self.inbox.retain(|e| !matches!(e, Event::Started(_)) || process.pid != self.next_pid);
            // A process that dies before its start was told is told as both, in order.
            self.inbox.push_back(Event::Started(Ok(process.pid)));
            self.inbox.push_back(Event::Exited { exit: "exit code 1".into() });
        }
    }

    fn order(&mut self, goal: u8, release: u64, fresh: bool, long: bool) {
        self.generation += 1;
        if fresh {
            self.permissions += 1;
        }
        let id = self.permissions.max(1);
        let expires_at = if long { self.now.plus(Span::mins(10)) } else { self.now.plus(Span(1500)) };
        let expires_at = *self.expiries.entry(id).or_insert(expires_at);
        let permission = Permission { id, granted_at: self.now, expires_at };
        let goal = match goal {
            0 => Goal::Run,
            1 => Goal::Stage,
            2 => Goal::Switch { permission },
            _ => Goal::Rollback { permission },
        };
        let instruction = Instruction {
            generation: self.generation,
            rollout: None,
            release: Some(reference(release)),
            goal,
            limits: Limits::default(),
        };
        self.feed(Event::Instructed { instruction: Box::new(instruction), clock_ahead_ms: 0 });
    }

    /// At 0: now; at 1: reached soon; at 2: far away.
    fn plan(&mut self, release: u64, at: u64, present: bool) {
        let head = self.now.0 / 1000;
        let height = [None, Some(head + 30), Some(1_000_000)][usize::try_from(at).unwrap()];
        let plan = HostPlan {
            release: ReleaseRef {
                sequence: 0,
                manifest: Digest([200 + release as u8; 32]),
                ..reference(release)
            },
            height,
            halted_after: Span::secs(30),
            limits: Limits::default(),
            present,
        };
        self.feed(Event::Planned(Some(Box::new(plan))));
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Order(goal, release, fresh, long) => self.order(*goal, *release, *fresh, *long),
            Act::OldOrder => {
                let mut old = self.machine.ledger().instruction.clone();
                old.generation = old.generation.saturating_sub(1);
                self.feed(Event::Instructed { instruction: Box::new(old), clock_ahead_ms: 0 });
            }
            Act::Pass(ms) => {
                self.now = self.now.plus(Span(*ms));
                self.start_if_due();
                self.feed(Event::Tick);
            }
            Act::NodeDies => self.die(),
            Act::Probe => self.probe(),
            Act::Deliver => {
                if let Some(event) = self.inbox.pop_front() {
                    self.feed(event);
                }
            }
            Act::CrashAfter(n) => self.crash_in = Some(*n),
            Act::FailStage => drop(self.fail.insert("stage", true)),
            Act::FailSwitch => drop(self.fail.insert("switch", true)),
            Act::FailPrepare => drop(self.fail.insert("prepare", true)),
            Act::Plan(release, at, present) => self.plan(*release, *at, *present),
            Act::NoPlan => self.feed(Event::Planned(None)),
            Act::Restart => self.feed(Event::RestartAsked),
            Act::FailStop => drop(self.fail.insert("stop", true)),
            Act::Sick(release, sick) => drop(self.sick.insert(*release, *sick)),
        }
    }

    /// No more faults: everything must come to rest with one good process.
    fn settle(&mut self) {
        self.fail.clear();
        self.sick.clear();
        self.crash_in = None;
        // A node that outlived a stop that failed ends in the end.
        if self.process.as_ref().is_some_and(|p| p.asked) {
            self.die();
        }
        for _ in 0..600 {
            while let Some(event) = self.inbox.pop_front() {
                self.feed(event);
            }
            self.now = self.now.plus(Span::secs(1));
            self.start_if_due();
            self.feed(Event::Tick);
            self.probe();
        }
        assert!(!self.machine.committed(), "still half way: {:?}", self.machine.ledger());
        let process = self.process.as_ref().expect("the node is down");
        assert_eq!(process.release, self.machine.ledger().current, "another release runs");
        assert_eq!(self.link, self.machine.ledger().current, "`current` is another release");
        assert!(matches!(self.machine.process(), ProcessState::Running { pid, .. } if *pid == process.pid));
    }
}

fn staged(n: u64) -> StagedRelease {
    let artifact = Artifact {
        os: "linux".into(),
        arch: "x86_64".into(),
        variant: None,
        url: "https://example.org/x".into(),
        sha256: Digest([n as u8; 32]),
        size: 1,
        member: None,
        executable_sha256: None,
    };
    StagedRelease {
        installed: installed(n),
        artifact: Some(artifact),
        activation_height: Some(1500),
        irreversible: false,
        at_height: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn old_or_new_whatever_happens(script in acts()) {
        let mut world = World::new();
        for act in &script {
            world.act(act);
        }
        world.settle();
    }
}
