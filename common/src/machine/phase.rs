//! From one phase to the next: staged, stopped, switched, started, probed, and the way back.
use super::{EXITS_BEFORE_WAY_BACK, Effect, Machine, Pending, StagedRelease, WATCH, WATCH_CLOSELY, back_off};
use crate::release::InstalledRelease;
use crate::time::{Span, UnixMs};
use crate::wire::v1::{AgentPhase, Direction, Fault, FaultCode, ProcessState};

impl Machine {
    pub(super) fn staged(&mut self, now: UnixMs, staged: StagedRelease, out: &mut Vec<Effect>) {
        let Some(target) = self.ledger.target.clone() else { return };
        if !self.staging() {
            return;
        }
        // A plan of this host knows no sequence before the manifest it names is read.
        let named = target.sequence == 0 || staged.installed.sequence == target.sequence;
        if staged.installed.name != target.name || !named {
            let detail = format!("{} was staged where {} was asked for", staged.installed.name, target.name);
            return self.not_staged(now, Fault { code: FaultCode::ManifestMismatch, detail, at: now }, out);
        }
        let (found, accepted) = (staged.installed.sequence, self.ledger.highest_sequence);
        if found != 0 && found < accepted {
            let detail = format!("sequence {found} is below {accepted}, accepted before");
            return self.not_staged(now, Fault { code: FaultCode::SequenceTooOld, detail, at: now }, out);
        }
        let release = staged.installed.clone();
        let ledger = &mut self.ledger;
        ledger.highest_sequence = ledger.highest_sequence.max(staged.installed.sequence);
        ledger.staged = Some(staged.installed);
        ledger.artifact = staged.artifact;
        ledger.activation_height = staged.activation_height;
        ledger.authorised_height = staged.activation_height.filter(|_| staged.at_height);
        ledger.irreversible = staged.irreversible;
        self.enter(now, AgentPhase::Preflighting);
        self.commit(out, [Effect::Preflight { release }, Effect::Report]);
    }

    pub(super) fn not_staged(&mut self, now: UnixMs, fault: Fault, out: &mut Vec<Effect>) {
        self.ledger.fault = Some(fault);
        self.ledger.staged = None;
        self.enter(now, AgentPhase::Failed);
        self.commit(out, [Effect::Report]);
    }

    pub(super) fn preflighted(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        if self.ledger.phase != AgentPhase::Preflighting {
            return;
        }
        self.enter(now, AgentPhase::Ready);
        self.commit(out, [Effect::Report]);
        self.try_switch(now, out);
    }

    pub(super) fn stopped(&mut self, now: UnixMs, result: Result<Span, Fault>, out: &mut Vec<Effect>) {
        if self.pending != Some(Pending::Stop) {
            return;
        }
        // A process that did not stop is there, also when its start was not told yet.
        let untold = result.is_err() && matches!(self.process, ProcessState::Stopped);
        self.pending = untold.then_some(Pending::Start);
        match (result, self.ledger.destination.clone()) {
            (Ok(took), Some(release)) => {
                self.process = ProcessState::Stopped;
                self.healthy_since = None;
                if took != Span::ZERO {
                    self.ledger.last_stop = Some(took);
                }
                if self.forward() {
                    self.enter(now, AgentPhase::Preparing);
                    self.pending = Some(Pending::Prepare);
                    self.commit(out, [Effect::Prepare { release }, Effect::Report]);
                } else {
                    self.begin_switch(now, release, out);
                }
            }
            (Ok(_), None) => self.start_current(now, out),
            (Err(fault), None) => {
                self.refusal = Some(fault);
                out.push(Effect::Report);
            }
            (Err(fault), Some(_)) => self.give_up(now, fault, out),
        }
    }

    fn begin_switch(&mut self, now: UnixMs, release: InstalledRelease, out: &mut Vec<Effect>) {
        self.enter(now, AgentPhase::Switching);
        self.pending = Some(Pending::Switch);
        self.commit(out, [Effect::Switch { release }, Effect::Report]);
    }

    /// Backup and hooks ended; when one of them said no, the host stays on the release it has.
    pub(super) fn prepared(&mut self, now: UnixMs, result: Result<(), Fault>, out: &mut Vec<Effect>) {
        if self.pending != Some(Pending::Prepare) {
            return;
        }
        self.pending = None;
        match (result, self.ledger.destination.clone()) {
            (Ok(()), Some(release)) => self.begin_switch(now, release, out),
            (Ok(()), None) => self.start_current(now, out),
            (Err(fault), _) => self.back_to_current(now, fault, out),
        }
    }

