//! Who is permitted next, and why nobody else is.
use super::facts::{Down, N_ABSENT};
use super::pass::Pass;
use crate::chain::Address;
use crate::fleet::Role;
use crate::id::NodeName;
use crate::policy::{Parallel, QuorumRule};
use crate::quorum;
use crate::rollout::{NodeState, Phase, Reason, StageState};
use crate::wire::v1::AgentPhase;
use std::collections::BTreeMap;

/// Permits as many nodes as stages, limits and quorum allow.
pub(super) fn permit(pass: &mut Pass<'_>) {
    if pass.rollout.phase != Phase::Rolling {
        return;
    }
    let mut down = pass.down();
    for index in 0..pass.rollout.stages.len() {
        if pass.rollout.stages[index].state == StageState::Switching {
            permit_stage(pass, index, &mut down);
        }
    }
}

fn permit_stage(pass: &mut Pass<'_>, index: usize, down: &mut Down) {
    let Some(stage) = pass.rollout.policy.stages.get(index) else { return };
    if stage.nodes.is_empty()
        || !pass.roster().any(|(_, _, n)| n.stage == index && n.state == NodeState::WaitSlot)
    {
        return;
    }
    // The limits come first: they are cheap, and thousands of nodes may wait behind them.
    let mut waiting = if let Some(full) = parallel_limit(pass, index) {
        pass.blocked.insert(index, vec![full]);
        return;
    } else {
        eligible(pass, index)
    };
    while !waiting.is_empty() {
        if let Some(full) = parallel_limit(pass, index) {
            pass.blocked.insert(index, vec![full]);
            return;
        }
        let best = prefer(pass, &waiting, down);
        let name = waiting.remove(best);
        if !pass.can_act(name, 2) {
            // The next pass goes on from here.
            return;
        }
        match may_stop(pass, name, down, false) {
            Ok(slack_after) => {
                pass.grant(name, false, slack_after);
                if let Some(address) = pass.facts.voter(name) {
                    down.permit(address, name);
                }
            }
            Err(reasons) => {
                // What stops a validator may leave other nodes alone.
                let votes = pass.facts.voter(name).is_some();
                pass.blocked.entry(index).or_insert(reasons);
                if votes {
                    waiting.retain(|n| pass.facts.voter(n).is_none());
                } else {
                    return;
                }
            }
        }
    }
}

/// Nodes of the stage that could begin at once.
fn eligible<'a>(pass: &Pass<'a>, index: usize) -> Vec<&'a NodeName> {
    let input = pass.input;
    let Some(stage) = input.rollout.policy.stages.get(index) else { return Vec::new() };
    stage.nodes.iter().filter(|name| is_eligible(pass, name)).collect()
}

fn is_eligible(pass: &Pass<'_>, name: &NodeName) -> bool {
    let Some(node) = pass.node(name) else { return false };
    let Some(view) = pass.input.nodes.get(name) else { return false };
    node.state == NodeState::WaitSlot
        && node.permission.is_none()
        && !view.record.cordoned
        && !pass.input.permissions.contains_key(name)
        && pass.facts.current(name).is_some_and(|s| s.report.phase == AgentPhase::Ready)
        && pass.can_act(name, 2)
}

