//! The plan in the making: every change to the rollout goes through here.
use super::facts::{Down, Facts};
use super::{Action, MAX_ACTIONS, MAX_ENTRIES, NodeView, Plan, PlanInput};
use crate::id::NodeName;
use crate::rollout::{
    Control, NodeProgress, NodeState, Outcome, Phase, Reason, Rollout, RolloutEvent, StageState,
};
use crate::time::{Span, UnixMs};
use crate::wire::v1::{Goal, Limits, Permission};
use std::collections::{BTreeMap, BTreeSet};

/// Room in a permission beside the steps it is for.
const PERMISSION_MARGIN: Span = Span::mins(1);
/// No permission lasts longer than this.
pub(super) const MAX_PERMISSION: Span = Span::mins(30);

/// One planning pass.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub input: &'a PlanInput,
    pub facts: Facts<'a>,
    pub rollout: Rollout,
    pub now: UnixMs,
    /// Every node of the rollout in name order with its registration. Looking ten thousand names up again and again is
    /// what a pass would otherwise spend its time on.
    roster: Vec<(&'a NodeName, Option<&'a NodeView>)>,
    actions: Vec<Action>,
    events: Vec<RolloutEvent>,
    touched: BTreeSet<&'a NodeName>,
    next_permission: u64,
    /// Why a stage got no (further) permission in this pass.
    pub blocked: BTreeMap<usize, Vec<Reason>>,
}

impl<'a> Pass<'a> {
    pub fn new(input: &'a PlanInput) -> Self {
        Self {
            input,
            facts: Facts::new(input),
            rollout: input.rollout.clone(),
            now: input.now,
            roster: roster(input),
            actions: Vec::new(),
            events: Vec::new(),
            touched: BTreeSet::new(),
            next_permission: input.next_permission,
            blocked: BTreeMap::new(),
        }
    }

    /// The node in this rollout. Names come from the rollout itself.
    pub fn node(&self, name: &NodeName) -> Option<&NodeProgress> {
        self.rollout.nodes.get(name)
    }

