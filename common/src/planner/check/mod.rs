//! A second opinion on every plan. It knows the rules of a sound plan and shares no code with the planner: it works
//! everything out again from the input, down to the quorum rule.
mod votes;

use super::{Action, Plan, PlanInput};
use crate::id::NodeName;
use crate::rollout::{Control, NodeState, Outcome, Phase};
use crate::wire::v1::{AgentPhase, Goal, Permission};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most node actions of a plan, as the store's limit allows.
const MOST_ACTIONS: usize = 64;
/// No permission may outlive this, in milliseconds.
const LONGEST_PERMISSION_MS: u64 = 30 * 60 * 1000;

/// A rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule, for example `I1`.
    pub rule: String,
    /// What breaks it, naming node or stage.
    pub finding: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.finding)
    }
}

/// Looks for rules that `plan` breaks; empty when it is sound.
pub fn check(input: &PlanInput, plan: &Plan) -> Vec<Violation> {
    let mut found = Findings(Vec::new());
    revision(input, plan, &mut found);
    permissions(input, plan, &mut found);
    frees(input, plan, &mut found);
    cutoff(input, plan, &mut found);
    reasons(plan, &mut found);
    outcome(plan, &mut found);
    votes::live(input, plan, &mut found);
    found.0
}

struct Findings(Vec<Violation>);

impl Findings {
    fn say(&mut self, rule: &str, finding: impl Into<String>) {
        self.0.push(Violation { rule: rule.to_owned(), finding: finding.into() });
    }
}

fn revision(input: &PlanInput, plan: &Plan, found: &mut Findings) {
    let before = &input.rollout;
    if plan.parent != before.revision {
        found.say("parent", format!("decided on revision {}, not {}", plan.parent, before.revision));
    }
    let expected = before.revision + u64::from(plan.changed);
    if plan.rollout.revision != expected {
        found.say("parent", format!("revision {} where {expected} follows", plan.rollout.revision));
    }
    let silent = plan.actions.is_empty() && plan.events.is_empty();
    if !plan.changed
        && (!silent || plan.rollout.control != before.control || plan.rollout.phase != before.phase)
    {
        found.say("parent", "something changed that the plan does not want stored");
    }
    if plan.actions.len() > MOST_ACTIONS {
        found.say("size", format!("{} actions, at most {MOST_ACTIONS} fit", plan.actions.len()));
    }
    if plan.rollout.phase < before.phase {
        found.say("phase", "the phase went back");
    }
    let same = plan.rollout.id == before.id
        && plan.rollout.release == before.release
        && plan.rollout.manifest == before.manifest
        && plan.rollout.policy == before.policy
        && plan.rollout.nodes.keys().eq(before.nodes.keys());
    if !same {
        found.say("frozen", "release, policy or nodes of the rollout changed");
    }
}

/// I3 and I5: one permission a node, a switch only under it, none while nothing may begin.
fn permissions(input: &PlanInput, plan: &Plan, found: &mut Findings) {
    let mut granted: BTreeMap<&NodeName, &Permission> = BTreeMap::new();
    let mut ids = Vec::new();
    for action in &plan.actions {
        let Action::Grant { node, permission } = action else { continue };
        if granted.insert(node, permission).is_some() {
            found.say("I3", format!("{node} is permitted twice in one plan"));
        }
        ids.push(permission.id);
        let length = permission.expires_at.0.saturating_sub(permission.granted_at.0);
        if permission.granted_at != input.now || length == 0 || length > LONGEST_PERMISSION_MS {
            found.say("I3", format!("the permission of {node} does not begin now or is too long"));
        }
        may_grant(input, plan, node, found);
    }
    let fresh = ids.iter().enumerate().all(|(i, id)| *id >= input.next_permission && !ids[..i].contains(id));
    if !fresh {
        found.say("I3", "a permission id is used again");
    }
    let mut instructed: BTreeMap<&NodeName, &Goal> = BTreeMap::new();
    for action in &plan.actions {
        let Action::Instruct { node, goal, release, .. } = action else { continue };
        if instructed.insert(node, goal).is_some() {
            found.say("I3", format!("{node} is instructed twice in one plan"));
        }
        let (Goal::Switch { permission } | Goal::Rollback { permission }) = goal else { continue };
        if granted.get(node) != Some(&permission) {
            found.say("I5", format!("{node} is to stop without a permission of this plan"));
        }
        if release.as_ref() != Some(&input.rollout.release) {
            found.say("I5", format!("{node} is to stop for another release"));
        }
    }
    for (node, permission) in granted {
        let used = matches!(instructed.get(node), Some(Goal::Switch { permission: p } | Goal::Rollback { permission: p }) if p == permission);
        if !used {
            found.say("I3", format!("{node} is permitted but not told so"));
        }
    }
}