/// Whether as many nodes as allowed are being worked on.
pub(super) fn parallel_limit(pass: &Pass<'_>, index: usize) -> Option<Reason> {
    let policy = &pass.rollout.policy;
    let at_work = |stage: Option<usize>| {
        let held = pass.rollout.nodes.values().filter(|n| n.permission.is_some());
        let count = held.filter(|n| stage.is_none_or(|s| n.stage == s)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let reached = |busy: u32, limit: u32| (busy >= limit).then_some(Reason::ParallelLimit { busy, limit });
    let of_stage = match policy.stages.get(index)?.parallel {
        Parallel::Count(limit) => reached(at_work(Some(index)), limit),
        Parallel::Slack => None,
    };
    of_stage.or_else(|| reached(at_work(None), policy.max_parallel))
}

/// Whether a node may be stopped now, with the slack that is left in the worst set when it votes.
pub(super) fn may_stop(
    pass: &Pass<'_>,
    name: &NodeName,
    down: &Down,
    back: bool,
) -> Result<Option<i64>, Vec<Reason>> {
    let facts = &pass.facts;
    let block = facts.chain_block();
    let is_validator = pass.input.nodes.get(name).is_some_and(|v| v.record.role == Role::Validator);
    if !is_validator && facts.voter(name).is_none() {
        // A node that does not vote takes nothing from consensus on its way back.
        return block.filter(|_| !back).map_or(Ok(None), |reason| Err(vec![reason]));
    }
    let Some(chain) = &facts.chain else { return Err(vec![Reason::ChainViewMissing]) };
    let counted = pass.rollout.policy.quorum.rule == QuorumRule::Wbft && !chain.sets.is_empty();
    if !counted || chain.sealed.len() < N_ABSENT {
        return Err(vec![Reason::ChainViewMissing]);
    }
    let voter = facts.voter(name);
    // Stopping a validator that the chain shows to be absent costs no vote; its way back may bring one.
    let heals = back && voter.is_some_and(|a| !chain.seen.contains(&a));
    match block {
        Some(Reason::ChainSlow { .. }) if back => {}
        Some(Reason::ChainNotAdvancing { .. }) if heals => {}
        Some(reason) => return Err(vec![reason]),
        None => {}
    }
    let Some(voter) = voter else { return Ok(None) };
    if heals {
        return Ok(facts.quorum_report(down).map(|r| r.slack));
    }
    if let Some(reason) = epoch_end(pass) {
        return Err(vec![reason]);
    }
    let reserve = pass.rollout.policy.quorum.reserve;
    quorum::grantable(&chain.sets, &down.set, down.nameless, &voter, reserve).map(Some).map_err(|short| {
        let mut reasons = vec![Reason::QuorumSlackExhausted { need: short.need, have: short.have }];
        if !down.unexpected.is_empty() {
            let mut validators = down.unexpected.clone();
            validators.truncate(32);
            reasons.push(Reason::ForeignValidatorDown { validators });
        }
        reasons
    })
}

/// The last blocks of an epoch whose successor is not known are no time to stop a validator.
fn epoch_end(pass: &Pass<'_>) -> Option<Reason> {
    let view = pass.facts.chain.as_ref()?.view;
    let guarded = pass.rollout.policy.quorum.epoch_guard && view.next_validators.is_empty();
    if !guarded || view.epoch_length == 0 {
        return None;
    }
    let blocks = view.epoch_length - view.head.height % view.epoch_length;
    (blocks <= (view.epoch_length / 4).min(3)).then_some(Reason::EpochBoundary { blocks })
}

/// The place of the node to take first: not beside a proposer that is down, not a proposer of the next blocks, spread
/// over the policy's labels, then in the order of the stage. These are preferences: they order, they do not refuse.
fn prefer(pass: &Pass<'_>, waiting: &[&NodeName], down: &Down) -> usize {
    let order = proposer_order(pass);
    let crowd = crowd(pass);
    let mut best = (0, (true, true, usize::MAX));
    for (i, name) in waiting.iter().enumerate() {
        let place = pass.facts.voter(name).and_then(|a| order.get(&a).copied());
        let (beside, soon) = place.map_or((false, false), |p| proposer_costs(pass, p, down));
        let crowded = labels(pass, name).iter().map(|l| crowd.get(l).copied().unwrap_or_default()).sum();
        let score = (beside, soon, crowded);
        if score < best.1 {
            best = (i, score);
        }
        if score == (false, false, 0) {
            break;
        }
    }
    best.0
}

fn proposer_order(pass: &Pass<'_>) -> BTreeMap<Address, usize> {
    let validators = pass.facts.chain.as_ref().map_or(&[][..], |c| &c.view.validators);
    validators.iter().enumerate().map(|(i, a)| (*a, i)).collect()
}

/// Whether a neighbour in proposer order is down, and whether it proposes one of the next two blocks.
fn proposer_costs(pass: &Pass<'_>, place: usize, down: &Down) -> (bool, bool) {
    let Some(chain) = &pass.facts.chain else { return (false, false) };
    let validators = &chain.view.validators;
    let n = validators.len();
    let beside = pass.rollout.policy.quorum.avoid_adjacent_proposers
        && [(place + 1) % n, (place + n - 1) % n].iter().any(|&p| down.set.contains(&validators[p]));
    let last = chain.view.window.last().and_then(|b| validators.iter().position(|v| *v == b.proposer));
    let soon = last.is_some_and(|l| place == (l + 1) % n || place == (l + 2) % n);
    (beside, soon)
}

fn labels<'a>(pass: &Pass<'a>, name: &NodeName) -> Vec<(&'a str, &'a str)> {
    let input = pass.input;
    let Some(view) = input.nodes.get(name) else { return Vec::new() };
    let keys = input.rollout.policy.quorum.spread_by.iter();
    keys.filter_map(|k| view.record.labels.get(k).map(|v| (k.as_str(), v.as_str()))).collect()
}

/// How many nodes with a permission share each label.
fn crowd<'a>(pass: &Pass<'a>) -> BTreeMap<(&'a str, &'a str), usize> {
    let mut crowd = BTreeMap::new();
    for name in pass.holders() {
        for label in labels(pass, name) {
            *crowd.entry(label).or_default() += 1;
        }
    }
    crowd
}
