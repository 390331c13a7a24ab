//! Switches without a coordinator's permission: plans of this host, and releases whose signed manifest names
//! the height (at-height mode, which works with the coordinator gone).
use super::{Effect, Machine};
use crate::release::ReleaseRef;
use crate::time::{Span, UnixMs};
use crate::wire::v1::{AgentPhase, Goal, Limits, Permission, ProcessState};
use serde::{Deserialize, Serialize};

/// A node that ends this close below the height, in blocks, may have come to it since it was last asked.
const NEAR: u64 = 64;
/// Ends without an answering RPC in between after which a node near the height counts as halted there.
const SILENT_EXITS: u32 = 2;

/// An upgrade that this host decides itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Named like any release; `manifest` is the digest of the plan's content.
    pub release: ReleaseRef,
    /// First height of the new release; `None`: due at once.
    pub height: Option<u64>,
    /// How long a head one block below the height must stand still for the chain to count as halted there.
    pub halted_after: Span,
    /// Deadlines of its steps.
    pub limits: Limits,
    /// Whether its executable is on the host already; then it comes before the first launch of the node.
    #[serde(default)]
    pub present: bool,
}

/// Why a release that is ready is not switched to yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum HeightWait {
    /// The head is below the height.
    HeightAhead {
        /// First height of the new release.
        height: u64,
        /// The node's head, as last told.
        head: u64,
    },
    /// The node never told its head; unknown is not zero, so nothing is done.
    HeadUnknown {
        /// First height of the new release.
        height: u64,
    },
}

/// What is asked of the machine, by whomever.
pub(super) enum Order {
    Run,
    Stage(ReleaseRef),
    Switch(ReleaseRef, Leave),
    Back(Option<ReleaseRef>, Permission),
    /// A goal that needs a release without one.
    Nameless,
}

/// What allows the stop of the node.
pub(super) enum Leave {
    Permission(Permission),
    /// A plan of this host.
    Plan,
    /// The signed manifest of the release.
    Manifest,
}

impl Machine {
    /// What is to be brought about. The coordinator's word comes before plans of the host.
    pub(super) fn order(&self) -> Order {
        let instruction = &self.ledger.instruction;
        match (instruction.goal.clone(), instruction.release.clone(), &self.ledger.plan) {
            (Goal::Run, _, Some(plan)) => Order::Switch(plan.release.clone(), Leave::Plan),
            (Goal::Run, _, None) => Order::Run,
            (Goal::Stage, Some(release), _) => Order::Stage(release),
            (Goal::Switch { permission }, Some(release), _) => {
                Order::Switch(release, Leave::Permission(permission))
            }
            (Goal::AtHeight, Some(release), _) => Order::Switch(release, Leave::Manifest),
            (Goal::Stage | Goal::Switch { .. } | Goal::AtHeight, None, _) => Order::Nameless,
            (Goal::Rollback { permission }, release, _) => Order::Back(release, permission),
        }
    }

    /// Deadlines of the release in hand.
    pub(super) fn limits(&self) -> Limits {
        match &self.ledger.plan {
            Some(plan) if self.ledger.target.as_ref() == Some(&plan.release) => plan.limits,
            _ => self.ledger.instruction.limits,
        }
    }

    /// The next plan of this host changed.
    pub(super) fn planned(&mut self, now: UnixMs, plan: Option<HostPlan>, out: &mut Vec<Effect>) {
        if self.ledger.plan == plan {
            return;
        }
        self.ledger.plan = plan;
        if self.committed() || self.ledger.instruction.goal != Goal::Run {
            self.commit(out, []);
        } else {
            self.pursue(now, out);
        }
    }

    /// The operator wants releases that failed here to be tried again.
    pub(super) fn forgive(&mut self, now: UnixMs, out: &mut Vec<Effect>) {
        self.ledger.refused.clear();
        if !self.committed() && self.ledger.phase == AgentPhase::Failed {
            self.ledger.target = None;
            self.pursue(now, out);
        } else {
            self.commit(out, []);
        }
    }