fn may_grant(input: &PlanInput, plan: &Plan, node: &NodeName, found: &mut Findings) {
    let back = plan
        .actions
        .iter()
        .any(|a| matches!(a, Action::Instruct { node: n, goal: Goal::Rollback { .. }, .. } if n == node));
    let allowed = match (&plan.rollout.control, back) {
        (Control::Run, false) => plan.rollout.phase == Phase::Rolling,
        (Control::RollingBack { .. }, true) => true,
        _ => false,
    };
    if !allowed {
        found.say("I8", format!("{node} is permitted while nothing may begin"));
    }
    if let Some(held) = input.permissions.get(node) {
        // Only the way back of this very rollout may take the place of a permission that was used up.
        let replaced = back && held.rollout.as_ref() == Some(&input.rollout.id);
        if !replaced {
            found.say("I3", format!("{node} holds permission {} already", held.permission.id));
        }
    }
    let Some(view) = input.nodes.get(node) else {
        found.say("I3", format!("{node} is not registered"));
        return;
    };
    if view.record.cordoned && !back {
        found.say("I3", format!("{node} is cordoned"));
    }
    let fresh = view.observed.as_ref().is_some_and(|o| {
        input.now.0.saturating_sub(o.received_at.0) <= input.silent_after.0
            && o.generation >= view.desired.generation
            && (back || o.report.phase == AgentPhase::Ready)
    });
    if !fresh {
        found.say("I5", format!("{node} has not said that it is ready"));
    }
}

/// I2: no slot is freed without proof, or the word of a node that was never stopped.
fn frees(input: &PlanInput, plan: &Plan, found: &mut Findings) {
    if matches!(input.rollout.control, Control::Paused { .. }) && !plan.actions.is_empty() {
        found.say("I8", "a paused rollout acts");
    }
    for action in &plan.actions {
        let Action::Free { node, permission } = action else { continue };
        if plan.actions.iter().any(|a| matches!(a, Action::Grant { node: n, .. } if n == node)) {
            found.say("I2", format!("{node} is freed and permitted in one plan"));
        }
        if input.permissions.get(node).is_none_or(|p| p.permission.id != *permission) {
            found.say("I2", format!("{node} does not hold permission {permission}"));
        }
        let before = input.rollout.nodes.get(node).map(|n| n.state);
        let proof = plan.rollout.nodes.get(node).and_then(|n| n.proof.as_ref());
        let proved = proof.is_some_and(|p| {
            let started = input.rollout.nodes.get(node).and_then(|n| n.started_height);
            p.at == input.now && started.is_some_and(|s| p.heights.0 > s) && votes::shown(input, node, p)
        });
        let untouched = before == Some(NodeState::Permitted) && never_stopped(input, node);
        if !proved && !untouched {
            found.say("I2", format!("{node} is freed without proof"));
        }
    }
}

/// The agent knows a newer instruction than the permission's and still runs what it ran.
fn never_stopped(input: &PlanInput, node: &NodeName) -> bool {
    let Some(view) = input.nodes.get(node) else { return false };
    let Some(observed) = &view.observed else { return false };
    let target = &input.rollout.release;
    let elsewhere = observed
        .report
        .running
        .as_ref()
        .is_none_or(|r| r.name != target.name || r.sequence != target.sequence);
    matches!(view.desired.goal, Goal::Run | Goal::Stage)
        && observed.generation >= view.desired.generation
        && observed.report.phase <= AgentPhase::Ready
        && elsewhere
}

/// I6: no way back past the cutoff.
fn cutoff(input: &PlanInput, plan: &Plan, found: &mut Findings) {
    let manifest = &input.rollout.manifest;
    let head = input.chain.as_ref().map(|c| c.head.height);
    let passed = manifest.activation.height().is_some_and(|h| head.is_some_and(|head| head >= h));
    for action in &plan.actions {
        if let Action::Instruct { node, goal: Goal::Rollback { .. }, .. } = action
            && (passed || manifest.irreversible)
        {
            found.say("I6", format!("{node} is to go back past the cutoff"));
        }
    }
}

/// I7: nothing waits silently.
fn reasons(plan: &Plan, found: &mut Findings) {
    let over = matches!(plan.rollout.phase, Phase::Done(_));
    if !over && plan.rollout.waiting.is_empty() {
        found.say("I7", "the rollout waits without a reason");
    }
    for (name, node) in &plan.rollout.nodes {
        let ends = matches!(node.state, NodeState::Done | NodeState::RolledBack);
        if !over && !ends && node.reason.is_none() {
            found.say("I7", format!("{name} waits without a reason"));
        }
    }
}

/// I13: the outcome adds up to the plan's size, and nobody is left half way.
fn outcome(plan: &Plan, found: &mut Findings) {
    let Phase::Done(outcome) = &plan.rollout.phase else { return };
    let nodes = &plan.rollout.nodes;
    let done = nodes.values().filter(|n| n.state == NodeState::Done).count();
    let left = nodes.len() - done;
    match outcome {
        Outcome::Succeeded if left > 0 => {
            found.say("I13", format!("succeeded, and {left} node(s) are not done"));
        }
        Outcome::SucceededWithDeferred(n) if *n as usize != left || left == 0 => {
            found.say("I13", format!("{n} deferred, and {left} node(s) are not done"));
        }
        _ => {}
    }
    if let Some((name, _)) = nodes.iter().find(|(_, n)| n.permission.is_some()) {
        found.say("I13", format!("over, and {name} still holds a permission"));
    }
}
