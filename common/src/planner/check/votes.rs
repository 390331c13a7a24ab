//! I1 and the evidence of proofs, counted again from the chain view alone.
use super::Findings;
use crate::chain::{Address, BlockSeals, ChainView};
use crate::id::NodeName;
use crate::planner::{Action, Plan, PlanInput};
use crate::rollout::Proof;
use crate::wire::v1::{Goal, ProcessState};
use std::collections::BTreeSet;

/// Newest sealed blocks in which a validator must have shown itself.
const LATELY: usize = 5;

/// Votes for a block, by the definition: more than two thirds must agree, rounded the way each client rounds.
fn needed(n: usize) -> usize {
    let by_tolerance = (0..=n).filter(|f| 3 * f < n.max(1)).max().map_or(n, |f| n - f);
    let by_thirds = (0..=n).find(|q| 3 * q >= 2 * n).unwrap_or(n);
    by_tolerance.max(by_thirds)
}

fn sealed(view: &ChainView) -> impl Iterator<Item = &BlockSeals> {
    view.window.iter().rev().filter(|b| !b.sealers.is_empty())
}

fn address(input: &PlanInput, node: &NodeName) -> Option<Address> {
    input.nodes.get(node).and_then(|v| v.record.validator)
}

/// Who is up for certain: seals lately, holds no permission, and is heard with a running process where it is ours.
fn up(input: &PlanInput, view: &ChainView, stopped: &BTreeSet<Address>) -> BTreeSet<Address> {
    let lately: Vec<_> = sealed(view).take(LATELY).collect();
    let mut up: BTreeSet<Address> =
        lately.iter().flat_map(|b| b.sealers.iter().copied().chain(Some(b.proposer))).collect();
    for node in input.nodes.values() {
        let Some(address) = node.record.validator else { continue };
        let fine = node.observed.as_ref().is_some_and(|o| {
            let age = input.now.0.saturating_sub(o.received_at.0);
            age <= input.silent_after.0 && matches!(o.report.process, ProcessState::Running { .. })
        });
        if !fine {
            up.remove(&address);
        }
    }
    up.retain(|a| !stopped.contains(a));
    up
}

/// I1: after the plan, every set has quorum and reserve without anybody who may stop.
pub(super) fn live(input: &PlanInput, plan: &Plan, found: &mut Findings) {
    let granted: Vec<(&NodeName, bool)> = plan
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::Grant { node, .. } => Some((node, goes_back(plan, node))),
            _ => None,
        })
        .collect();
    if granted.is_empty() {
        return;
    }
    let Some(view) = &input.chain else {
        if let Some((node, _)) = granted.iter().find(|(n, back)| !back || address(input, n).is_some()) {
            found.say("I1", format!("{node} is permitted without a chain view"));
        }
        return;
    };
    let stopped: BTreeSet<Address> = input
        .permissions
        .keys()
        .filter(|n| !is_freed(plan, n))
        .chain(granted.iter().map(|(n, _)| *n))
        .filter_map(|n| address(input, n))
        .collect();
    let nameless = input.permissions.keys().filter(|n| !input.nodes.contains_key(*n)).count();
    let up_after = up(input, view, &stopped);
    let reserve = usize::try_from(input.rollout.policy.quorum.reserve).unwrap_or(usize::MAX);
    for (node, back) in granted {
        let Some(address) = address(input, node) else { continue };
        stale(input, view, node, back, found);
        let showed = |b: &BlockSeals| b.sealers.contains(&address) || b.proposer == address;
        let absent = !sealed(view).take(LATELY).any(showed);
        for set in [&view.validators, &view.next_validators] {
            let set: BTreeSet<Address> = set.iter().copied().collect();
            if !set.contains(&address) || (back && absent) {
                continue;
            }
            let live = set.intersection(&up_after).count().saturating_sub(nameless);
            let need = needed(set.len()).saturating_add(reserve);
            if live < need {
                found.say("I1", format!("{node} is permitted: {live} live, {need} needed of {}", set.len()));
            }
        }
    }
}

/// A view on which nothing may be decided.
fn stale(input: &PlanInput, view: &ChainView, node: &NodeName, back: bool, found: &mut Findings) {
    if input.now.0.saturating_sub(view.observed_at.0) > input.rollout.policy.quorum.view_max_age.0 {
        found.say("I1", format!("{node} is permitted on a stale view"));
    }
    if view.agreeing.len() < view.required.max(1) {
        found.say("I1", format!("{node} is permitted on a view that too few endpoints share"));
    }
    let stands = input.now.0.saturating_sub(view.head_advanced_at.0);
    if !back && stands > 3_600_000 {
        found.say("I1", format!("{node} is permitted on a chain that stands still"));
    }
    if sealed(view).count() < LATELY {
        found.say("I1", format!("{node} is permitted without seals to judge by"));
    }
}

fn goes_back(plan: &Plan, node: &NodeName) -> bool {
    let back =
        |a: &Action| matches!(a, Action::Instruct { node: n, goal: Goal::Rollback { .. }, .. } if n == node);
    plan.actions.iter().any(back)
}

fn is_freed(plan: &Plan, node: &NodeName) -> bool {
    plan.actions.iter().any(|a| matches!(a, Action::Free { node: n, .. } if n == node))
}

/// Whether the chain shows what a proof claims.
pub(super) fn shown(input: &PlanInput, node: &NodeName, proof: &Proof) -> bool {
    let (Some(view), Some(record)) = (&input.chain, input.nodes.get(node)) else { return false };
    let rule = &input.rollout.policy.proof;
    let within = |b: &&BlockSeals| (proof.heights.0..=proof.heights.1).contains(&b.block.height);
    let own = record.observed.as_ref().map(|o| o.report.health.recent.as_slice()).unwrap_or_default();
    let equal = view.window.iter().filter(within).filter(|b| own.contains(&b.block)).count() as u64;
    let votes =
        record.record.validator.filter(|a| view.validators.contains(a) || view.next_validators.contains(a));
    let seals = votes.map_or(u64::MAX, |a| {
        view.window.iter().filter(within).filter(|b| b.sealers.contains(&a)).count() as u64
    });
    let proposed = votes.is_some_and(|a| view.window.iter().any(|b| b.proposer == a && b.round == 0));
    let others = view.agreeing.iter().filter(|n| *n != node).count();
    let enough = seals >= rule.seals || (proposed && seals >= 2);
    others >= view.required.max(1) && equal >= rule.compare && enough
}