    /// Every node in name order: its name, its registration, where it stands now.
    pub fn roster(&self) -> impl Iterator<Item = (&'a NodeName, Option<&'a NodeView>, &NodeProgress)> + '_ {
        self.roster.iter().zip(self.rollout.nodes.values()).map(|((name, view), node)| (*name, *view, node))
    }

    /// Names of the nodes that are in such a state now.
    pub fn names_in(&self, wanted: impl Fn(NodeState) -> bool) -> Vec<&'a NodeName> {
        self.roster().filter(|(_, _, n)| wanted(n.state)).map(|(name, ..)| name).collect()
    }

    /// Gives every node its reason, in name order.
    pub fn set_reasons(&mut self, reasons: Vec<Option<Reason>>) {
        for (node, reason) in self.rollout.nodes.values_mut().zip(reasons) {
            node.reason = reason;
        }
    }

    fn edit(&mut self, name: &NodeName, change: impl FnOnce(&mut NodeProgress)) {
        if let Some(node) = self.rollout.nodes.get_mut(name) {
            change(node);
        }
    }

    /// Changes what is remembered of a node without changing its state.
    pub fn note(&mut self, name: &NodeName, change: impl FnOnce(&mut NodeProgress)) {
        self.edit(name, change);
    }

    /// Puts a node into a state. `further` says that it got further, which restarts the progress clock.
    pub fn enter(&mut self, name: &'a NodeName, state: NodeState, further: bool) {
        let now = self.now;
        self.edit(name, |node| {
            node.state = state;
            node.since = now;
        });
        if further {
            self.rollout.progressed_at = now;
        }
        // Staging is said by counts, permissions have events of their own.
        if state > NodeState::Permitted {
            self.events.push(RolloutEvent::NodeEntered { node: name.clone(), state });
        }
    }

    /// Whether this pass can still act on the node.
    pub fn can_act(&self, name: &NodeName, actions: usize) -> bool {
        self.input.nodes.contains_key(name)
            && !self.touched.contains(name)
            && self.actions.len() + actions <= MAX_ACTIONS
            && self.has_room(actions + 2)
    }

    /// Whether this many more entries fit into one commit.
    pub fn has_room(&self, entries: usize) -> bool {
        self.actions.len() + self.events.len() + entries <= MAX_ENTRIES
    }

    /// Tells a node how far it may go. `with_release` names the release of the rollout.
    pub fn instruct(&mut self, name: &'a NodeName, with_release: bool, goal: Goal) {
        let d = &self.rollout.policy.deadlines;
        let limits = Limits { download: d.download, stop: d.stop, start: d.start, rpc: d.rpc };
        let release = with_release.then(|| self.rollout.release.clone());
        self.actions.push(Action::Instruct { node: name.clone(), release, goal, limits });
        self.touched.insert(name);
    }

    /// Permits a node to stop, for the switch or back.
    pub fn grant(&mut self, name: &'a NodeName, back: bool, slack_after: Option<i64>) {
        let d = &self.rollout.policy.deadlines;
        let steps = d.stop.0.saturating_add(d.start.0).saturating_add(d.rpc.0);
        let ttl = Span(steps.saturating_add(PERMISSION_MARGIN.0)).min(MAX_PERMISSION);
        let permission =
            Permission { id: self.next_permission, granted_at: self.now, expires_at: self.now.plus(ttl) };
        self.next_permission += 1;
        self.actions.push(Action::Grant { node: name.clone(), permission: permission.clone() });
        self.events.push(RolloutEvent::Granted {
            node: name.clone(),
            permission: permission.id,
            expires_at: permission.expires_at,
            slack_after,
        });
        let (kept, now) = (permission.clone(), self.now);
        self.edit(name, |node| {
            node.permission = Some(kept);
            node.granted_at = node.granted_at.or(Some(now));
            node.started_height = None;
            node.started_seen_at = None;
            node.started_pid = None;
            node.proof = None;
            node.fault = None;
            node.silent_since = None;
        });
        let (state, goal) = if back {
            (NodeState::RollingBack, Goal::Rollback { permission })
        } else {
            (NodeState::Permitted, Goal::Switch { permission })
        };
        self.enter(name, state, false);
        self.instruct(name, true, goal);
    }

    /// Frees the slot of a node, if it holds one.
    pub fn free(&mut self, name: &'a NodeName) {
        let Some(permission) = self.rollout.nodes.get_mut(name).and_then(|n| n.permission.take()) else {
            return;
        };
        self.actions.push(Action::Free { node: name.clone(), permission: permission.id });
        self.events.push(RolloutEvent::Freed { node: name.clone(), permission: permission.id });
        self.touched.insert(name);
    }

    /// Stops by itself.
    pub fn hold(&mut self, reason: Reason) {
        self.events.push(RolloutEvent::Held { reason: reason.clone() });
        self.rollout.control = Control::Held { reason, since: self.now };
    }

    /// Goes back by itself, because the policy says so.
    pub fn turn_back(&mut self, reason: &Reason) {
        let by = "policy".to_owned();
        self.events.push(RolloutEvent::Held { reason: reason.clone() });
        self.events.push(RolloutEvent::Verb {
            verb: crate::rollout::Verb::Rollback.name().to_owned(),
            by: by.clone(),
            why: reason.message(),
        });
        self.rollout.control = Control::RollingBack { by };
        self.rollout.progressed_at = self.now;
    }

    pub fn enter_stage(&mut self, index: usize, state: StageState) {
        let (Some(progress), Some(stage)) =
            (self.rollout.stages.get_mut(index), self.rollout.policy.stages.get(index))
        else {
            return;
        };
        progress.state = state;
        progress.since = self.now;
        self.events.push(RolloutEvent::StageEntered { stage: stage.name.clone(), state });
        self.rollout.progressed_at = self.now;
    }

    pub fn enter_phase(&mut self, phase: Phase) {
        self.events.push(RolloutEvent::PhaseEntered { phase: phase.clone() });
        self.rollout.phase = phase;
        self.rollout.progressed_at = self.now;
    }

    pub fn end(&mut self, outcome: Outcome) {
        self.rollout.phase = Phase::Done(outcome.clone());
        self.rollout.control = Control::Run;
        self.rollout.waiting.clear();
        self.events.push(RolloutEvent::Ended { outcome });
    }

    /// Everybody who holds a permission of the network now, those of this pass included.
    pub fn holders(&self) -> BTreeSet<&NodeName> {
        let mut holders: BTreeSet<&NodeName> = self.input.permissions.keys().collect();
        for action in &self.actions {
            match action {
                Action::Grant { node, .. } => _ = holders.insert(node),
                Action::Free { node, .. } => _ = holders.remove(node),
                Action::Instruct { .. } => {}
            }
        }
        // A permission the rollout remembers counts even if the store has lost it.
        holders
            .extend(self.rollout.nodes.iter().filter(|(_, n)| n.permission.is_some()).map(|(name, _)| name));
        holders
    }

    pub fn down(&self) -> Down {
        self.facts.down(self.holders().into_iter())
    }

    /// The finished plan.
    pub fn finish(mut self) -> Plan {
        let down = self.down();
        let quorum = self.facts.quorum_report(&down);
        let before = &self.input.rollout;
        // A node nobody has heard of since the coordinator started counts as down for every grant, but it says nothing
        // of the chain: the smallest slack is what was seen, not what was feared.
        let heard = self.input.nodes.values().all(|n| n.observed.is_some());
        if let Some(report) = quorum.as_ref().filter(|_| heard && in_hand(&self.rollout.phase)) {
            let least = self.rollout.min_slack.map_or(report.slack, |s| s.min(report.slack));
            self.rollout.min_slack = Some(least);
        }
        let changed =
            !self.actions.is_empty() || !self.events.is_empty() || !same_decisions(before, &self.rollout);
        if changed {
            self.rollout.revision = before.revision + 1;
        }
        Plan {
            parent: before.revision,
            rollout: self.rollout,
            actions: self.actions,
            events: self.events,
            quorum,
            changed,
        }
    }
}

