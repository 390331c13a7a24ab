//! Why everything that waits waits. Recomputed by every pass.
use super::deadline::{self, Level};
use super::pass::Pass;
use super::{NodeView, ending, proof, stage};
use crate::id::NodeName;
use crate::rollout::{Control, NodeProgress, NodeState, Phase, Reason, StageState};
use crate::wire::v1::FaultCode;

/// Most reasons a rollout shows; nodes have their own.
const MAX_WAITING: usize = 32;

/// Gives every waiting node its reason, and the rollout its list.
pub(super) fn assign(pass: &mut Pass<'_>) {
    if matches!(pass.rollout.phase, Phase::Done(_)) {
        pass.rollout.waiting.clear();
        return;
    }
    let staging = staging(pass);
    let reasons =
        pass.roster().map(|(name, view, node)| node_reason(pass, name, view, node, staging)).collect();
    pass.set_reasons(reasons);
    pass.rollout.waiting = rollout_reasons(pass);
}

fn node_reason<'a>(
    pass: &Pass<'a>,
    name: &NodeName,
    view: Option<&'a NodeView>,
    node: &NodeProgress,
    staging: u32,
) -> Option<Reason> {
    use NodeState as S;
    let heard = view.is_some_and(|v| pass.facts.heard_of(v).is_some());
    Some(match node.state {
        S::Done => return None,
        _ if pass.rollout.phase == Phase::Draft => Reason::ApprovalMissing,
        S::StageFailed | S::PreflightFailed | S::SwitchFailed => failure(name, node),
        S::RolledBack if node.fault.is_some() => failure(name, node),
        S::RolledBack => return None,
        _ if !heard => ending::silent(pass, name),
        S::NotSealing => Reason::NodeNotSealing { node: name.clone() },
        S::Selected | S::Staging | S::Staged | S::Deferred => Reason::NodeStaging { nodes: 1 },
        S::WaitSlot => slot_reason(pass, name, view, node, staging),
        S::Permitted | S::Stopping | S::Switched | S::Starting => Reason::Switching { node: name.clone() },
        S::RpcUp | S::CatchingUp => behind(pass, name, node),
        S::Sealing => proof::missing(&pass.facts, name, node),
        S::RollingBack if node.started_height.is_some() => proof::missing(&pass.facts, name, node),
        S::RollingBack => Reason::Switching { node: name.clone() },
    })
}

fn failure(name: &NodeName, node: &NodeProgress) -> Reason {
    let (fault, detail) = match &node.fault {
        Some(fault) => (fault.code, fault.detail.clone()),
        None => (FaultCode::NotHealthy, "the host went back to the release before".to_owned()),
    };
    Reason::NodeFailed { node: name.clone(), fault, detail }
}

fn behind(pass: &Pass<'_>, name: &NodeName, node: &NodeProgress) -> Reason {
    let Some(network) = pass.facts.head() else { return Reason::ChainViewMissing };
    let own = pass.facts.heard(name).and_then(|s| s.report.health.head().map(|b| b.height));
    match own.map(|own| network.saturating_sub(own)) {
        Some(behind) if behind > 2 => Reason::CatchingUp { node: name.clone(), behind },
        Some(_) => proof::missing(&pass.facts, name, node),
        None => Reason::Switching { node: name.clone() },
    }
}

fn slot_reason(
    pass: &Pass<'_>,
    name: &NodeName,
    view: Option<&NodeView>,
    node: &NodeProgress,
    staging: u32,
) -> Reason {
    match &pass.rollout.control {
        Control::Paused { .. } => return Reason::Paused,
        Control::Held { reason, .. } => return reason.clone(),
        _ => {}
    }
    if view.is_some_and(|v| v.record.cordoned) {
        return Reason::Cordoned { node: name.clone() };
    }
    if pass.rollout.phase != Phase::Rolling {
        return Reason::NodeStaging { nodes: staging };
    }
    if let Some(before) = stage::first_undone(pass, node.stage) {
        return Reason::StageNotReached { stage: pass.rollout.policy.stages[before].name.clone() };
    }
    match pass.blocked.get(&node.stage).and_then(|r| r.first()) {
        Some(reason) => reason.clone(),
        None => Reason::NodeStaging { nodes: 1 },
    }
}