    /// `current` was not replaced, so the way back is the release it still names.
    fn back_to_current(&mut self, now: UnixMs, fault: Fault, out: &mut Vec<Effect>) {
        let old = self.ledger.current.clone();
        self.mark_failed(fault);
        self.ledger.destination = Some(old.clone());
        self.begin_switch(now, old, out);
    }

    /// Ends the way where it is: the node stays on what `current` is and is supervised there.
    pub(super) fn give_up(&mut self, now: UnixMs, fault: Fault, out: &mut Vec<Effect>) {
        self.ledger.fault = Some(fault);
        self.ledger.destination = None;
        self.enter(now, AgentPhase::Failed);
        self.commit(out, [Effect::Watch { every: WATCH }, Effect::Report]);
        if !self.settled() {
            self.pursue(now, out);
        }
    }

    pub(super) fn switched(&mut self, now: UnixMs, result: Result<(), Fault>, out: &mut Vec<Effect>) {
        if self.pending != Some(Pending::Switch) {
            return;
        }
        self.pending = None;
        match result {
            Ok(()) if self.ledger.phase == AgentPhase::Switching => {
                self.record_switch();
                self.enter(now, AgentPhase::Starting);
                self.deadline_from = now;
                self.exits = 0;
                self.restarts = 0;
                self.commit(out, []);
                self.start_current(now, out);
                out.push(Effect::Report);
            }
            Ok(()) => self.start_current(now, out),
            Err(fault) if self.ledger.phase == AgentPhase::Switching && self.forward() => {
                self.back_to_current(now, fault, out);
            }
            Err(fault) => {
                // The node is down and must not stay so: try again until the host lets us.
                self.restarts += 1;
                self.retry_at = Some(now.plus(back_off(self.restarts)));
                self.refusal = Some(fault);
                out.push(Effect::Report);
            }
        }
    }

    fn forward(&self) -> bool {
        self.ledger.direction == Direction::Forward
    }

    fn record_switch(&mut self) {
        let ledger = &mut self.ledger;
        let Some(destination) = ledger.destination.clone() else { return };
        if destination == ledger.current {
            // An upgrade to the very bytes that run has come too; otherwise it would be begun for ever.
            if ledger.direction == Direction::Forward && !ledger.failed {
                ledger.current_manifest = ledger.target.as_ref().map(|t| t.manifest);
                ledger.current_activation_height = ledger.activation_height;
                ledger.current_irreversible = ledger.irreversible;
            }
            return;
        }
        let old = std::mem::replace(&mut ledger.current, destination);
        ledger.switched_at = ledger.head.filter(|_| ledger.direction == Direction::Forward);
        match ledger.direction {
            Direction::Forward => {
                ledger.previous = Some(old);
                ledger.previous_manifest = ledger.current_manifest;
                ledger.current_manifest = ledger.target.as_ref().map(|t| t.manifest);
                ledger.current_activation_height = ledger.activation_height;
                ledger.current_irreversible = ledger.irreversible;
            }
            // One step back is all a host knows; the release it left is no place to go back to.
            Direction::Back => {
                ledger.previous = None;
                ledger.current_manifest = ledger.previous_manifest.take();
                ledger.current_activation_height = None;
                ledger.current_irreversible = false;
            }
        }
    }

    /// Makes sure `current` is what the ledger says, then starts it.
    pub(super) fn start_current(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        self.start_at(now, out);
        self.process = ProcessState::Stopped;
    }

    pub(super) fn start_at(&mut self, not_before: UnixMs, out: &mut Vec<Effect>) {
        self.pending = Some(Pending::Start);
        self.rpc_seen = false;
        out.push(Effect::Start { release: self.ledger.current.clone(), not_before });
    }

