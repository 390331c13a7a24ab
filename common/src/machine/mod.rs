//! The agent's upgrade machine: `Machine::step(now, event) -> effects`. Pure; the driver in the agent is dull.
//!
//! Order is part of the contract: the driver carries out effects in the order given, and a
//! [`Effect::Persist`] must be durable before any effect after it begins. After a crash the driver
//! feeds [`Event::Booted`] with the stored [`Ledger`] and what it finds on the host, and goes on.
#[cfg(test)]
mod clock_tests;
mod effect;
mod event;
mod instruct;
mod ledger;
mod phase;
mod plan;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod props;
mod resume;
mod supervise;
#[cfg(test)]
mod tests;

pub use effect::Effect;
pub use event::{Event, Found, Probe, StagedRelease};
pub use ledger::Ledger;
pub use plan::{HeightWait, HostPlan};

use crate::time::{Span, UnixMs};
use crate::wire::v1::{AgentPhase, Fault, FaultCode, NodeHealth, NodeReport, ProcessState};

/// How far the two clocks may still differ after the offset is taken out: the node is not stopped later
/// than this before its permission ends.
pub const CLOCK_SKEW: Span = Span::secs(2);
/// Exits after which a new release is given up.
pub const EXITS_BEFORE_WAY_BACK: u32 = 3;
/// First pause before a crashed node is started again; doubles with every exit.
pub const BACK_OFF_FIRST: Span = Span::secs(1);
/// Longest pause before a crashed node is started again.
pub const BACK_OFF_MOST: Span = Span::mins(5);
/// How long RPC must answer before earlier exits are forgotten.
pub const HEALTHY_AFTER: Span = Span::secs(60);
/// The highest head is written down at least this often while it grows, and at every look near a plan's height.
pub const HEAD_WRITTEN_EVERY: Span = Span::secs(60);
/// Time between probes while a release is being started.
pub const WATCH_CLOSELY: Span = Span(500);
/// Time between probes otherwise.
pub const WATCH: Span = Span::secs(2);

/// What the driver was asked to do with the process and has not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Stop,
    Prepare,
    Switch,
    Start,
}

/// The upgrade machine of one host.
#[derive(Debug, Clone)]
pub struct Machine {
    ledger: Ledger,
    process: ProcessState,
    pending: Option<Pending>,
    /// Why the last order was not followed. Not persisted: it is about the order, not about the host.
    refusal: Option<Fault>,
    /// Exits of the release that is being started.
    exits: u32,
    /// Exits since the node was last healthy.
    restarts: u32,
    healthy_since: Option<UnixMs>,
    /// When the release in hand was first started (again after a crash of the agent).
    deadline_from: UnixMs,
    /// Whether RPC was seen since the process was started.
    rpc_seen: bool,
    /// Whether the process was found running, so that nobody saw how long its start took.
    adopted: bool,
    /// Whether the host was looked at; nothing is started before.
    booted: bool,
    /// Since when the head is what it is.
    head_since: Option<UnixMs>,
    /// When the head was last written down.
    head_written: UnixMs,
    /// Ends of the node without an answering RPC between them.
    silent_exits: u32,
    /// When to try again what could not be done.
    retry_at: Option<UnixMs>,
}

impl Machine {
    /// A machine that has not looked at its host yet; feed it [`Event::Booted`] first.
    pub fn new(ledger: Ledger) -> Machine {
        Machine {
            ledger,
            process: ProcessState::Stopped,
            pending: None,
            refusal: None,
            exits: 0,
            restarts: 0,
            healthy_since: None,
            deadline_from: UnixMs(0),
            rpc_seen: false,
            adopted: false,
            booted: false,
            head_since: None,
            head_written: UnixMs(0),
            silent_exits: 0,
            retry_at: None,
        }
    }

    /// A machine on its host as found, and what it wants first.
    pub fn booted(ledger: Ledger, found: Found, now: UnixMs) -> (Machine, Vec<Effect>) {
        let mut machine = Machine::new(ledger.clone());
        let effects = machine.step(now, Event::Booted { ledger: Box::new(ledger), found });
        (machine, effects)
    }