fn staging(pass: &Pass<'_>) -> u32 {
    let counts = |s: NodeState| matches!(s, NodeState::Selected | NodeState::Staging | NodeState::Staged);
    u32::try_from(pass.rollout.nodes.values().filter(|n| counts(n.state)).count()).unwrap_or(u32::MAX)
}

fn rollout_reasons(pass: &Pass<'_>) -> Vec<Reason> {
    let mut out: Vec<Reason> = Vec::new();
    let mut say = |reason: Reason| {
        if out.len() < MAX_WAITING && !out.contains(&reason) {
            out.push(reason);
        }
    };
    match &pass.rollout.control {
        Control::Paused { .. } => say(Reason::Paused),
        Control::Held { reason, .. } => say(reason.clone()),
        _ => {}
    }
    if pass.rollout.phase == Phase::Draft {
        say(Reason::ApprovalMissing);
    }
    let staging = staging(pass);
    if staging > 0 && pass.rollout.phase != Phase::Draft {
        say(Reason::NodeStaging { nodes: staging });
    }
    for index in 0..pass.rollout.stages.len() {
        pass.blocked.get(&index).into_iter().flatten().for_each(|r| say(r.clone()));
        if pass.rollout.stages[index].state < StageState::Done {
            stage::waiting(pass, index).into_iter().for_each(&mut say);
        }
    }
    quorum_reasons(pass).into_iter().for_each(&mut say);
    for node in pass.rollout.nodes.values().filter(|n| speaks(n)) {
        node.reason.iter().for_each(|r| say(r.clone()));
    }
    if pass.rollout.phase == Phase::Finalizing {
        ending::unfinished(pass).into_iter().for_each(&mut say);
    }
    if matches!(pass.rollout.phase, Phase::Draft | Phase::Approved | Phase::Staging | Phase::Rolling) {
        deadline_reason(pass).into_iter().for_each(&mut say);
    }
    // Nothing waits silently: whatever the rest waits for, its nodes know.
    for node in pass.rollout.nodes.values() {
        node.reason.iter().for_each(|r| say(r.clone()));
    }
    if out.is_empty() {
        out.push(if pass.facts.chain.is_none() {
            Reason::ChainViewMissing
        } else {
            Reason::NodeStaging { nodes: 0 }
        });
    }
    out
}

/// Whoever we did not stop and does not seal is named while validators are ahead, even if slack is left.
fn quorum_reasons(pass: &Pass<'_>) -> Vec<Reason> {
    let ahead = pass.rollout.phase == Phase::Rolling
        && pass.roster().any(|(_, view, n)| n.state != NodeState::Done && pass.facts.votes(view));
    let mut out = Vec::new();
    if !ahead {
        return out;
    }
    let down = pass.down();
    let reserve = i64::try_from(pass.rollout.policy.quorum.reserve).unwrap_or(i64::MAX);
    let have = pass.facts.quorum_report(&down).map_or(reserve, |r| r.slack);
    if have < reserve && !pass.blocked.values().flatten().any(|r| r.code() == "quorum-slack-exhausted") {
        out.push(Reason::QuorumSlackExhausted { need: reserve.saturating_add(1), have });
    }
    let mut validators = down.unexpected;
    validators.truncate(32);
    if !validators.is_empty() {
        out.push(Reason::ForeignValidatorDown { validators });
    }
    out
}

/// Whether a node's reason is worth a place in the rollout's list before others.
fn speaks(node: &NodeProgress) -> bool {
    node.permission.is_some() || node.state.failed() || node.state == NodeState::Deferred
}

fn deadline_reason(pass: &Pass<'_>) -> Option<Reason> {
    let verdict = deadline::judge(pass);
    let eta = verdict.eta?;
    match verdict.level {
        Level::AtRisk => Some(Reason::DeadlineAtRisk { eta, need: verdict.need? }),
        // A need that cannot be met at all is shown as a thousand days.
        Level::Infeasible => {
            Some(Reason::DeadlineInfeasible { eta, need: verdict.need.unwrap_or(deadline::NEVER) })
        }
        Level::Ok | Level::Unknown => None,
    }
}
