//! One effect after the other.
use super::ending::End;
use super::{Driver, Message, Stopping};
use crate::config::Output;
use crate::host::files::Checked;
use crate::host::process::{self, Exit, Node};
use crate::host::switch;
use crate::webhook::Kind;
use crate::{clock, ledger};
use anyhow::Context;
use common::machine::{Effect, Event, Ledger, WATCH};
use common::time::Span;
use common::wire::v1::FaultCode;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How often a ledger that cannot be written is tried again, half a second apart, before the agent
/// ends and leaves the rest to the next one.
const WRITE_TRIES: u32 = 20;
/// How long the stop for a switch waits for the digest of what comes after it.
const HASH_FIRST: Duration = Duration::from_secs(1);
/// How often the rest of a session is looked for after its leader ended.
const REST_EVERY: Duration = Duration::from_millis(50);
/// How long the rest of a session that ended by itself may take before it is killed.
const REST_WITHIN: Duration = Duration::from_secs(300);

impl Driver {
    pub(super) async fn carry_out(&mut self, effect: Effect) -> anyhow::Result<()> {
        match effect {
            Effect::Persist(ledger) => self.persist(&ledger).await?,
            Effect::Stage { release, within } => self.stage(release, within),
            Effect::Cancel => {
                if let Some((_, work)) = self.work.take() {
                    work.abort();
                }
            }
            Effect::Preflight { release } => self.preflight(release),
            Effect::Stop { within } => {
                self.hash_next().await;
                self.stop(within);
            }
            Effect::Prepare { release } => self.prepare(release),
            Effect::Switch { release } => {
                self.switched = true;
                let result = switch::switch(&self.parts.home, &release);
                self.queue.push_back(Event::Switched(result));
            }
            Effect::Start { release, not_before } => {
                self.waiting_start = Some((release, not_before));
                if not_before <= clock::steady() {
                    self.start_now().await;
                }
            }
            Effect::Watch { every } => {
                // A settled node is looked at as often as the settings say.
                self.every = if every == WATCH { self.parts.settings.health.every } else { every };
                self.next_probe = self.next_probe.min(Instant::now() + every.to_std());
            }
            Effect::Report => {
                self.publish();
                self.urgent.send_modify(|n| *n += 1);
            }
        }
        Ok(())
    }