    pub(super) fn started(&mut self, now: UnixMs, result: Result<u32, Fault>, out: &mut Vec<Effect>) {
        // A start that was under way when a stop was ordered still tells its process.
        let stopping = self.pending != Some(Pending::Start);
        match result {
            Ok(pid) => {
                self.process = ProcessState::Running { pid, since: now };
                self.adopted = false;
                if stopping {
                    return;
                }
                self.pending = None;
                self.refusal = None;
                if self.ledger.phase == AgentPhase::Starting {
                    self.enter(now, AgentPhase::Probing);
                    self.commit(out, []);
                }
                let every = if self.committed() { WATCH_CLOSELY } else { WATCH };
                out.extend([Effect::Watch { every }, Effect::Report]);
            }
            Err(_) if stopping => {}
            Err(fault) => {
                self.pending = None;
                if self.committed() && self.forward() {
                    self.go_back(now, fault, out);
                } else {
                    let exit = fault.detail.clone();
                    self.refusal = Some(fault);
                    self.restart(now, exit, out);
                }
            }
        }
    }

    /// The release before `current`, or why there is no way back to it.
    pub(super) fn way_back(&self) -> Result<InstalledRelease, String> {
        let ledger = &self.ledger;
        if ledger.current_irreversible {
            return Err(format!("the manifest of {} forbids going back", ledger.current.name));
        }
        if let (Some(head), Some(height)) = (ledger.head, ledger.current_activation_height)
            && head >= height
        {
            return Err(format!("head {head} has reached the activation height {height}"));
        }
        ledger.previous.clone().ok_or_else(|| "there is no release to go back to".to_owned())
    }

    fn mark_failed(&mut self, fault: Fault) {
        let ledger = &mut self.ledger;
        if let Some(target) = &ledger.target
            && !ledger.refused.contains(&target.manifest)
        {
            ledger.refused.push(target.manifest);
        }
        ledger.fault = Some(fault);
        ledger.failed = true;
        ledger.direction = Direction::Back;
    }

    /// The new release failed: back to the one before, under the same permission, where that is allowed.
    pub(super) fn go_back(&mut self, now: UnixMs, fault: Fault, out: &mut Vec<Effect>) {
        self.mark_failed(fault.clone());
        match self.way_back() {
            Ok(previous) => {
                self.ledger.destination = Some(previous);
                self.enter(now, AgentPhase::Stopping);
                self.pending = Some(Pending::Stop);
                let within = self.limits().stop;
                self.commit(out, [Effect::Stop { within }, Effect::Report]);
            }
            Err(why) => {
                self.ledger.direction = Direction::Forward;
                let detail = format!("{}; no way back: {why}", fault.detail);
                let exit = fault.detail.clone();
                self.give_up(now, Fault { detail, ..fault }, out);
                let down = !matches!(self.process, ProcessState::Running { .. });
                if down && self.pending.is_none() {
                    self.restart(now, exit, out);
                }
            }
        }
    }

    /// The release in hand runs and looks healthy.
    pub(super) fn healthy(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        self.ledger.destination = None;
        if self.ledger.failed {
            self.enter(now, AgentPhase::Failed);
        } else {
            self.ledger.fault = None;
            self.enter(now, AgentPhase::Done);
        }
        self.commit(out, [Effect::Watch { every: WATCH }, Effect::Report]);
        if !self.settled() {
            self.pursue(now, out);
        }
    }

    /// Judges the deadlines of a release that is being started.
    pub(super) fn judge(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        use AgentPhase::{Probing, Starting};
        if !matches!(self.ledger.phase, Starting | Probing) {
            return;
        }
        let limits = self.limits();
        let spent = now.since(self.deadline_from);
        let up = matches!(self.process, ProcessState::Running { .. });
        let code = if self.exits >= EXITS_BEFORE_WAY_BACK || (self.exits > 0 && !up && spent >= limits.start)
        {
            FaultCode::CrashLoop
        } else if spent >= limits.rpc {
            if self.exits > 0 { FaultCode::CrashLoop } else { FaultCode::NotHealthy }
        } else {
            return;
        };
        let name = &self.ledger.current.name;
        let detail = match code {
            FaultCode::CrashLoop => format!("{name} ended {} times within {spent}", self.exits),
            _ => format!("{name}: RPC and an advancing head were not seen within {spent}"),
        };
        let fault = Fault { code, detail, at: now };
        if self.forward() {
            self.go_back(now, fault, out);
        } else if spent >= limits.rpc {
            // The old release is kept running and restarted for ever; only the wait for it ends.
            let fault = self.ledger.fault.clone().unwrap_or(fault);
            self.give_up(now, fault, out);
        }
    }
}
