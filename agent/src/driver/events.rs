//! What is told to people and their tools: verdicts, events, counters, the rotation of the node's output.
use super::Driver;
use crate::clock;
use crate::config::Output;
use crate::health::{Sealing, Verdict};
use crate::host::rotate;
use crate::metrics::Counters;
use crate::webhook;
use common::machine::Event;
use common::time::Span;
use common::wire::v1::{AgentPhase, Direction, ProcessState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use webhook::Kind;

/// How often a node that is down is judged; one that runs is judged at every look.
const JUDGE_DOWN_EVERY: Span = Span::secs(5);
/// How often the size of the node's output is looked at.
const ROTATE_EVERY: Duration = Duration::from_secs(10);
/// How long the last events may take to be told when the agent ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Driver {
    /// Tells an event, with the release that is current.
    pub(super) fn tell(&self, kind: Kind, detail: impl Into<String>) {
        let Some(teller) = &self.parts.teller else { return };
        let ledger = self.machine.ledger();
        let mut event = webhook::Event::new(kind, detail);
        event.release = Some(ledger.current.name.to_string());
        event.height = ledger.head;
        teller.tell(event);
    }

    /// Lets the last events out.
    pub(super) async fn last_words(&self) {
        if let Some(teller) = &self.parts.teller {
            teller.drain(LAST_WORDS).await;
        }
    }

    /// Judges the node by what was seen just now.
    pub(super) fn judge_health(&mut self, sealing: Option<Sealing>) {
        let now = clock::now();
        self.judged_at = now;
        let verdict = self.judge.judge(now, self.machine.process(), &self.health, sealing.as_ref());
        self.say_verdict(&verdict);
        self.parts.counters.judged(verdict, sealing);
        // In a fleet a restart is a permission's matter; here it is the operator's, who set `recover_after`.
        let busy = self.machine.is_committed() || self.parts.coordinator.is_some();
        if self.judge.recover(self.machine.process(), busy) {
            let why = format!("its RPC was silent for {}", self.parts.settings.health.recover_after);
            tracing::warn!("restarting the node: {why}");
            self.tell(Kind::NodeRecovering, why);
            self.queue.push_back(Event::RestartAsked);
        }
    }

    fn say_verdict(&mut self, verdict: &Verdict) {
        if verdict.changed && verdict.healthy {
            tracing::info!("the node is healthy");
            self.tell(Kind::Healthy, "everything is well");
        } else if verdict.changed {
            tracing::warn!("the node is unhealthy: {}", verdict.why());
            self.tell(Kind::Unhealthy, verdict.why());
        }
        let low = verdict.checks.iter().find(|c| c.name == "disk" && c.ok == Some(false));
        if let Some(check) = low.filter(|_| !self.disk_low) {
            self.tell(Kind::DiskLow, check.detail.clone());
        }
        self.disk_low = low.is_some();
    }

    /// A node that is down is judged now and then; its output is rotated.
    pub(super) fn keep_house(&mut self) {
        if self.parts.node.is_none() && clock::now().since(self.judged_at) >= JUDGE_DOWN_EVERY {
            self.judge_health(None);
        }
        let log = &self.parts.settings.log;
        if Instant::now() < self.next_rotation || log.node_max_bytes == 0 {
            return;
        }
        self.next_rotation = Instant::now() + ROTATE_EVERY;
        if self.parts.settings.node.output == Output::Inherit {
            return;
        }
        let (path, most, keep) = (log.node_file.clone(), log.node_max_bytes, log.node_keep);
        // Only a file that is too long is worth a thread.
        if std::fs::metadata(&path).is_ok_and(|m| m.len() <= most) {
            return;
        }
        let counters = Arc::clone(&self.parts.counters);
        tokio::task::spawn_blocking(move || match rotate::rotate_if_due(&path, most, keep) {
            Ok(true) => Counters::bump(&counters.log_rotations),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the node's output could not be rotated")
            }
        });
    }

    /// The machine came into another phase.
    pub(super) fn phase_changed(&self, before: AgentPhase, after: AgentPhase) {
        let (ledger, counters) = (self.machine.ledger(), &self.parts.counters);
        let name = ledger.target.as_ref().map_or("the release", |t| t.name.as_str()).to_owned();
        let fault = ledger.fault.as_ref().map(|f| f.detail.clone()).unwrap_or_default();
        match after {
            AgentPhase::Ready => self.tell(Kind::UpgradePending, format!("{name} is ready")),
            AgentPhase::Stopping if ledger.direction == Direction::Forward => {
                self.tell(Kind::UpgradeStarted, format!("the node is stopped for {name}"));
            }
            AgentPhase::Done if before == AgentPhase::Probing && ledger.direction == Direction::Forward => {
                Counters::bump(&counters.upgrades_done);
                self.tell(Kind::UpgradeDone, format!("{name} runs and is healthy"));
            }
            AgentPhase::Done if before == AgentPhase::Probing => {
                Counters::bump(&counters.upgrades_rolled_back);
                self.tell(Kind::RolledBack, format!("back on {}", ledger.current.name));
            }
            AgentPhase::Failed => {
                Counters::bump(&counters.upgrades_failed);
                self.tell(Kind::UpgradeFailed, format!("{name}: {fault}"));
                if ledger.failed && before == AgentPhase::Probing {
                    Counters::bump(&counters.upgrades_rolled_back);
                    self.tell(Kind::RolledBack, format!("back on {}: {fault}", ledger.current.name));
                }
            }
            _ => {}
        }
        let waiting = u64::from(matches!(after, AgentPhase::Ready));
        counters.upgrades_pending.store(waiting, Ordering::Relaxed);
    }

    /// The node ended and nobody had asked it to.
    pub(super) fn crashed(&self, exit: &str) {
        Counters::bump(&self.parts.counters.exits);
        self.tell(Kind::NodeCrashed, exit.to_owned());
    }

    /// The node was executed.
    pub(super) fn node_started(&self, pid: u32) {
        if matches!(self.machine.process(), ProcessState::BackingOff { .. }) {
            Counters::bump(&self.parts.counters.restarts);
        }
        self.tell(Kind::NodeStarted, format!("process {pid}"));
    }
}
