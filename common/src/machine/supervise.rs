//! Keeping the current release up: exits, back-off, probes, time.
use super::{Effect, HEAD_WRITTEN_EVERY, HEALTHY_AFTER, Machine, Pending, Probe, back_off};
use crate::time::UnixMs;
use crate::wire::v1::{AgentPhase, ProcessState};

impl Machine {
    pub(super) fn exited(&mut self, now: UnixMs, exit: String, out: &mut Vec<Effect>) {
        if !matches!(self.process, ProcessState::Running { .. }) {
            return;
        }
        self.healthy_since = None;
        self.silent_exits = if self.rpc_seen { 1 } else { self.silent_exits.saturating_add(1) };
        match self.ledger.phase {
            // The stop that is under way says when the process is gone.
            _ if self.pending == Some(Pending::Stop) => {}
            AgentPhase::Starting | AgentPhase::Probing => {
                self.exits += 1;
                self.process = ProcessState::Stopped;
                self.judge(now, out);
                if self.pending.is_none() {
                    self.restart(now, exit, out);
                }
            }
            _ => {
                // A chain that halts ends its node: the plan may be due now.
                self.process = ProcessState::Stopped;
                self.try_switch(now, out);
                if self.pending.is_none() {
                    self.restart(now, exit, out);
                }
            }
        }
    }

    /// The operator, or the health rules, want the node started anew.
    pub(super) fn restart_asked(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        if self.committed() {
            return;
        }
        match (&self.process, self.pending) {
            (ProcessState::Running { .. }, None) => {
                self.pending = Some(Pending::Stop);
                out.push(Effect::Stop { within: self.limits().stop });
            }
            (ProcessState::BackingOff { until, .. }, Some(Pending::Start)) if now < *until => {
                self.start_current(now, out);
            }
            _ => {}
        }
    }

    /// Outside of an upgrade the node is wanted, whatever the event was about.
    pub(super) fn keep_up(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        let down = matches!(self.process, ProcessState::Stopped) && self.pending.is_none();
        if !self.booted || !down || self.committed() || self.retry_at.is_some() {
            return;
        }
        if !self.holds_launch(now) {
            self.start_current(now, out);
        }
    }

    /// Starts the current release again, later the more often it ended.
    pub(super) fn restart(&mut self, now: UnixMs, exit: String, out: &mut Vec<Effect>) {
        self.restarts += 1;
        let until = now.plus(back_off(self.restarts));
        self.process = ProcessState::BackingOff { restarts: self.restarts, until, exit };
        self.start_at(until, out);
        out.push(Effect::Report);
    }

    pub(super) fn probed(&mut self, now: UnixMs, probe: &Probe, out: &mut Vec<Effect>) {
        let ProcessState::Running { since, .. } = self.process else { return };
        self.note_head(now, probe.head, out);
        if !probe.rpc_up {
            self.healthy_since = None;
            return;
        }
        let healthy_since = *self.healthy_since.get_or_insert(now);
        if now.since(healthy_since) >= HEALTHY_AFTER {
            self.restarts = 0;
        }
        self.silent_exits = 0;
        if !self.rpc_seen {
            self.rpc_seen = true;
            if !self.adopted {
                self.ledger.last_start = Some(now.since(since));
            }
        }
        let waited_for = self.ledger.phase == AgentPhase::Probing && self.pending.is_none();
        // A plan's release that was given up on the far side of its height, and came up after all.
        let late = self.ledger.phase == AgentPhase::Failed && self.pending.is_none() && self.stuck_on_plan();
        if late && probe.head_advanced {
            self.ledger.failed = false;
            self.ledger.refused.clear();
        }
        if (waited_for || late) && probe.head_advanced {
            self.healthy(now, out);
        }
    }

    /// Remembers the highest head. The moment it reaches the activation height is written down at
    /// once: after it there is no way back, also not after a crash of the agent. Otherwise now and then,
    /// and near the height of a plan always, so that a plan is due also when the node cannot tell any more.
    fn note_head(&mut self, now: UnixMs, head: Option<u64>, out: &mut Vec<Effect>) {
        let Some(head) = head else { return };
        let before = self.ledger.head;
        if before.is_some_and(|b| b >= head) {
            self.head_since.get_or_insert(now);
            return;
        }
        self.ledger.head = Some(head);
        self.head_since = Some(now);
        let crossed = |height: &u64| head >= *height && before.is_none_or(|b| b < *height);
        let near = |height: u64| head < height && height - head <= 100;
        let plan = self.ledger.plan.as_ref().and_then(|p| p.height).or(self.ledger.authorised_height);
        let old = now.since(self.head_written) >= HEAD_WRITTEN_EVERY;
        if self.ledger.current_activation_height.as_ref().is_some_and(crossed)
            || plan.is_some_and(|h| near(h) || crossed(&h))
            || old
        {
            self.head_written = now;
            self.commit(out, []);
        }
        self.try_switch(now, out);
    }

    pub(super) fn tick(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            let release = self.ledger.destination.clone().unwrap_or_else(|| self.ledger.current.clone());
            self.pending = Some(Pending::Switch);
            out.push(Effect::Switch { release });
        }
        if self.ledger.phase == AgentPhase::Ready {
            self.try_switch(now, out);
        }
        if self.pending != Some(Pending::Stop) {
            self.judge(now, out);
        }
    }
}
