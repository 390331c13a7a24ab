//! The ways a rollout ends: finished, aborted, rolled back, superseded.
use super::pass::Pass;
use super::{hold, pick, proof};
use crate::id::NodeName;
use crate::rollout::{NodeProgress, NodeState, Outcome, Phase, Reason};
use crate::wire::v1::{AgentPhase, Goal};

/// Ends a rollout whose stages are all done, once the activation height is passed.
pub(super) fn finish(pass: &mut Pass<'_>) {
    if pass.rollout.phase != Phase::Finalizing || unfinished(pass).is_some() || !release_rest(pass) {
        return;
    }
    let left = pass.rollout.nodes.values().filter(|n| n.state != NodeState::Done).count();
    match u32::try_from(left).unwrap_or(u32::MAX) {
        0 => pass.end(Outcome::Succeeded),
        left => pass.end(Outcome::SucceededWithDeferred(left)),
    }
}

/// What keeps a rollout with all stages done from ending.
pub(super) fn unfinished(pass: &Pass<'_>) -> Option<Reason> {
    let height = pass.rollout.deadline_height()?;
    let Some(head) = pass.facts.head() else { return Some(Reason::ChainViewMissing) };
    if head < height + 2 {
        return Some(Reason::WaitingForActivation { height, head });
    }
    let mut proved = pass.rollout.nodes.iter().filter(|(_, n)| n.state == NodeState::Done);
    let (name, _) = proved.find(|(name, _)| !proof::passed(&pass.facts, name, height))?;
    Some(match pass.facts.heard(name) {
        Some(_) => Reason::ProofPending { node: name.clone(), seen: 0, need: 1 },
        None => silent(pass, name),
    })
}

/// Why a node says nothing.
pub(super) fn silent(pass: &Pass<'_>, name: &NodeName) -> Reason {
    let since = pass.input.nodes.get(name).and_then(|v| v.observed.as_ref()).map(|o| o.received_at);
    Reason::NodeSilent { node: name.clone(), since }
}

/// Takes nodes out of the rollout that were not touched. True when none is left.
fn release_rest(pass: &mut Pass<'_>) -> bool {
    let input = pass.input;
    let mut done = true;
    for name in input.rollout.nodes.keys() {
        let (Some(view), Some(node)) = (input.nodes.get(name), pass.node(name)) else { continue };
        let on_release = node.state == NodeState::Done;
        if node.permission.is_some() || view.desired.goal == Goal::Run {
            continue;
        }
        if pass.can_act(name, 1) {
            pass.instruct(name, on_release, Goal::Run);
        } else {
            done = false;
        }
    }
    done && pass.has_room(1)
}

fn nobody_at_work(pass: &Pass<'_>) -> bool {
    pass.rollout.nodes.values().all(|n| n.permission.is_none())
}

/// Ends an aborted rollout once nobody is half way.
pub(super) fn abort(pass: &mut Pass<'_>) {
    if release_rest(pass) && nobody_at_work(pass) {
        pass.end(Outcome::Aborted);
    }
}

/// Ends a rollout whose plan was cancelled on chain before anything was switched.
pub(super) fn supersede(pass: &mut Pass<'_>) {
    if release_rest(pass) {
        pass.end(Outcome::Superseded);
    }
}

/// Nodes that run the release because of this rollout and can be ordered back.
pub(super) fn to_go_back<'p>(pass: &'p Pass<'_>) -> impl Iterator<Item = &'p NodeName> + 'p {
    pass.rollout.nodes.iter().filter(|(name, n)| runs_release(pass, name, n)).map(|(name, _)| name)
}

fn runs_release(pass: &Pass<'_>, name: &NodeName, node: &NodeProgress) -> bool {
    use NodeState as S;
    match node.state {
        S::Done | S::RpcUp | S::CatchingUp | S::Sealing | S::NotSealing => node.granted_at.is_some(),
        S::SwitchFailed => pass.facts.current(name).is_some_and(|said| {
            let at_rest =
                matches!(said.report.phase, AgentPhase::Failed | AgentPhase::Done | AgentPhase::Idle);
            at_rest && pass.facts.is_target(said.report.running.as_ref())
        }),
        _ => false,
    }
}

/// Brings switched nodes back to the release before, within the slack.
pub(super) fn roll_back(pass: &mut Pass<'_>) {
    if hold::past_cutoff(pass) && to_go_back(pass).next().is_some() {
        return;
    }
    let rest = release_rest(pass);
    let mut down = pass.down();
    let input = pass.input;
    for name in input.rollout.nodes.keys() {
        if !is_due(pass, name) || !pass.can_act(name, 2) {
            continue;
        }
        let Some(node) = pass.node(name) else { continue };
        let (stage, fresh) = (node.stage, node.permission.is_none());
        if let Some(full) = pick::parallel_limit(pass, stage).filter(|_| fresh) {
            pass.blocked.entry(stage).or_insert(vec![full]);
            continue;
        }
        match pick::may_stop(pass, name, &down, true) {
            Ok(slack_after) => {
                pass.grant(name, true, slack_after);
                if let Some(address) = pass.facts.voter(name) {
                    down.permit(address, name);
                }
            }
            Err(reasons) => _ = pass.blocked.entry(stage).or_insert(reasons),
        }
    }
    if rest && nobody_at_work(pass) && to_go_back(pass).next().is_none() && pass.has_room(1) {
        pass.end(Outcome::RolledBack);
    }
}

/// Whether a node can be ordered back now: it runs the release and is heard, or its leave to go back ended unused.
fn is_due(pass: &Pass<'_>, name: &NodeName) -> bool {
    let Some(node) = pass.node(name) else { return false };
    let Some(said) = pass.facts.current(name) else { return false };
    let at_rest = matches!(
        said.report.phase,
        AgentPhase::Done | AgentPhase::Idle | AgentPhase::Ready | AgentPhase::Failed
    );
    let foreign = node.permission.is_none() && pass.input.permissions.contains_key(name);
    let unused = node.state == NodeState::RollingBack
        && pass.facts.is_target(said.report.running.as_ref())
        && node.permission.as_ref().is_some_and(|p| pass.now > p.expires_at);
    at_rest && !foreign && (unused || runs_release(pass, name, node))
}
