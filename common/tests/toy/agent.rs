//! The agent of a toy node: one phase a second, with the flaws a story gives it.
use super::roots;
use common::id::ReleaseName;
use common::release::{Digest, InstalledRelease, ReleaseRef};
use common::time::UnixMs;
use common::wire::v1::{
    AgentPhase, Direction, Fault, FaultCode, Goal, Instruction, NodeHealth, NodeReport, ProcessState,
};
use std::collections::BTreeSet;

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The release does not stay up on it; its agent goes back.
    CrashesOnNew,
    /// It runs the release and follows, but never seals with it.
    NeverSealsOnNew,
    /// It computes another state with the release.
    DivergesOnNew,
    /// The artifact cannot be staged.
    CannotStage,
    /// Its agent reports nothing and does nothing; the node itself goes on.
    AgentGone,
    /// The node process is gone, its agent reports it.
    ProcessGone,
}

/// One node with its agent.
#[derive(Debug, Clone)]
pub struct ToyNode {
    pub phase: AgentPhase,
    pub direction: Direction,
    pub generation: u64,
    pub instruction: Instruction,
    pub on_new: bool,
    pub fault: Option<Fault>,
    pub spent: u64,
    pub stops: u32,
    pub flaws: BTreeSet<u8>,
}

impl ToyNode {
    pub fn new() -> Self {
        Self {
            phase: AgentPhase::Idle,
            direction: Direction::Forward,
            generation: 0,
            instruction: Instruction::none(),
            on_new: false,
            fault: None,
            spent: 0,
            stops: 0,
            flaws: BTreeSet::new(),
        }
    }

    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaws.contains(&(flaw as u8))
    }

    fn down(&self) -> bool {
        matches!(self.phase, AgentPhase::Stopping | AgentPhase::Switching | AgentPhase::Starting)
            || self.has(Flaw::ProcessGone)
    }

    pub fn seals(&self) -> bool {
        let mute = self.on_new && self.has(Flaw::NeverSealsOnNew);
        !self.down() && !mute
    }

    fn fail(&mut self, code: FaultCode, now: UnixMs) {
        self.fault = Some(Fault { code, detail: "in the toy".into(), at: now });
    }

    pub fn step(&mut self, desired: &Instruction, now: UnixMs) {
        let half_way = matches!(
            self.phase,
            AgentPhase::Stopping | AgentPhase::Switching | AgentPhase::Starting | AgentPhase::Probing
        );
        if desired.generation > self.generation {
            self.generation = desired.generation;
            self.instruction = desired.clone();
            if !half_way {
                self.begin(now);
            }
        } else if half_way || matches!(self.phase, AgentPhase::Downloading | AgentPhase::Preflighting) {
            self.walk(now);
        } else if self.phase == AgentPhase::Ready {
            self.try_switch(now);
        }
    }

    fn begin(&mut self, now: UnixMs) {
        match self.instruction.goal.clone() {
            Goal::Run => {
                self.phase = AgentPhase::Idle;
                self.direction = Direction::Forward;
                self.fault = None;
            }
            Goal::Stage if self.on_new => self.phase = AgentPhase::Done,
            Goal::Stage if self.phase == AgentPhase::Ready => {}
            Goal::Stage => {
                self.phase = AgentPhase::Downloading;
                self.direction = Direction::Forward;
                self.fault = None;
            }
            Goal::Switch { .. } => self.try_switch(now),
            Goal::AtHeight => {}
            Goal::Rollback { permission } => {
                self.direction = Direction::Back;
                if !self.on_new {
                    self.phase = AgentPhase::Done;
                } else if permission.id > self.spent && now < permission.expires_at {
                    self.stop(permission.id);
                }
            }
        }
    }

    fn try_switch(&mut self, now: UnixMs) {
        let Goal::Switch { permission } = &self.instruction.goal else { return };
        let id = permission.id;
        if self.phase != AgentPhase::Ready || id <= self.spent {
            return;
        }
        if now >= permission.expires_at {
            return self.fail(FaultCode::PermissionExpired, now);
        }
        self.direction = Direction::Forward;
        self.stop(id);
    }

    fn stop(&mut self, id: u64) {
        self.spent = id;
        self.stops += 1;
        self.fault = None;
        self.phase = AgentPhase::Stopping;
    }

    fn walk(&mut self, now: UnixMs) {
        self.phase = match self.phase {
            AgentPhase::Downloading if self.has(Flaw::CannotStage) => {
                self.fail(FaultCode::DigestMismatch, now);
                AgentPhase::Failed
            }
            AgentPhase::Downloading => AgentPhase::Preflighting,
            AgentPhase::Preflighting => AgentPhase::Ready,
            AgentPhase::Stopping => {
                self.on_new = self.direction == Direction::Forward;
                AgentPhase::Switching
            }
            AgentPhase::Switching => AgentPhase::Starting,
            AgentPhase::Starting => AgentPhase::Probing,
            AgentPhase::Probing if self.on_new && self.has(Flaw::CrashesOnNew) => {
                self.fail(FaultCode::CrashLoop, now);
                self.direction = Direction::Back;
                AgentPhase::Stopping
            }
            AgentPhase::Probing => {
                let failed = self.fault.is_some();
                if failed { AgentPhase::Failed } else { AgentPhase::Done }
            }
            other => other,
        };
        let at_rest = matches!(self.phase, AgentPhase::Done | AgentPhase::Failed);
        if at_rest && self.instruction.goal == Goal::Run {
            self.phase = AgentPhase::Idle;
        }
    }

    pub fn report(&self, now: UnixMs, head: u64, new: &ReleaseRef) -> NodeReport {
        let up = !self.down();
        let diverged = self.on_new && self.has(Flaw::DivergesOnNew);
        let running = if self.on_new {
            InstalledRelease { name: new.name.clone(), sequence: new.sequence, digest: Digest([2; 32]) }
        } else {
            InstalledRelease { name: ReleaseName::new("v1").unwrap(), sequence: 1, digest: Digest([1; 32]) }
        };
        let process =
            if up { ProcessState::Running { pid: 1, since: UnixMs(0) } } else { ProcessState::Stopped };
        let recent = (head.saturating_sub(7)..=head).map(|h| roots(h, diverged)).collect();
        NodeReport {
            at: now,
            agent_version: "toy".into(),
            phase: self.phase,
            target: Some(new.clone()),
            direction: self.direction,
            phase_since: now,
            running: Some(running),
            previous: None,
            process,
            health: NodeHealth {
                rpc_up: up,
                recent: if up { recent } else { vec![] },
                peers: Some(8),
                ..NodeHealth::default()
            },
            fault: self.fault.clone(),
            last_stop: None,
            last_start: None,
        }
    }
}
