//! What this host's own plans ask for, and what is written down when one of them has come.
use super::{AT_REST, Driver, Parts};
use crate::clock;
use crate::config::Settings;
use crate::home::Home;
use crate::metrics::Counters;
use crate::plan::{self, Applied, FaultKind, Notice, Plan, PlanFault, Queue, Watcher};
use crate::webhook::Kind;
use common::machine::{Event, HeightWait, HostPlan, Ledger, Machine};
use common::release::{Digest, ReleaseRef};
use common::time::{Span, UnixMs};
use common::wire::v1::{AgentPhase, Direction, Fault, FaultCode, Goal, Limits};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A plan whose release could not be fetched is tried again after this long.
const TRY_AGAIN_AFTER: Span = Span::mins(5);
/// Time between the kernel's word on a file and the look at it: most files are written in less.
const SETTLE: Duration = Duration::from_millis(20);

/// Plans of the host, as last seen.
pub(super) struct Plans {
    watcher: Watcher,
    /// `None` when the kernel does not tell: the files are looked at again and again then.
    notice: Option<Notice>,
    queue: Queue,
    applied: Applied,
    /// The plan the machine has.
    pub in_hand: Option<Plan>,
    /// When staging last failed for a reason that may pass.
    failed_at: Option<UnixMs>,
}

impl Plans {
    /// Looks at the plans before the first launch of the node, and puts the next one into the ledger.
    pub(super) fn at_boot(parts: &Parts, ledger: &mut Ledger) -> Plans {
        let (home, settings) = (&parts.home, &parts.settings);
        let mut watcher = Watcher::new(home, settings);
        let notice = notice(home, settings);
        let queue =
            if settings.upgrade.enabled { watcher.poll().unwrap_or_default() } else { Queue::default() };
        for fault in &queue.faults {
            tracing::warn!(path = %fault.path.display(), "{fault}");
        }
        let mut plans =
            Plans { watcher, notice, queue, applied: applied(home, ledger), in_hand: None, failed_at: None };
        let in_ledger = ledger.plan.as_ref().and_then(|stored| {
            let same = |p: &&Plan| host_plan(home, settings, p).release == stored.release;
            plans.queue.plans.iter().find(same).cloned()
        });
        if Machine::new(ledger.clone()).is_committed() {
            plans.in_hand = in_ledger;
            return plans;
        }
        let came = ledger.phase == AgentPhase::Done
            && ledger.plan.as_ref().is_some_and(|p| ledger.current_manifest == Some(p.release.manifest));
        if let Some(plan) = in_ledger.filter(|_| came) {
            // The agent died between the end of the upgrade and the note of it.
            plans.note(parts, &plan, ledger);
        }
        let next = plans.queue.next(&plans.applied, ledger.head, &settings.upgrade.skip_heights).cloned();
        let there = |plan: &Option<HostPlan>| plan.as_ref().is_some_and(|p| p.present);
        let was_there = there(&ledger.plan);
        ledger.plan = next.as_ref().filter(|_| followed(parts)).map(|p| host_plan(home, settings, p));
        plans.in_hand = next;
        if ledger.phase == AgentPhase::Failed && ledger.fault.as_ref().is_some_and(passes) {
            if there(&ledger.plan) && !was_there {
                // Put in its place while no agent ran; the failure was that it was not there.
                ledger.target = None;
            } else {
                plans.failed_at = Some(clock::steady());
            }
        }
        plans
    }

    /// Writes down that a plan has come.
    fn note(&mut self, parts: &Parts, plan: &Plan, ledger: &Ledger) {
        if let Err(error) = plan::applied(&parts.home, &parts.settings, plan, ledger.head) {
            tracing::error!(%error, plan = plan.title, "the plan came, but that could not be written down");
        }
        self.applied = applied(&parts.home, ledger);
    }

    pub(super) fn faults(&self) -> &[PlanFault] {
        &self.queue.faults
    }

    /// Waits until the kernel says that something happened to a file of plans.
    pub(super) async fn touched(&mut self) {
        match &mut self.notice {
            Some(notice) => notice.touched().await,
            None => std::future::pending().await,
        }
    }

    /// Whether a change that is made from now on is told.
    fn is_told(&self) -> bool {
        self.notice.as_ref().is_some_and(Notice::is_whole) && !self.watcher.is_young()
    }
}

