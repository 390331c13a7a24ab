//! Carries out what the machine wants, one effect after the other, and tells it what happened.
mod asked;
mod control;
mod effects;
mod ending;
mod events;
mod fuse;
mod plans;
mod prepare;
mod successor;

pub use control::{Answer, Request, Status};

pub use plans::{Pending, PlanReason, PlanWait};
pub use successor::own_program;

use crate::clock;
use crate::config::{Flags, Settings};
use crate::health::Judge;
use crate::home::Home;
use crate::host::backup::Backup;
use crate::host::disk;
use crate::host::files::Checked;
use crate::host::process::{Exit, Node};
use crate::host::verify::ChainId;
use crate::metrics::Counters;
use crate::probe::{Look, Prober};
use crate::sync::coordinator::Coordinator;
use crate::sync::{Arrived, Contact};
use crate::webhook;
use common::id::NodeName;
use common::machine::{Event, Found, Ledger, Machine, Probe, WATCH};
use common::manifest::TrustRoot;
use common::release::InstalledRelease;
use common::time::{Span, UnixMs};
use common::wire::v1::{NodeHealth, SyncRequest};
use ending::{End, Signals};
use fuse::Fuse;
use plans::Plans;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often the machine is told that time passes, while it waits for time.
const TICK: Duration = Duration::from_millis(500);
/// How often at least, while the node runs and nothing is to be done; a look at the node brings it along.
const AT_REST: Duration = Duration::from_secs(5);
/// Time between looks when the height of a plan is near.
const NEAR_HEIGHT: Span = Span(250);
/// A node whose RPC is not up is looked at more often for so long after its start.
const JUST_STARTED: Span = Span::mins(2);

/// What a driver is made of.
pub struct Parts {
    /// The home.
    pub home: Arc<Home>,
    /// The settings.
    pub settings: Settings,
    /// What the command line said, to read the settings again.
    pub flags: Flags,
    /// Where this program was started from.
    pub program: PathBuf,
    /// Arguments of the node.
    pub args: Vec<String>,
    /// The node's name.
    pub name: NodeName,
    /// Whom this host believes.
    pub trust: Option<TrustRoot>,
    /// The fleet's coordinator.
    pub coordinator: Option<Arc<Coordinator>>,
    /// How it stands with it.
    pub contact: Arc<Mutex<Contact>>,
    /// Counted for metrics.
    pub counters: Arc<Counters>,
    /// Tells events, where somebody wants them.
    pub teller: Option<webhook::Sender>,
    /// What was hashed while the agent started.
    pub checked: Option<Checked>,
    /// Asks the node.
    pub prober: Prober,
    /// The node process found.
    pub node: Option<Node>,
    /// Brings instructions.
    pub arrived: mpsc::Receiver<Arrived>,
}

/// What others may watch.
pub struct Outlets {
    /// The newest report.
    pub reports: watch::Receiver<SyncRequest>,
    /// Grows when the report must be told at once.
    pub urgent: watch::Receiver<u64>,
}

/// What background work tells the driver.
enum Message {
    Done { job: u64, event: Box<Event> },
    Gone { pid: u32, exit: Exit },
    Looked { pid: u32, prober: Box<Prober>, look: Box<Look> },
    Asked(control::Asked),
}

/// A stop that is under way.
struct Stopping {
    /// Time since boot.
    since: Span,
    kill_at: Instant,
    killed: Option<Instant>,
}

/// The driver of one home.
pub struct Driver {
    parts: Parts,
    machine: Machine,
    health: NodeHealth,
    queue: VecDeque<Event>,
    inbox: mpsc::UnboundedReceiver<Message>,
    post: mpsc::UnboundedSender<Message>,
    work: Option<(u64, JoinHandle<()>)>,
    jobs: u64,
    prober: Option<Box<Prober>>,
    next_probe: Instant,
    every: Span,
    waiting_start: Option<(InstalledRelease, UnixMs)>,
    /// Hashes what is started next while the node stops.
    hashing: Option<JoinHandle<Option<Checked>>>,
    stopping: Option<Stopping>,
    /// How the node ended, when that is still to be judged.
    ended: Option<Exit>,
    end: Option<End>,
    /// What was written down last, but for what was seen of the chain.
    written: Option<Ledger>,
    /// Whether this agent replaced `current`.
    switched: bool,
    judge: Judge,
    judged_at: UnixMs,
    disk_low: bool,
    next_rotation: Instant,
    fuse: Fuse,
    plans: Plans,
    next_poll: Instant,
    next_tick: Instant,
    /// Backups without digests yet.
    unsealed: Arc<Mutex<Vec<Backup>>>,
    reports: watch::Sender<SyncRequest>,
    urgent: watch::Sender<u64>,
    chain: watch::Sender<Option<ChainId>>,
}

