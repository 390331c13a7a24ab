//! How an agent ends: told to, with its node, or by becoming its successor.
use super::control::Asked;
use super::{Answer, Driver, Message, Request};
use crate::config::{Loaded, OnExit, Restart};
use crate::host::process::Exit;
use crate::ledger;
use common::time::Span;
use common::wire::v1::FaultCode;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long the rest of a session may take to end after SIGKILL before the stop counts as failed.
const AFTER_KILL: Duration = Duration::from_secs(15);
/// How long a new agent may take to say its version before it is not believed to work.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// How long a client may take to read the last answer of this agent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why the agent ends.
#[derive(Debug)]
pub(super) enum End {
    /// A signal: the settings say what becomes of the node.
    Told,
    /// `wemixvisor stop`: the node is stopped whatever the settings say. Answered when it is gone.
    Stop(oneshot::Sender<Answer>, oneshot::Receiver<()>),
    /// The node ended and is not to be started again.
    With(u8),
    /// The executable on the disk takes over, when whoever asked for it has the answer.
    Replace(Option<oneshot::Receiver<()>>),
}

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
    pub(super) fn told(&mut self, told: &Told) {
        match told {
            Told::End => self.end = Some(End::Told),
            Told::Reload => match self.reload() {
                Ok(detail) => tracing::info!("{detail}"),
                Err((why, hint)) => tracing::error!(hint, "the settings stay as they were: {why}"),
            },
            Told::Replace => match self.check_successor() {
                Ok(_) => self.end = Some(End::Replace(None)),
                Err(why) => tracing::error!("this agent goes on: {why}"),
            },
            Told::Nothing => tracing::info!("SIGUSR1 has no meaning here"),
        }
    }

    /// Does what a client of the socket wants.
    pub(super) fn asked(&mut self, asked: Asked) {
        let done = |detail: &str| Answer::Done { detail: detail.to_owned() };
        let answer = match asked.request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Stop => return self.end = Some(End::Stop(asked.reply, asked.written)),
            Request::Restart { force } => self.restart_asked(force),
            Request::Reload => match self.reload() {
                Ok(detail) => Answer::Done { detail },
                Err((why, hint)) => Answer::Refused { why, hint },
            },
            Request::Replace => match self.check_successor() {
                Ok(version) => {
                    self.end = Some(End::Replace(Some(asked.written)));
                    done(&format!("{version} takes over; the node goes on"))
                }
                Err(why) => Answer::Refused {
                    why,
                    hint: "put a working wemixvisor where this one was started from".to_owned(),
                },
            },
            Request::Poke => {
                self.poll_plans();
                done("looked at the plans")
            }
            Request::Forgive => {
                self.queue.push_back(common::machine::Event::Forgiven);
                done("releases that failed here may be tried again")
            }
        };
        let _ = asked.reply.send(answer);
    }

    /// Reads the settings again and takes over what can be; the rest waits for a restart, and is named.
    fn reload(&mut self) -> Result<String, (String, String)> {
        let loaded = Loaded::load(&self.parts.flags, &crate::cli::env)
            .map_err(|e| (e.to_string(), "wemixvisor config validate".to_owned()))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let changes = self.parts.settings.changed(&loaded.settings);
        if changes.is_empty() {
            return Ok("the settings are as before".to_owned());
        }
        let settings = self.parts.settings.reloaded(&loaded.settings);
        if settings.log.filter != self.parts.settings.log.filter {
            crate::cli::log::change(&settings.log.filter)
                .map_err(|e| (format!("{e:#}"), "wemixvisor config set log.filter info".to_owned()))?;
        }
        self.parts.settings = settings;
        self.judge.set(self.parts.settings.health.clone());
        self.settings_changed();
        let list = |keys: &[String]| keys.join(", ");
        Ok(match (changes.reloadable.is_empty(), changes.needs_restart.is_empty()) {
            (false, true) => format!("taken over: {}", list(&changes.reloadable)),
            (true, _) => format!("only after a restart: {}", list(&changes.needs_restart)),
            (false, false) => format!(
                "taken over: {}; only after a restart: {}",
                list(&changes.reloadable),
                list(&changes.needs_restart)
            ),
        })
    }

    fn restart_asked(&mut self, force: bool) -> Answer {
        if self.parts.coordinator.is_some() && !force {
            return Answer::Refused {
                why: "this host is in a fleet, and a restart here does not ask the fleet's quorum".to_owned(),
                hint: "restart it through the coordinator, or use --force".to_owned(),
            };
        }
        if self.machine.is_committed() {
            let phase = format!("{:?}", self.machine.phase()).to_lowercase();
            return Answer::Refused {
                why: format!("an upgrade is under way ({phase}); it starts the node itself"),
                hint: "wemixvisor status shows how far it is".to_owned(),
            };
        }
        self.queue.push_back(common::machine::Event::RestartAsked);
        Answer::Done { detail: "the node is being stopped and started again".to_owned() }
    }

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
            End::Stop(..) => "told to stop",
            End::With(_) => "the node ended",
            End::Replace(_) => "replaced by another agent",
        };
        self.tell(crate::webhook::Kind::AgentEnding, why);
        let reply = match end {
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
            End::Told => None,
            End::Stop(reply, written) => Some((reply, written)),
        };
        let stopped = self.stop_for_good(signals).await;
        if let Some((reply, written)) = reply {
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

    async fn stop_for_good(&mut self, signals: &mut Signals) -> anyhow::Result<Option<Span>> {
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

    /// Whether the executable that stands where this one came from works; its version.
    fn check_successor(&self) -> Result<String, String> {
        let program = &self.parts.program;
        let said = version_of(program)?;
        tracing::info!(program = %program.display(), said, "the next agent");
        Ok(said)
    }

    /// Becomes the executable on the disk, with the same arguments and process id: the node stays this process's
    /// child. Returns only when that fails; the node is then without an agent until a service manager starts one.
    fn become_successor(&self) -> anyhow::Error {
        tracing::info!(program = %self.parts.program.display(), "handing over");
        let error = {
            // By the same name: `cosmovisor` stays `cosmovisor`.
            let mut args = std::env::args_os();
            let called = args.next().unwrap_or_else(|| self.parts.program.clone().into());
            Command::new(&self.parts.program).arg0(called).args(args).exec()
        };
        anyhow::anyhow!(
            "becoming {}: {error}; the node goes on without an agent",
            self.parts.program.display()
        )
    }
}

/// Waits until an answer is out: it is on its way through a task of this runtime, which ends with the process.
async fn answered(written: Option<oneshot::Receiver<()>>) {
    if let Some(written) = written {
        let _ = tokio::time::timeout(ANSWER_WITHIN, written).await;
    }
}

/// What `<program> version` prints, in its first line.
fn version_of(program: &Path) -> Result<String, String> {
    let failed = |why: String| format!("`{} version` {why}", program.display());
    let child = Command::new(program)
        .args(["version", "--agent-only"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(format!("does not run: {e}")))?;
    let mut child = child;
    let end = std::time::Instant::now() + VERSION_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if std::time::Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("did not end in time".to_owned()));
            }
            Err(e) => return Err(failed(format!("was lost: {e}"))),
        }
    }
    let output = child.wait_with_output().map_err(|e| failed(format!("was lost: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
    if output.status.success() && text.starts_with("wemixvisor ") {
        Ok(text.chars().take(100).collect())
    } else {
        Err(failed(format!("ended with {} and said {text:?}", output.status)))
    }
}

/// Where this program was started from. When its file is replaced, the kernel marks the old one as deleted; the
/// path without the mark is where the new one is.
pub fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}
