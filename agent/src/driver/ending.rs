//! How an agent ends: told to, with its node, or by becoming its successor.
use super::control::Asked;
use super::{Answer, Driver, Message, Request};
use crate::config::{OnExit, Restart};
use crate::host::process::Exit;
use crate::ledger;
use common::time::Span;
use common::wire::v1::FaultCode;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long the rest of a session may take to end after SIGKILL before the stop counts as failed.
const AFTER_KILL: Duration = Duration::from_secs(15);

/// How long a client may take to read the last answer of this agent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why the agent ends.
#[derive(Debug)]
pub(super) enum End {
    /// A signal: the settings say what becomes of the node.
    Told,
    /// `wemixvisor stop`: the node is stopped whatever the settings say. Answered when it is gone.
    Stop(Waits),
    /// The node ended and is not to be started again.
    With(u8),
    /// The executable on the disk takes over, when whoever asked for it has the answer.
    Replace(Option<oneshot::Receiver<()>>),
}

/// Somebody who waits for the node's end: where the answer goes, and what ends when it is out.
type Waits = (oneshot::Sender<Answer>, oneshot::Receiver<()>);

/// The signals an agent listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

/// What a signal asks for.
pub(super) enum Told {
    End,
    Reload,
    Replace,
    Nothing,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            // Without a handler it would end the agent, and the node would be without one.
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.quit.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user1.recv() => Told::Nothing,
            _ = self.user2.recv() => Told::Replace,
        }
    }
}

impl Driver {
    /// The exit code of the agent when the node's end is its end too.
    pub(super) fn ends_with(&self, exit: Exit) -> Option<u8> {
        let node = &self.parts.settings.node;
        // In an upgrade the machine judges exits, and at a plan's height a chain ends its node.
        if self.machine.is_committed() || self.machine.may_have_halted() {
            return None;
        }
        let spent = node.max_restarts > 0 && self.machine.restarts() >= node.max_restarts;
        let code = match node.restart {
            Restart::Never => exit.code(),
            Restart::OnFailure if exit == Exit::Code(0) => 0,
            Restart::OnFailure | Restart::Always if spent => exit.code(),
            Restart::OnFailure | Restart::Always => return None,
        };
        if spent && node.restart != Restart::Never {
            self.tell(crate::webhook::Kind::RestartBudgetSpent, exit.to_string());
            tracing::error!(restarts = self.machine.restarts(), %exit, "the restart budget is spent; ending with the node's exit code");
        } else {
            tracing::info!(%exit, "the node ended; ending with its exit code");
        }
        Some(code)
    }

    /// The end of the agent.
    pub(super) async fn finish(mut self, end: End, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        if let Some((_, work)) = self.work.take() {
            work.abort();
        }
        self.waiting_start = None;
        let why = match &end {
            End::Told => "told to by a signal",
            End::Stop(_) => "told to stop",
            End::With(_) => "the node ended",
            End::Replace(_) => "replaced by another agent",
        };
        self.tell(crate::webhook::Kind::AgentEnding, why);
        let mut waiting = match end {
            End::With(code) => {
                self.last_words().await;
                return Ok(ExitCode::from(code));
            }
            End::Replace(written) => {
                answered(written).await;
                self.last_words().await;
                return Err(self.become_successor());
            }
            End::Told if self.parts.settings.agent.on_exit == OnExit::Leave => {
                tracing::info!("ending; the node is left running");
                self.last_words().await;
                return Ok(ExitCode::SUCCESS);
            }
            End::Told => Vec::new(),
            End::Stop(waits) => vec![waits],
        };
        let stopped = self.stop_for_good(signals, &mut waiting).await;
        for (reply, written) in waiting {
            let answer = match &stopped {
                Ok(None) => Answer::Done { detail: "the node was not running".to_owned() },
                Ok(Some(took)) => Answer::Done { detail: format!("the node stopped after {took}") },
                Err(error) => {
                    Answer::Refused { why: error.to_string(), hint: "look at the process".to_owned() }
                }
            };
            let _ = reply.send(answer);
            answered(Some(written)).await;
        }
        stopped?;
        self.last_words().await;
        // The stop was asked of the agent, not of the machine: its ledger stays as it is.
        ledger::write(&self.parts.home.ledger(), self.machine.ledger())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Stops the node. Who asks for the same meanwhile is added to those who wait.
    async fn stop_for_good(
        &mut self,
        signals: &mut Signals,
        waiting: &mut Vec<Waits>,
    ) -> anyhow::Result<Option<Span>> {
        let began = Instant::now();
        if self.parts.node.is_none() {
            return Ok(None);
        }
        if self.stopping.is_none() {
            let within = self.parts.settings.node.stop;
            tracing::info!(%within, "ending; stopping the node first");
            self.stop(within);
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while self.parts.node.is_some() && self.stopping.is_some() {
            tokio::select! {
                Some(message) = self.inbox.recv() => match message {
                    Message::Gone { pid, exit } => self.gone(pid, exit),
                    Message::Asked(Asked { request: Request::Status, reply, .. }) => {
                        let _ = reply.send(Answer::Status(Box::new(self.status())));
                    }
                    Message::Asked(Asked { request: Request::Stop, reply, written }) => waiting.push((reply, written)),
                    Message::Asked(Asked { reply, .. }) => {
                        let why = "the agent is ending".to_owned();
                        let _ = reply.send(Answer::Refused { why, hint: "wait for it".to_owned() });
                    }
                    Message::Done { .. } | Message::Looked { .. } => {}
                },
                _ = signals.next() => tracing::info!("the node is being stopped already"),
                _ = ticks.tick() => self.check_stop(),
            }
        }
        anyhow::ensure!(self.parts.node.is_none(), "the node did not end, not even by SIGKILL");
        Ok(Some(Span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))))
    }

    /// Kills what does not stop in time, and gives up on what cannot be killed.
    pub(super) fn check_stop(&mut self) {
        let (Some(stopping), Some(node)) = (&mut self.stopping, &self.parts.node) else { return };
        let now = Instant::now();
        match stopping.killed {
            None if now >= stopping.kill_at => {
                tracing::warn!(pid = node.record.pid, "the node did not stop in time; SIGKILL");
                stopping.killed = Some(now);
                node.kill();
            }
            Some(killed) if now >= killed + AFTER_KILL => {
                let detail = format!("process {} did not end after SIGKILL", node.record.pid);
                self.stopping = None;
                let fault = crate::clock::fault(FaultCode::StopFailed, detail);
                self.queue.push_back(common::machine::Event::Stopped(Err(fault)));
            }
            _ => {}
        }
    }
}

/// Waits until an answer is out: it is on its way through a task of this runtime, which ends with the process.
async fn answered(written: Option<oneshot::Receiver<()>>) {
    if let Some(written) = written {
        let _ = tokio::time::timeout(ANSWER_WITHIN, written).await;
    }
}