impl Driver {
    /// A driver on its home as found.
    ///
    /// # Errors
    /// [`crate::ledger::LedgerError`] when the first step cannot be written down.
    pub fn boot(parts: Parts, mut ledger: Ledger, found: Found) -> anyhow::Result<(Driver, Outlets)> {
        let plans = Plans::at_boot(&parts, &mut ledger);
        let judge = Judge::new(parts.settings.health.clone());
        let machine = Machine::new(ledger.clone());
        let (post, inbox) = mpsc::unbounded_channel();
        let (urgent, urgent_out) = watch::channel(0);
        let (chain, _) = watch::channel(control::remembered_chain(&parts.home));
        let health = NodeHealth::default();
        let first = request(&parts, &machine, health.clone());
        let (reports, reports_out) = watch::channel(first);
        let prober = Some(Box::new(parts.prober.clone()));
        let mut driver = Driver {
            parts,
            machine,
            health,
            queue: VecDeque::new(),
            inbox,
            post,
            work: None,
            jobs: 0,
            prober,
            next_probe: Instant::now(),
            every: WATCH,
            waiting_start: None,
            hashing: None,
            stopping: None,
            ended: None,
            end: None,
            written: Some(Ledger { head: None, last_start: None, ..ledger.clone() }),
            switched: false,
            judge,
            judged_at: clock::now(),
            disk_low: false,
            next_rotation: Instant::now(),
            fuse: Fuse::of_environment(),
            plans,
            next_poll: Instant::now(),
            next_tick: Instant::now(),
            unsealed: Arc::default(),
            reports,
            urgent,
            chain,
        };
        if let Some(node) = &driver.parts.node {
            tracing::info!(pid = node.record.pid, "adopted the node that runs");
            driver.guard(node.clone());
        }
        driver.tell(webhook::Kind::AgentStarted, env!("CARGO_PKG_VERSION"));
        driver.queue.push_back(Event::Booted { ledger: Box::new(ledger), found });
        Ok((driver, Outlets { reports: reports_out, urgent: urgent_out }))
    }

    /// The fleet's coordinator.
    pub fn coordinator(&self) -> Option<Arc<Coordinator>> {
        self.parts.coordinator.clone()
    }