    /// Takes one event and says what is to be done, in order.
    pub fn step(&mut self, now: UnixMs, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Booted { ledger, found } => self.resume(now, *ledger, &found, &mut out),
            Event::Instructed { instruction, clock_ahead_ms } => {
                self.instructed(now, *instruction, clock_ahead_ms, &mut out);
            }
            Event::Planned(plan) => self.planned(now, plan.map(|p| *p), &mut out),
            Event::Forgiven => self.forgive(now, &mut out),
            Event::RestartAsked => self.restart_asked(now, &mut out),
            Event::Staged(Ok(staged)) => self.staged(now, staged, &mut out),
            Event::Staged(Err(fault)) if self.staging() => self.not_staged(now, fault, &mut out),
            Event::Preflighted(Ok(())) => self.preflighted(now, &mut out),
            Event::Preflighted(Err(fault)) if self.ledger.phase == AgentPhase::Preflighting => {
                self.not_staged(now, fault, &mut out);
            }
            Event::Staged(Err(_)) | Event::Preflighted(Err(_)) => {}
            Event::Stopped(result) => self.stopped(now, result, &mut out),
            Event::Prepared(result) => self.prepared(now, result, &mut out),
            Event::Switched(result) => self.switched(now, result, &mut out),
            Event::Started(result) => self.started(now, result, &mut out),
            Event::Exited { exit } => self.exited(now, exit, &mut out),
            Event::Probed(probe) => self.probed(now, &probe, &mut out),
            Event::Tick => self.tick(now, &mut out),
        }
        self.keep_up(now, &mut out);
        out
    }

    /// What must survive a crash; equals the last [`Effect::Persist`] but for the head and the clock offset.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where the machine stands.
    pub fn phase(&self) -> AgentPhase {
        self.ledger.phase
    }

    /// The node process as the machine sees it.
    pub fn process(&self) -> &ProcessState {
        &self.process
    }

    /// Whether the node is being stopped, switched or started: a way that is walked to its end.
    pub fn is_committed(&self) -> bool {
        self.committed()
    }

    /// Whether the node runs and nothing waits for time: no [`Event::Tick`] makes a difference then.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.process, ProcessState::Running { .. })
            && self.pending.is_none()
            && self.retry_at.is_none()
            && matches!(self.ledger.phase, AgentPhase::Idle | AgentPhase::Done | AgentPhase::Failed)
    }

    /// Whether the switch is behind and the start of the new release ahead.
    pub fn has_switched(&self) -> bool {
        self.ledger.phase == AgentPhase::Starting
            && self.ledger.direction == crate::wire::v1::Direction::Forward
    }

    /// Exits since the node was last healthy.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why the last order was not followed, else what failed last.
    pub fn fault(&self) -> Option<&Fault> {
        self.refusal.as_ref().or(self.ledger.fault.as_ref())
    }

    /// The full report for the next sync.
    pub fn report(&self, now: UnixMs, agent_version: &str, health: NodeHealth) -> NodeReport {
        let ledger = &self.ledger;
        NodeReport {
            at: now,
            agent_version: agent_version.to_owned(),
            phase: ledger.phase,
            target: ledger.target.clone(),
            direction: ledger.direction,
            phase_since: ledger.phase_since,
            running: Some(ledger.current.clone()),
            previous: ledger.previous.clone(),
            process: self.process.clone(),
            health,
            fault: self.fault().cloned(),
            last_stop: ledger.last_stop,
            last_start: ledger.last_start,
        }
    }

    fn enter(&mut self, now: UnixMs, phase: AgentPhase) {
        if self.ledger.phase != phase {
            self.ledger.phase_since = now;
        }
        self.ledger.phase = phase;
    }

    /// Writes the ledger down, then asks for the effects.
    fn commit(&self, out: &mut Vec<Effect>, then: impl IntoIterator<Item = Effect>) {
        out.push(Effect::Persist(Box::new(self.ledger.clone())));
        out.extend(then);
    }

    fn refuse(&mut self, now: UnixMs, code: FaultCode, detail: String) -> bool {
        let same = self.refusal.as_ref().is_some_and(|f| f.code == code && f.detail == detail);
        if !same {
            self.refusal = Some(Fault { code, detail, at: now });
        }
        !same
    }
}

/// The pause before the `restarts`-th restart.
pub fn back_off(restarts: u32) -> Span {
    let doublings = restarts.saturating_sub(1).min(20);
    Span((BACK_OFF_FIRST.0 << doublings).min(BACK_OFF_MOST.0))
}