    /// Whether the height of the release in hand is reached, as far as this host can know.
    pub(super) fn due(&self, now: UnixMs, height: Option<u64>) -> bool {
        let Some(height) = height else { return true };
        let Some(head) = self.ledger.head else { return false };
        head >= height || self.halted_below(now, height, head)
    }

    /// A chain that halts before `height` has `height - 1` as its last block, and its node may end.
    fn halted_below(&self, now: UnixMs, height: u64, head: u64) -> bool {
        let next = head.saturating_add(1) >= height;
        match self.process {
            ProcessState::Running { .. } => {
                let halted_after = self.ledger.plan.as_ref().map_or(Span::secs(30), |p| p.halted_after);
                next && self.head_since.is_some_and(|since| now.since(since) >= halted_after)
            }
            ProcessState::BackingOff { .. } | ProcessState::Stopped => {
                next || (height.saturating_sub(head) <= NEAR && self.silent_exits >= SILENT_EXITS)
            }
        }
    }

    /// Whether the release of the plan in hand was switched to and did not come up, with no way back.
    pub fn stuck_on_plan(&self) -> bool {
        let ledger = &self.ledger;
        let plan = ledger.plan.as_ref().map(|p| p.release.manifest);
        plan.is_some()
            && ledger.phase == AgentPhase::Failed
            && ledger.instruction.goal == Goal::Run
            && ledger.current_manifest == plan
    }

    /// Whether the end of the node may be the chain's halt at the height of the plan.
    pub fn may_have_halted(&self) -> bool {
        let Some(plan) = &self.ledger.plan else { return false };
        // An unknown head does not make a plan due, but does not rule out either that it is why the node ended.
        let near = |height: u64| self.ledger.head.is_none_or(|head| height.saturating_sub(head) <= NEAR);
        !self.ledger.refused.contains(&plan.release.manifest) && plan.height.is_none_or(near)
    }

    /// Whether the height of a plan is so near that the head is to be looked at more often.
    pub fn is_near_height(&self) -> bool {
        let height = match self.order() {
            Order::Switch(_, Leave::Plan) => self.ledger.plan.as_ref().and_then(|p| p.height),
            Order::Switch(_, Leave::Manifest) => self.ledger.authorised_height,
            _ => None,
        };
        let near = |head: u64, height: u64| head < height && height - head <= NEAR;
        self.ledger.phase == AgentPhase::Ready
            && self.ledger.head.zip(height).is_some_and(|(head, height)| near(head, height))
    }

    /// Why the release that is ready is not switched to yet; `None` when no height is waited for.
    pub fn height_wait(&self) -> Option<HeightWait> {
        if self.ledger.phase != AgentPhase::Ready {
            return None;
        }
        let height = match self.order() {
            Order::Switch(_, Leave::Plan) => self.ledger.plan.as_ref()?.height?,
            Order::Switch(_, Leave::Manifest) => self.ledger.authorised_height?,
            _ => return None,
        };
        Some(match self.ledger.head {
            Some(head) => HeightWait::HeightAhead { height, head },
            None => HeightWait::HeadUnknown { height },
        })
    }

    /// Whether the node is not launched because a plan that is due comes first.
    pub(super) fn holds_launch(&self, now: UnixMs) -> bool {
        let Order::Switch(release, leave) = self.order() else { return false };
        let (height, present) = match (leave, &self.ledger.plan) {
            (Leave::Plan, Some(plan)) => (plan.height, plan.present),
            (Leave::Manifest, _) => match self.ledger.authorised_height {
                Some(height) => (Some(height), self.ledger.staged.is_some()),
                None => return false,
            },
            _ => return false,
        };
        let open = self.ledger.current_manifest != Some(release.manifest)
            && !self.ledger.refused.contains(&release.manifest)
            && !(self.ledger.phase == AgentPhase::Failed && self.ledger.target.as_ref() == Some(&release));
        // What makes a plan due before a launch is written down: the head, not how long it stood.
        open && present
            && height.is_none_or(|h| self.ledger.head.is_some_and(|head| head.saturating_add(1) >= h))
            && self.due(now, height)
    }
}