    /// How it stands with it.
    pub fn contact(&self) -> Arc<Mutex<Contact>> {
        Arc::clone(&self.parts.contact)
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// Supervises until a signal ends it.
    ///
    /// # Errors
    /// When the ledger cannot be written any more: the next agent goes on from what is durable.
    pub async fn run(mut self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::listen()?;
        control::listen(&self.parts.home, self.post.clone())?;
        loop {
            self.drain().await?;
            if let Some(exit) = self.ended.take() {
                self.judge_end(exit);
                continue;
            }
            if let Some(end) = self.end.take() {
                return self.finish(end, &mut signals).await;
            }
            let start_at = self.waiting_start.as_ref().map(|(_, at)| *at);
            tokio::select! {
                told = signals.next() => self.told(&told),
                Some(message) = self.inbox.recv() => self.message(message),
                Some(arrived) = self.parts.arrived.recv() => self.arrived(arrived).await?,
                () = until(start_at) => self.start_now().await,
                () = self.plans.touched() => self.plans_touched(),
                () = tokio::time::sleep_until(self.next_tick) => self.tick(),
                () = tokio::time::sleep_until(self.next_probe) => self.look(),
                () = tokio::time::sleep_until(self.next_poll) => self.poll_plans(),
            }
        }
    }

    /// Feeds the machine until nothing is waiting.
    async fn drain(&mut self) -> anyhow::Result<()> {
        if self.queue.is_empty() {
            // A look at files that did not change has nothing to tell.
            return Ok(());
        }
        let before = self.machine.phase();
        while let Some(event) = self.queue.pop_front() {
            let effects = self.machine.step(clock::steady(), event);
            self.fuse.before(&effects);
            for effect in effects {
                let name = self.fuse.name(&effect);
                self.carry_out(effect).await?;
                self.fuse.after(name);
            }
        }
        let after = self.machine.phase();
        if before != after {
            let fault = self.machine.fault().map(|f| f.detail.as_str()).unwrap_or_default();
            tracing::info!(phase = ?after, release = %self.machine.ledger().current.name, fault, "phase");
            self.phase_changed(before, after);
            self.plan_moved(after);
            if !self.machine.is_committed() {
                self.seal_backups();
            }
        }
        self.publish();
        if !self.machine.is_at_rest() {
            self.next_tick = self.next_tick.min(Instant::now() + TICK);
            self.next_poll = self.next_poll.min(Instant::now() + self.poll_after());
        }
        Ok(())
    }

    fn publish(&mut self) {
        let request = request(&self.parts, &self.machine, self.health.clone());
        self.reports.send_replace(request);
    }

    fn message(&mut self, message: Message) {
        match message {
            // What was left off has no event, also when it had ended already.
            Message::Done { job, event } if self.work.as_ref().is_some_and(|(j, _)| *j == job) => {
                self.work = None;
                self.queue.push_back(*event);
            }
            Message::Done { .. } => {}
            Message::Gone { pid, exit } => self.gone(pid, exit),
            Message::Looked { pid, prober, look } => self.looked(pid, prober, *look),
            Message::Asked(asked) => self.asked(asked),
        }
    }

    async fn arrived(&mut self, arrived: Arrived) -> anyhow::Result<()> {
        let Arrived { response, clock_ahead_ms, stored } = arrived;
        let before = self.machine.ledger().instruction.generation;
        self.queue
            .push_back(Event::Instructed { instruction: Box::new(response.instruction), clock_ahead_ms });
        self.drain().await?;
        let after = &self.machine.ledger().instruction;
        if after.generation != before {
            tracing::info!(generation = after.generation, goal = ?after.goal, "instruction");
        }
        let _ = stored.send(());
        Ok(())
    }

    fn tick(&mut self) {
        self.check_stop();
        self.retry_plan();
        self.keep_house();
        self.queue.push_back(Event::Tick);
        self.next_tick = Instant::now() + if self.machine.is_at_rest() { AT_REST } else { TICK };
    }

    /// Begins a look at the node, one at a time.
    fn look(&mut self) {
        let every = if self.machine.is_near_height() { self.every.min(NEAR_HEIGHT) } else { self.every };
        self.next_probe = Instant::now() + every.to_std();
        let Some(pid) = self.parts.node.as_ref().map(|n| n.record.pid) else { return };
        let Some(mut prober) = self.prober.take() else { return };
        let post = self.post.clone();
        tokio::spawn(async move {
            let look = Box::new(prober.look(pid).await);
            let _ = post.send(Message::Looked { pid, prober, look });
        });
    }

    fn looked(&mut self, pid: u32, prober: Box<Prober>, look: Look) {
        let chain = prober.chain();
        self.prober = Some(prober);
        if self.parts.node.as_ref().is_none_or(|n| n.record.pid != pid) {
            return;
        }
        self.health = NodeHealth { disk_free_bytes: disk::free_bytes(&self.parts.home.base), ..look.health };
        if chain.is_some() && *self.chain.borrow() != chain {
            control::remember_chain(&self.parts.home, chain);
            self.chain.send_replace(chain);
        }
        if !self.health.rpc_up && self.since_start() < JUST_STARTED {
            self.next_probe = Instant::now() + TICK;
        }
        let head = self.health.head().map(|b| b.height);
        self.judge_health(look.sealing);
        if self.machine.is_at_rest() {
            // Along with this, so that the host is not woken up for it.
            self.tick();
            self.read_plans();
        }
        // Which plan is next depends on the head, and comes before what is due at it.
        self.choose_plan(head);
        let probe = Probe { rpc_up: self.health.rpc_up, head, head_advanced: look.head_advanced };
        self.queue.push_back(Event::Probed(probe));
    }

    fn since_start(&self) -> Span {
        self.parts.node.as_ref().map_or(Span::ZERO, |n| clock::now().since(n.record.since))
    }
}

fn request(parts: &Parts, machine: &Machine, health: NodeHealth) -> SyncRequest {
    SyncRequest {
        node: parts.name.clone(),
        generation: machine.ledger().instruction.generation,
        hold: false,
        report: machine.report(clock::steady(), env!("CARGO_PKG_VERSION"), health),
    }
}

async fn until(at: Option<UnixMs>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::steady()).to_std()).await,
        None => std::future::pending().await,
    }
}