fn notice(home: &Home, settings: &Settings) -> Option<Notice> {
    if !settings.upgrade.enabled {
        return None;
    }
    let notice = Notice::new(home, settings);
    notice.inspect_err(|error| tracing::debug!(%error, "plan files are polled: no inotify")).ok()
}

/// The plan that is next, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its name.
    pub name: String,
    /// First height of the new release; `None` is at once.
    pub height: Option<u64>,
    /// Where it is from.
    pub source: String,
    /// Why nothing is done yet, when that is so.
    pub waits: Option<PlanWait>,
}

/// Why a plan waits. Each has a row in `docs/operations.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlanWait {
    /// For the height.
    Height(HeightWait),
    /// For something else.
    Other {
        /// The code.
        reason: PlanReason,
    },
}

/// Why a plan waits, other than for its height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanReason {
    /// The host is in a fleet, and the fleet decides (`upgrade.in_fleet`).
    FleetDecides,
    /// The coordinator has work for this host; the plan comes after it.
    CoordinatorFirst,
    /// The release failed here; `wemixvisor upgrade retry`.
    FailedHere,
    /// The release is being fetched and checked.
    Staging,
}

impl Driver {
    /// Plans are read by other rules from now on.
    pub(super) fn settings_changed(&mut self) {
        self.plans.watcher = Watcher::new(&self.parts.home, &self.parts.settings);
        self.plans.notice = notice(&self.parts.home, &self.parts.settings);
        self.poll_plans();
    }

    /// A file of plans was touched. Who writes it is given a moment to come to its end.
    pub(super) fn plans_touched(&mut self) {
        self.next_poll = self.next_poll.min(Instant::now() + SETTLE);
    }

    /// The time until the plan files are to be looked at again, when nobody tells of a change. A host at rest is not
    /// woken up for it more often than it must.
    pub(super) fn poll_after(&self) -> Duration {
        let poll = self.parts.settings.upgrade.poll.to_std();
        let told = !self.parts.settings.upgrade.enabled || self.plans.is_told();
        // The executable of a plan can be put in its place meanwhile.
        let there = self.machine.ledger().plan.as_ref().is_none_or(|p| p.present);
        if told && there && self.machine.is_at_rest() { poll.max(AT_REST) } else { poll }
    }

    /// Looks at the plan files, and tells the machine when another plan is next.
    pub(super) fn poll_plans(&mut self) {
        self.read_plans();
        self.choose_plan(None);
    }

    /// Looks at the plan files.
    pub(super) fn read_plans(&mut self) {
        if let Some(notice) = &mut self.plans.notice {
            notice.arm();
        }
        if self.parts.settings.upgrade.enabled
            && let Some(queue) = self.plans.watcher.poll()
        {
            for fault in queue.faults.iter().filter(|f| !self.plans.queue.faults.contains(f)) {
                tracing::warn!(path = %fault.path.display(), "{fault}");
                if fault.kind != FaultKind::NotYet {
                    Counters::bump(&self.parts.counters.plan_faults);
                    self.tell(Kind::PlanFault, fault.to_string());
                }
            }
            self.plans.queue = queue;
            self.plans.applied = applied(&self.parts.home, self.machine.ledger());
        }
        self.next_poll = Instant::now() + self.poll_after();
    }

    /// Picks the plan that is next, with a head that the machine may not know yet.
    pub(super) fn choose_plan(&mut self, head: Option<u64>) {
        // A way that is walked to its end keeps its plan.
        if self.machine.is_committed() {
            return;
        }
        let settings = &self.parts.settings;
        let head = self.machine.ledger().head.max(head);
        let next = self.plans.queue.next(&self.plans.applied, head, &settings.upgrade.skip_heights).cloned();
        let followed = followed(&self.parts);
        let order = next.as_ref().filter(|_| followed).map(|p| host_plan(&self.parts.home, settings, p));
        if next != self.plans.in_hand
            && let Some(plan) = &next
        {
            let height = plan.height.map_or("at once".to_owned(), |h| h.to_string());
            tracing::info!(plan = plan.title, height, source = %plan.source, followed, "the next plan of this host");
        }
        if next.is_none() && self.machine.stuck_on_plan() {
            // It runs, so it is not pending; but its failure is not to be forgotten.
            return;
        }
        let height = next.as_ref().and_then(|p| p.height).unwrap_or(0);
        self.parts.counters.upgrade_height.store(height, Ordering::Relaxed);
        self.plans.in_hand = next;
        if order != self.machine.ledger().plan {
            self.plans.failed_at = None;
            self.queue.push_back(Event::Planned(order.map(Box::new)));
        }
    }

