//! Keeping the current release up: exits, back-off, probes, time.
use super::{Effect, HEALTHY_AFTER, Machine, Pending, Probe, back_off};
use crate::time::UnixMs;
use crate::wire::v1::{AgentPhase, ProcessState};

impl Machine {
    pub(super) fn exited(&mut self, now: UnixMs, exit: String, out: &mut Vec<Effect>) {
        if !matches!(self.process, ProcessState::Running { .. }) {
            return;
        }
        self.healthy_since = None;
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
            _ => self.restart(now, exit, out),
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
        self.note_head(probe.head, out);
        if !probe.rpc_up {
            self.healthy_since = None;
            return;
        }
        let healthy_since = *self.healthy_since.get_or_insert(now);
        if now.since(healthy_since) >= HEALTHY_AFTER {
            self.restarts = 0;
        }
        if !self.rpc_seen {
            self.rpc_seen = true;
            self.ledger.last_start = Some(now.since(since));
        }
        let waited_for = self.ledger.phase == AgentPhase::Probing && self.pending.is_none();
        if waited_for && probe.head_advanced {
            self.healthy(now, out);
        }
    }

    /// Remembers the highest head. The moment it reaches the activation height is written down at
    /// once: after it there is no way back, also not after a crash of the agent.
    fn note_head(&mut self, head: Option<u64>, out: &mut Vec<Effect>) {
        let Some(head) = head else { return };
        let before = self.ledger.head;
        if before.is_some_and(|b| b >= head) {
            return;
        }
        self.ledger.head = Some(head);
        let crossed = |height: &u64| head >= *height && before.is_none_or(|b| b < *height);
        if self.ledger.current_activation_height.as_ref().is_some_and(crossed) {
            self.commit(out, []);
        }
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