    async fn persist(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let path = self.parts.home.ledger();
        let decided = Ledger { head: None, last_start: None, ..ledger.clone() };
        if self.written.as_ref() == Some(&decided) {
            // Only what was seen of the chain: worth keeping, but no reason to leave the node alone on a full disk.
            if let Err(error) = ledger::write(&path, ledger) {
                tracing::warn!(%error, "the node's head could not be written down");
            }
            return Ok(());
        }
        for _ in 0..WRITE_TRIES {
            match ledger::write(&path, ledger) {
                Ok(()) => {
                    self.written = Some(decided);
                    return Ok(());
                }
                Err(error) => tracing::error!(%error, "trying again"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        ledger::write(&path, ledger).context("nothing may be done that is not written down")
    }

    /// Does something long in the background; there is one such thing at a time.
    pub(super) fn begin(&mut self, work: impl Future<Output = Event> + Send + 'static) {
        self.jobs += 1;
        let (job, post) = (self.jobs, self.post.clone());
        let task = tokio::spawn(async move {
            let _ = post.send(Message::Done { job, event: Box::new(work.await) });
        });
        if let Some((_, before)) = self.work.replace((job, task)) {
            before.abort();
        }
    }

    /// What is started after the stop is hashed before it, while the node still works: the launcher then only looks
    /// whether it is still the same. A node that is down already waits for nothing, and a restart hashes beside the stop.
    async fn hash_next(&mut self) {
        let ledger = self.machine.ledger();
        let switching = ledger.destination.is_some() && self.parts.node.is_some();
        let next = ledger.destination.as_ref().unwrap_or(&ledger.current);
        let path = self.parts.home.binary(&next.name);
        let hash = move || Checked::of(&path).ok().flatten();
        let mut hashing = tokio::task::spawn_blocking(hash);
        if switching {
            let _ = tokio::time::timeout(HASH_FIRST, &mut hashing).await.map(|done| {
                self.parts.checked = done.ok().flatten();
            });
        }
        self.hashing = Some(hashing).filter(|h| !h.is_finished());
    }

    pub(super) fn stop(&mut self, within: Span) {
        self.waiting_start = None;
        let Some(node) = &mut self.parts.node else {
            return self.queue.push_back(Event::Stopped(Ok(Span::ZERO)));
        };
        tracing::info!(pid = node.record.pid, %within, "stopping the node");
        if let Err(error) = node.ask_to_stop(&self.parts.home) {
            let detail = format!("writing the process record before the stop: {error}");
            let fault = clock::fault(FaultCode::StopFailed, detail);
            return self.queue.push_back(Event::Stopped(Err(fault)));
        }
        let since = node.record.stopping_from.unwrap_or_else(clock::since_boot);
        // After a crash of the agent the node has the rest of its time, not all of it again.
        let left = within.as_ms().saturating_sub(elapsed(since).as_ms());
        let kill_at = Instant::now() + Duration::from_millis(left);
        self.stopping = Some(Stopping { since, kill_at, killed: None });
    }

    pub(super) async fn start_now(&mut self) {
        let Some((release, _)) = self.waiting_start.take() else { return };
        if let Some(node) = &self.parts.node {
            // Cannot be: the machine starts only what is down. The process is the truth.
            tracing::error!(pid = node.record.pid, "a start with a node running; it is kept");
            return self.queue.push_back(Event::Started(Ok(node.record.pid)));
        }
        if !self.parts.settings.upgrade.restart_after && self.switched && self.machine.has_switched() {
            tracing::info!(release = %release.name, "switched; the settings say that the node is not started after it");
            if let Some(plan) = self.plan_of_target().cloned() {
                self.plan_came(&plan);
            }
            return self.end = Some(End::With(0));
        }
        let log = match self.parts.settings.node.output {
            Output::File => Some(self.parts.settings.log.node_file.as_path()),
            Output::Inherit => None,
        };
        let checked = match self.hashing.take() {
            Some(hashing) => hashing.await.ok().flatten(),
            None => self.parts.checked.take(),
        };
        let log = log.map(Path::to_owned);
        let result =
            process::start(&self.parts.home, &release, &self.parts.args, log.as_deref(), checked).await;
        let event = match result {
            Ok(node) => {
                let pid = node.record.pid;
                tracing::info!(pid, release = %release.name, digest = %release.digest, "started");
                self.node_started(pid);
                self.parts.node = Some(node.clone());
                self.health = common::wire::v1::NodeHealth::default();
                self.guard(node);
                Ok(pid)
            }
            Err(fault) => {
                tracing::error!(release = %release.name, "not started: {}", fault.detail);
                Err(fault)
            }
        };
        self.next_probe = self.next_probe.min(Instant::now() + Duration::from_millis(100));
        self.queue.push_back(Event::Started(event));
    }

    /// Waits in the background for the end of the node and of everything in its session.
    pub(super) fn guard(&self, node: Node) {
        let post = self.post.clone();
        tokio::spawn(async move {
            let exit = node.gone().await;
            // Where a stop was asked for, the rest was asked too, and the driver keeps its time.
            if !node.asked() && !node.rest().is_empty() {
                node.signal_rest(false);
            }
            let kill_at = Instant::now() + REST_WITHIN;
            while !node.rest().is_empty() {
                if !node.asked() && Instant::now() >= kill_at {
                    node.signal_rest(true);
                }
                tokio::time::sleep(REST_EVERY).await;
            }
            let _ = post.send(Message::Gone { pid: node.record.pid, exit });
        });
    }

    pub(super) fn gone(&mut self, pid: u32, exit: Exit) {
        if self.parts.node.as_ref().is_none_or(|n| n.record.pid != pid) {
            return;
        }
        tracing::info!(pid, %exit, "the node ended");
        self.parts.node = None;
        self.health = common::wire::v1::NodeHealth::default();
        let _ = std::fs::remove_file(self.parts.home.process());
        if let Some(stopping) = self.stopping.take() {
            self.tell(Kind::NodeStopped, exit.to_string());
            return self.queue.push_back(Event::Stopped(Ok(elapsed(stopping.since))));
        }
        // The chain may have written its plan with its last breath; the machine hears of that first.
        self.poll_plans();
        self.ended = Some(exit);
    }

    /// What the end of the node means, after everything that came before it.
    pub(super) fn judge_end(&mut self, exit: Exit) {
        match self.ends_with(exit) {
            Some(code) => self.end = Some(End::With(code)),
            None => {
                self.crashed(&exit.to_string());
                self.queue.push_back(Event::Exited { exit: exit.to_string() });
            }
        }
    }
}

fn elapsed(since_boot: Span) -> Span {
    Span(clock::since_boot().0.saturating_sub(since_boot.0))
}