    /// Whether the release the machine works on is that of the plan in hand.
    pub(super) fn plan_of_target(&self) -> Option<&Plan> {
        let ledger = self.machine.ledger();
        let by_plan = ledger.instruction.goal == Goal::Run
            && ledger.plan.as_ref().is_some_and(|p| ledger.target.as_ref() == Some(&p.release));
        self.plans
            .in_hand
            .as_ref()
            .filter(|p| by_plan && ledger.target.as_ref().is_some_and(|t| t.name == p.name))
    }

    /// The phase changed: a plan that has come is written down, one that could not be fetched is tried again later.
    pub(super) fn plan_moved(&mut self, phase: AgentPhase) {
        if !self.machine.is_committed() {
            // What was read with the agent's start may be of the middle of an upgrade: `current` may since have
            // gone back, and a plan whose release failed would count as applied.
            self.plans.applied = Applied::read(&self.parts.home);
        }
        let Some(plan) = self.plan_of_target().cloned() else { return };
        let ledger = self.machine.ledger();
        match phase {
            AgentPhase::Done => self.plan_came(&plan),
            AgentPhase::Failed => {
                let passing = ledger.fault.as_ref().is_some_and(passes);
                self.plans.failed_at = passing.then(clock::steady);
            }
            _ => {}
        }
    }

    pub(super) fn plan_came(&mut self, plan: &Plan) {
        self.plans.note(&self.parts, plan, self.machine.ledger());
    }

    /// Tries again what failed for a reason that may have passed.
    pub(super) fn retry_plan(&mut self) {
        let Some(at) = self.plans.failed_at else { return };
        if clock::steady().since(at) >= TRY_AGAIN_AFTER {
            self.plans.failed_at = None;
            self.queue.push_back(Event::Forgiven);
        }
    }

    /// The next plan and why it waits.
    pub(super) fn pending_plan(&self) -> Option<Pending> {
        let plan = self.plans.in_hand.as_ref()?;
        let ledger = self.machine.ledger();
        let other = |reason| Some(PlanWait::Other { reason });
        let waits = if ledger.plan.is_none() {
            other(PlanReason::FleetDecides)
        } else if ledger.instruction.goal != Goal::Run {
            other(PlanReason::CoordinatorFirst)
        } else {
            match ledger.phase {
                AgentPhase::Failed => other(PlanReason::FailedHere),
                AgentPhase::Ready => self.machine.height_wait().map(PlanWait::Height),
                _ if self.machine.is_committed() => None,
                AgentPhase::Done if ledger.direction == Direction::Forward => None,
                _ => other(PlanReason::Staging),
            }
        };
        let source = plan.source.to_string();
        Some(Pending { name: plan.title.clone(), height: plan.height, source, waits })
    }
}

/// Where this host stands. A release that came by a coordinator has no applied plan; what was planned below the
/// height at which it came is of the past all the same.
fn applied(home: &Home, ledger: &Ledger) -> Applied {
    let mut applied = Applied::of(home, &ledger.current.name);
    if applied.title.is_none() {
        applied.height = applied.height.max(ledger.switched_at);
    }
    applied
}

/// Whether what failed may succeed later without anybody's doing.
fn passes(fault: &Fault) -> bool {
    use FaultCode::{ArtifactUnavailable, DiskFull, ManifestUnavailable};
    matches!(fault.code, ArtifactUnavailable | ManifestUnavailable | DiskFull)
}

/// Whether plans of this host are followed: in a fleet the fleet decides.
fn followed(parts: &Parts) -> bool {
    parts.settings.upgrade.enabled && (parts.coordinator.is_none() || parts.settings.upgrade.in_fleet)
}

/// A plan as the machine wants it.
fn host_plan(home: &Home, settings: &Settings, plan: &Plan) -> HostPlan {
    let upgrade = &settings.upgrade;
    let content = serde_json::json!([plan.title, plan.height, plan.info]).to_string();
    HostPlan {
        release: ReleaseRef {
            name: plan.name.clone(),
            sequence: 0,
            manifest: Digest::of(content.as_bytes()),
        },
        height: plan.height,
        halted_after: upgrade.halted_after,
        limits: Limits {
            download: settings.download.within,
            stop: settings.node.stop,
            start: upgrade.start_within,
            rpc: upgrade.rpc_within,
        },
        present: plan::binary::is_there(&home.binary(&plan.name)),
    }
}