/// Both maps are in name order.
fn roster(input: &PlanInput) -> Vec<(&NodeName, Option<&NodeView>)> {
    let mut registered = input.nodes.iter().peekable();
    input
        .rollout
        .nodes
        .keys()
        .map(|name| {
            while registered.next_if(|(other, _)| *other < name).is_some() {}
            (name, registered.next_if(|(other, _)| *other == name).map(|(_, view)| view))
        })
        .collect()
}

fn in_hand(phase: &Phase) -> bool {
    matches!(phase, Phase::Staging | Phase::Rolling | Phase::Finalizing)
}

/// Whether two versions of a rollout differ in nothing but what is recomputed by every pass.
fn same_decisions(a: &Rollout, b: &Rollout) -> bool {
    let same_node = |a: &NodeProgress, b: &NodeProgress| {
        a.state == b.state
            && a.since == b.since
            && a.stage == b.stage
            && a.permission == b.permission
            && a.started_height == b.started_height
            && a.started_seen_at == b.started_seen_at
            && a.started_pid == b.started_pid
            && a.silent_since == b.silent_since
            && a.granted_at == b.granted_at
            && a.proof == b.proof
            && a.fault == b.fault
    };
    a.phase == b.phase
        && a.control == b.control
        && a.stages == b.stages
        && a.progressed_at == b.progressed_at
        && a.baseline_interval_ms == b.baseline_interval_ms
        && a.nodes.len() == b.nodes.len()
        && a.nodes.iter().zip(&b.nodes).all(|((x, a), (y, b))| x == y && same_node(a, b))
}
