//! What an instruction makes the machine do.
use super::plan::{Leave, Order};
use super::{CLOCK_SKEW, Effect, Machine, Pending};
use crate::release::ReleaseRef;
use crate::time::UnixMs;
use crate::wire::v1::{AgentPhase, Direction, FaultCode, Instruction, Permission};

impl Machine {
    pub(super) fn instructed(
        &mut self,
        now: UnixMs,
        instruction: Instruction,
        clock_ahead_ms: i64,
        out: &mut Vec<Effect>,
    ) {
        self.ledger.clock_ahead_ms = clock_ahead_ms;
        let stored = self.ledger.instruction.generation;
        if instruction.generation < stored {
            let detail = format!("generation {} came after {stored} was stored", instruction.generation);
            self.refuse(now, FaultCode::GenerationOld, detail);
            return;
        }
        if instruction.generation == stored {
            if instruction != self.ledger.instruction {
                let detail = format!("generation {stored} came again with other content");
                self.refuse(now, FaultCode::GenerationConflict, detail);
            } else if self.refusal.as_ref().is_some_and(|f| f.code.is_about_generation()) {
                self.refusal = None;
            }
            return;
        }
        if instruction.rollout != self.ledger.instruction.rollout {
            self.ledger.refused.clear();
        }
        self.ledger.instruction = instruction;
        self.refusal = None;
        if self.committed() {
            self.commit(out, [Effect::Report]);
        } else {
            self.pursue(now, out);
        }
    }

    /// Whether the node is being stopped, switched or started: a way that is walked to its end.
    pub(super) fn committed(&self) -> bool {
        use AgentPhase::{Preparing, Probing, Starting, Stopping, Switching};
        matches!(self.ledger.phase, Stopping | Preparing | Switching | Starting | Probing)
    }

    /// Whether the driver is busy with `Stage`.
    pub(super) fn staging(&self) -> bool {
        use AgentPhase::{Downloading, Staged, Verifying};
        matches!(self.ledger.phase, Downloading | Verifying | Staged)
    }

    fn cancel(&self) -> Option<Effect> {
        (self.staging() || self.ledger.phase == AgentPhase::Preflighting).then_some(Effect::Cancel)
    }

    /// Whether what the instruction asks for is already so.
    pub(super) fn settled(&self) -> bool {
        let ledger = &self.ledger;
        match self.order() {
            Order::Run => ledger.phase == AgentPhase::Idle,
            Order::Stage(release) | Order::Switch(release, _) => match ledger.phase {
                AgentPhase::Done => ledger.current_manifest == Some(release.manifest),
                AgentPhase::Failed => ledger.target.as_ref() == Some(&release),
                _ => false,
            },
            Order::Nameless => true,
            Order::Back(..) => ledger.phase == AgentPhase::Done && ledger.direction == Direction::Back,
        }
    }

    /// Begins what the stored instruction asks for. Only called when nothing is half way.
    pub(super) fn pursue(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        match self.order() {
            Order::Run => self.leave_off(now, out),
            Order::Stage(release) | Order::Switch(release, _) => self.work_towards(now, release, out),
            Order::Nameless => {
                self.leave_off(now, out);
                self.refuse(now, FaultCode::ManifestUnavailable, "the instruction names no release".into());
            }
            Order::Back(release, permission) => self.order_back(now, release, &permission, out),
        }
    }

    fn leave_off(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        let cancel = self.cancel();
        self.enter(now, AgentPhase::Idle);
        self.forget_target();
        self.commit(out, cancel.into_iter().chain([Effect::Report]));
    }

    fn forget_target(&mut self) {
        let ledger = &mut self.ledger;
        ledger.target = None;
        ledger.staged = None;
        ledger.artifact = None;
        ledger.activation_height = None;
        ledger.irreversible = false;
        ledger.authorised_height = None;
        ledger.destination = None;
        ledger.fault = None;
        ledger.failed = false;
        ledger.direction = Direction::Forward;
    }

    fn work_towards(&mut self, now: UnixMs, release: ReleaseRef, out: &mut Vec<Effect>) {
        let cancel = self.cancel();
        let in_hand = self.ledger.target.as_ref() == Some(&release);
        if self.ledger.refused.contains(&release.manifest) {
            self.enter(now, AgentPhase::Failed);
            if !in_hand {
                self.forget_target();
                self.ledger.target = Some(release);
            }
            if self.ledger.fault.is_none() {
                let detail = "the release failed here before in this attempt".to_owned();
                self.ledger.fault =
                    Some(crate::wire::v1::Fault { code: FaultCode::CrashLoop, detail, at: now });
            }
            self.commit(out, cancel.into_iter().chain([Effect::Report]));
        } else if self.ledger.current_manifest == Some(release.manifest) {
            self.enter(now, AgentPhase::Done);
            self.forget_target();
            self.ledger.target = Some(release);
            self.commit(out, cancel.into_iter().chain([Effect::Report]));
        } else if in_hand && (cancel.is_some() || self.ledger.phase == AgentPhase::Ready) {
            self.commit(out, [Effect::Report]);
            self.try_switch(now, out);
        } else {
            self.forget_target();
            self.ledger.target = Some(release.clone());
            self.enter(now, AgentPhase::Downloading);
            self.ledger.phase_since = now;
            let within = self.limits().download;
            let stage = [Effect::Stage { release, within }, Effect::Report];
            self.commit(out, cancel.into_iter().chain(stage));
        }
    }

