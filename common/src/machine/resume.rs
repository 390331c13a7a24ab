//! After a crash of the agent: go on from what is written and what is found.
use super::plan::{Leave, Order};
use super::{Effect, Found, Ledger, Machine, Pending, WATCH, WATCH_CLOSELY};
use crate::time::{Span, UnixMs};
use crate::wire::v1::{AgentPhase, Direction, Fault, FaultCode, Goal, ProcessState};

impl Machine {
    pub(super) fn resume(&mut self, now: UnixMs, ledger: Ledger, found: &Found, out: &mut Vec<Effect>) {
        *self = Machine::new(ledger);
        self.booted = true;
        self.deadline_from = now;
        if let Some((pid, since)) = found.process {
            self.process = ProcessState::Running { pid, since };
            // One that is still being started is looked at soon enough to be measured.
            self.adopted = !matches!(self.ledger.phase, AgentPhase::Starting | AgentPhase::Probing);
        }
        match self.ledger.phase {
            AgentPhase::Downloading
            | AgentPhase::Verifying
            | AgentPhase::Staged
            | AgentPhase::Preflighting
                if !self.plan_changed() =>
            {
                self.resume_staging(now, found, out);
            }
            AgentPhase::Stopping => self.resume_stopping(now, found, out),
            AgentPhase::Preparing => self.resume_preparing(now, found, out),
            AgentPhase::Switching => self.resume_switching(now, found, out),
            AgentPhase::Starting | AgentPhase::Probing => self.resume_starting(now, found, out),
            // Also what was being staged for a plan that is not there any more.
            _ => self.resume_running(now, found, out),
        }
    }

    /// Whether plans changed while no agent ran, so that nobody wants the release in hand any more. A way that is
    /// walked to its end is walked to its end.
    fn plan_changed(&self) -> bool {
        let wanted = self.ledger.plan.as_ref().map(|p| &p.release);
        let by_plan = self.ledger.instruction.goal == Goal::Run && !self.committed();
        by_plan && self.ledger.target.as_ref() != wanted
    }

    /// The node is wanted: keep the process found, or start `current`.
    fn resume_running(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        use AgentPhase::{Done, Failed, Idle};
        let at_rest = matches!(self.ledger.phase, Idle | Done | Failed);
        // A plan that came or went while no agent ran.
        let begun =
            (at_rest || self.plan_changed()) && self.ledger.instruction.goal == Goal::Run && !self.settled();
        if begun {
            self.pursue(now, out);
        }
        if found.process.is_some() {
            out.extend([Effect::Watch { every: WATCH }, Effect::Report]);
            return;
        }
        if self.holds_launch(now) {
            // A restart after the height must not launch what the plan replaces.
            if !begun {
                self.pursue(now, out);
            }
            return;
        }
        let in_place = found.current.as_ref().is_some_and(|c| c.digest == self.ledger.current.digest);
        if in_place {
            self.start_current(now, out);
        } else {
            // Whatever happened to `current`, only the release of the ledger is run.
            self.pending = Some(Pending::Switch);
            out.push(Effect::Switch { release: self.ledger.current.clone() });
        }
    }

    fn resume_staging(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        let Some(release) = self.ledger.target.clone() else {
            self.enter(now, AgentPhase::Idle);
            self.commit(out, []);
            return self.resume_running(now, found, out);
        };
        self.enter(now, AgentPhase::Downloading);
        self.commit(out, []);
        self.resume_running(now, found, out);
        out.push(Effect::Stage { release, within: self.limits().download });
    }

    fn resume_stopping(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        if self.ledger.destination.is_none() {
            let detail = "the ledger does not say where the host was going".to_owned();
            self.give_up(now, Fault { code: FaultCode::SwitchFailed, detail, at: now }, out);
            return self.resume_running(now, found, out);
        }
        if found.process.is_none() {
            self.pending = Some(Pending::Stop);
            self.stopped(now, Ok(Span::ZERO), out);
        } else if found.stopping || self.ledger.failed || self.still_allowed(now) {
            self.pending = Some(Pending::Stop);
            out.push(Effect::Stop { within: self.limits().stop });
        } else {
            self.not_begun(now, out);
        }
    }

    fn still_allowed(&self, now: UnixMs) -> bool {
        let permission = match self.order() {
            Order::Switch(_, Leave::Permission(permission)) | Order::Back(_, permission) => permission,
            // It was due when the stop was intended, and heights do not go back.
            Order::Switch(release, Leave::Plan | Leave::Manifest) => {
                return self.ledger.target.as_ref() == Some(&release);
            }
            Order::Run | Order::Stage(_) | Order::Nameless => return false,
        };
        let theirs = UnixMs(now.0.saturating_add_signed(self.ledger.clock_ahead_ms));
        permission.id == self.ledger.spent_permission
            && theirs.plus(super::CLOCK_SKEW) < permission.expires_at
    }

    /// The stop was intended but never begun, and is not allowed any more: as before the permission.
    fn not_begun(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        self.ledger.destination = None;
        let phase = match self.ledger.direction {
            Direction::Forward => AgentPhase::Ready,
            Direction::Back => AgentPhase::Done,
        };
        // The release that should be left still runs; only the order to leave it has lapsed.
        self.ledger.direction = Direction::Forward;
        self.enter(now, phase);
        let detail = format!("permission {} ended before the stop could begin", self.ledger.spent_permission);
        self.ledger.fault = Some(Fault { code: FaultCode::PermissionExpired, detail, at: now });
        self.commit(out, [Effect::Watch { every: WATCH }, Effect::Report]);
    }

    /// The agent died while backing up or running hooks: once more from the beginning.
    fn resume_preparing(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        let Some(release) = self.ledger.destination.clone() else {
            return self.resume_stopping(now, found, out);
        };
        if found.process.is_some() {
            return self.foreign(now, found, out);
        }
        self.pending = Some(Pending::Prepare);
        out.push(Effect::Prepare { release });
    }

    fn resume_switching(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        let Some(release) = self.ledger.destination.clone() else {
            return self.resume_stopping(now, found, out);
        };
        if found.process.is_some() {
            return self.foreign(now, found, out);
        }
        self.pending = Some(Pending::Switch);
        out.push(Effect::Switch { release });
    }

    fn resume_starting(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        if found.process.is_none() {
            self.enter(now, AgentPhase::Starting);
            self.commit(out, []);
            return self.resume_running(now, found, out);
        }
        if found.running.is_some_and(|digest| digest != self.ledger.current.digest) {
            return self.foreign(now, found, out);
        }
        self.enter(now, AgentPhase::Probing);
        self.commit(out, [Effect::Watch { every: WATCH_CLOSELY }, Effect::Report]);
    }

    /// A process runs where the ledger says none can: somebody else started it. It is not stopped
    /// (there is no permission for that), it is watched, and the fault says so.
    fn foreign(&mut self, now: UnixMs, found: &Found, out: &mut Vec<Effect>) {
        let pid = found.process.map_or(0, |(pid, _)| pid);
        let detail = format!("process {pid} was started by somebody else during the switch");
        self.give_up(now, Fault { code: FaultCode::SwitchFailed, detail, at: now }, out);
    }
}