    /// Why this permission cannot be used now; `None` when it can.
    fn unusable(&self, now: UnixMs, permission: &Permission) -> Option<String> {
        if permission.id <= self.ledger.spent_permission {
            return Some(format!("permission {} was used already", permission.id));
        }
        let theirs = UnixMs(now.0.saturating_add_signed(self.ledger.clock_ahead_ms));
        (theirs.plus(CLOCK_SKEW) >= permission.expires_at)
            .then(|| format!("permission {} ended before the stop could begin", permission.id))
    }

    /// Begins the switch when everything is ready and allowed.
    pub(super) fn try_switch(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        let Order::Switch(release, leave) = self.order() else { return };
        let Some(staged) = self.ledger.staged.clone() else { return };
        if self.ledger.phase != AgentPhase::Ready || self.ledger.target.as_ref() != Some(&release) {
            return;
        }
        let refused = match &leave {
            Leave::Permission(permission) => {
                self.unusable(now, permission).map(|why| (FaultCode::PermissionExpired, why))
            }
            Leave::Manifest if self.ledger.authorised_height.is_none() => {
                let why = format!("the signed manifest of {} allows no switch at a height", release.name);
                Some((FaultCode::NotAuthorised, why))
            }
            Leave::Manifest | Leave::Plan => None,
        };
        if let Some((code, why)) = refused {
            if self.refuse(now, code, why) {
                out.push(Effect::Report);
            }
            return;
        }
        let due = match &leave {
            Leave::Permission(_) => true,
            Leave::Manifest => self.due(now, self.ledger.authorised_height),
            Leave::Plan => self.due(now, self.ledger.plan.as_ref().and_then(|p| p.height)),
        };
        if !due {
            return;
        }
        self.ledger.direction = Direction::Forward;
        self.ledger.failed = false;
        let permission = if let Leave::Permission(p) = leave { Some(p.id) } else { None };
        self.begin_stop(now, permission, staged, None, out);
    }

    fn order_back(
        &mut self,
        now: UnixMs,
        release: Option<ReleaseRef>,
        permission: &Permission,
        out: &mut Vec<Effect>,
    ) {
        let cancel = self.cancel();
        let runs_it = match &release {
            Some(release) => self.ledger.current_manifest == Some(release.manifest),
            None => self.ledger.previous.is_some(),
        };
        if !runs_it {
            self.forget_target();
            self.ledger.target = release;
            self.ledger.direction = Direction::Back;
            self.enter(now, AgentPhase::Done);
            self.commit(out, cancel.into_iter().chain([Effect::Report]));
            return;
        }
        if cancel.is_some() || self.ledger.phase == AgentPhase::Ready {
            self.enter(now, AgentPhase::Idle);
            self.forget_target();
        }
        let refused = match self.way_back() {
            Err(why) => Some((FaultCode::RollbackRefused, why)),
            Ok(_) => self.unusable(now, permission).map(|why| (FaultCode::PermissionExpired, why)),
        };
        match (self.way_back(), refused) {
            (Ok(previous), None) => {
                self.forget_target();
                self.ledger.target = release;
                self.ledger.direction = Direction::Back;
                self.begin_stop(now, Some(permission.id), previous, cancel, out);
            }
            (_, refused) => {
                if let Some((code, why)) = refused {
                    self.refuse(now, code, why);
                }
                self.commit(out, cancel.into_iter().chain([Effect::Report]));
            }
        }
    }

    fn begin_stop(
        &mut self,
        now: UnixMs,
        permission: Option<u64>,
        destination: crate::release::InstalledRelease,
        cancel: Option<Effect>,
        out: &mut Vec<Effect>,
    ) {
        self.refusal = None;
        self.ledger.fault = None;
        self.ledger.spent_permission = permission.unwrap_or(self.ledger.spent_permission);
        self.ledger.destination = Some(destination);
        self.enter(now, AgentPhase::Stopping);
        // A restart that was asked for may be stopping the node already; its end is this one's.
        let begun = self.pending.replace(Pending::Stop) == Some(Pending::Stop);
        let stop = (!begun).then_some(Effect::Stop { within: self.limits().stop });
        self.commit(out, cancel.into_iter().chain(stop).chain([Effect::Report]));
    }
}

impl FaultCode {
    /// Whether the fault is about the order of instructions.
    fn is_about_generation(self) -> bool {
        matches!(self, FaultCode::GenerationOld | FaultCode::GenerationConflict)
    }
}
