//! What stops a rollout by itself.
use super::pass::Pass;
use super::proof;
use crate::id::NodeName;
use crate::policy::OnFailure;
use crate::rollout::{Control, NodeState, Phase, Reason, StageState};
use crate::time::{Span, UnixMs};
use crate::wire::v1::{AgentPhase, Fault, FaultCode};

/// Room beside a deadline that the host keeps by itself.
const HOST_MARGIN: Span = Span::mins(2);

/// Judges failures and deadlines; changes `control` when something is wrong.
pub(super) fn judge(pass: &mut Pass<'_>) {
    let reason = match pass.rollout.control {
        Control::Run => held_running(pass),
        Control::RollingBack { .. } => held_going_back(pass),
        Control::Aborting { .. } => not_sealing(pass).or_else(|| no_progress(pass)),
        Control::Paused { .. } | Control::Held { .. } => None,
    };
    let Some(reason) = reason else { return };
    if !pass.has_room(4) {
        return;
    }
    if let Reason::NodeNotSealing { node } = &reason {
        mark_not_sealing(pass, node);
    }
    let by_policy = pass.rollout.control == Control::Run
        && pass.rollout.policy.on_failure == OnFailure::Rollback
        && about_a_node(&reason)
        && !past_cutoff(pass)
        && begun(pass);
    if by_policy {
        pass.turn_back(&reason);
    } else {
        pass.hold(reason);
    }
}

fn mark_not_sealing(pass: &mut Pass<'_>, node: &NodeName) {
    let input = pass.input;
    let Some((name, before)) = input.rollout.nodes.get_key_value(node) else { return };
    let waits = pass.node(name).is_some_and(|n| n.state == NodeState::Sealing);
    if waits && before.state != NodeState::NotSealing {
        pass.enter(name, NodeState::NotSealing, false);
    }
}

fn about_a_node(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NodeFailed { .. }
            | Reason::NodeNotSealing { .. }
            | Reason::StateDiverged { .. }
            | Reason::DeadlinePassed { .. }
    )
}

/// Whether nobody may go back any more.
pub(super) fn past_cutoff(pass: &Pass<'_>) -> bool {
    let rollout = &pass.rollout;
    let passed = rollout.cutoff_height().is_some_and(|h| pass.facts.head().is_some_and(|head| head >= h));
    rollout.manifest.irreversible || passed
}

/// Whether any node was permitted in this rollout.
pub(super) fn begun(pass: &Pass<'_>) -> bool {
    pass.rollout.nodes.values().any(|n| n.granted_at.is_some())
}

fn held_running(pass: &Pass<'_>) -> Option<Reason> {
    if pass.input.cancelled_on_chain && begun(pass) {
        return Some(Reason::PlanCancelled);
    }
    diverged(pass)
        .or_else(|| activation_passed(pass))
        .or_else(|| failed(pass))
        .or_else(|| not_sealing(pass))
        .or_else(|| deadline_passed(pass))
        .or_else(|| no_progress(pass))
}

fn held_going_back(pass: &Pass<'_>) -> Option<Reason> {
    let failed_on_its_way = pass.rollout.nodes.iter().find(|(name, n)| {
        let before = pass.input.rollout.nodes.get(*name).map(|b| b.state);
        n.state == NodeState::SwitchFailed && before == Some(NodeState::RollingBack)
    });
    if let Some((name, node)) = failed_on_its_way {
        return Some(node_failed(name, node.fault.as_ref()));
    }
    if past_cutoff(pass) && super::ending::to_go_back(pass).next().is_some() {
        return Some(Reason::ActivationPassed { height: pass.rollout.cutoff_height().unwrap_or_default() });
    }
    let d = &pass.rollout.policy.deadlines;
    let patience = [d.stop, d.start, d.rpc, d.catch_up, d.sealing, HOST_MARGIN];
    let patience = Span(patience.iter().fold(0, |sum, s| s.0.saturating_add(sum)));
    let late = pass
        .rollout
        .nodes
        .iter()
        .find(|(_, n)| n.state == NodeState::RollingBack && pass.now.since(n.since) > patience)
        .map(|(name, _)| Reason::DeadlinePassed { node: name.clone(), step: "rollback".to_owned() });
    late.or_else(|| no_progress(pass))
}

/// A node that runs the release has another block than the network.
fn diverged(pass: &Pass<'_>) -> Option<Reason> {
    use NodeState as S;
    let stages = &pass.rollout.stages;
    pass.rollout.nodes.iter().find_map(|(name, node)| {
        let watched = match node.state {
            S::RpcUp | S::CatchingUp | S::Sealing => true,
            S::Done => {
                pass.rollout.phase == Phase::Finalizing
                    || stages.get(node.stage).is_some_and(|s| s.state < StageState::Done)
            }
            _ => false,
        };
        if !watched {
            return None;
        }
        let height = proof::evidence(&pass.facts, name, node)?.diverged?;
        Some(Reason::StateDiverged { node: name.clone(), height })
    })
}

/// The new rules hold and a validator does not run the release.
fn activation_passed(pass: &Pass<'_>) -> Option<Reason> {
    use NodeState as S;
    let height = pass.rollout.deadline_height()?;
    if pass.facts.head()? < height {
        return None;
    }
    let on_release = |s: S| matches!(s, S::Done | S::RpcUp | S::CatchingUp | S::Sealing | S::NotSealing);
    let late =
        pass.rollout.nodes.iter().any(|(name, n)| pass.facts.voter(name).is_some() && !on_release(n.state));
    late.then_some(Reason::ActivationPassed { height })
}

fn node_failed(name: &NodeName, fault: Option<&Fault>) -> Reason {
    let (fault, detail) = fault.map_or_else(
        || (FaultCode::NotHealthy, "the host went back to the release before".to_owned()),
        |f| (f.code, f.detail.clone()),
    );
    Reason::NodeFailed { node: name.clone(), fault, detail }
}

/// As many nodes of a stage failed as its policy bears.
fn failed(pass: &Pass<'_>) -> Option<Reason> {
    let counts = |state: NodeState| state.failed() || state == NodeState::RolledBack;
    pass.rollout.policy.stages.iter().zip(&pass.rollout.stages).find_map(|(stage, progress)| {
        if progress.state == StageState::Done {
            return None;
        }
        let failed = || {
            stage
                .nodes
                .iter()
                .filter_map(|name| pass.node(name).map(|n| (name, n)))
                .filter(|(_, n)| counts(n.state))
        };
        if failed().count() < usize::try_from(stage.abort_failed).unwrap_or(usize::MAX) {
            return None;
        }
        let (name, node) = failed().next()?;
        if node.state == NodeState::NotSealing {
            return Some(Reason::NodeNotSealing { node: name.clone() });
        }
        Some(node_failed(name, node.fault.as_ref()))
    })
}

fn not_sealing(pass: &Pass<'_>) -> Option<Reason> {
    let patience = pass.rollout.policy.deadlines.sealing;
    pass.rollout
        .nodes
        .iter()
        .find(|(_, n)| match n.state {
            NodeState::NotSealing => true,
            NodeState::Sealing => pass.now.since(n.since) > patience,
            _ => false,
        })
        .map(|(name, _)| Reason::NodeNotSealing { node: name.clone() })
}

/// A step that the host should have ended by itself, or one that the planner alone can judge. Silent nodes are named
/// as such and judged by the progress deadline.
fn deadline_passed(pass: &Pass<'_>) -> Option<Reason> {
    use NodeState as S;
    let d = &pass.rollout.policy.deadlines;
    let sum = |spans: &[Span]| Span(spans.iter().fold(0, |sum, s| s.0.saturating_add(sum)));
    pass.rollout.nodes.iter().find_map(|(name, node)| {
        let (step, patience) = match node.state {
            S::Staging | S::Staged => ("staging", sum(&[d.download, HOST_MARGIN])),
            S::Stopping | S::Switched => ("stop", sum(&[d.stop, HOST_MARGIN])),
            S::Starting => ("start", sum(&[d.start, d.rpc, HOST_MARGIN])),
            S::RpcUp | S::CatchingUp => ("catch up", d.catch_up),
            _ => return None,
        };
        if pass.now.since(node.since) <= patience {
            return None;
        }
        let said = pass.facts.heard(name)?;
        let staging = step == "staging";
        let at_work = !staging || !matches!(said.report.phase, AgentPhase::Ready | AgentPhase::Failed);
        at_work.then(|| Reason::DeadlinePassed { node: name.clone(), step: step.to_owned() })
    })
}

fn no_progress(pass: &Pass<'_>) -> Option<Reason> {
    let since: UnixMs = pass.rollout.progressed_at;
    let late = pass.now.since(since) > pass.rollout.policy.deadlines.progress;
    (late && clock_runs(pass)).then_some(Reason::NoProgress { since })
}

/// Blocks that are counted, a person who is asked and a height that is waited for are not lack of progress.
fn clock_runs(pass: &Pass<'_>) -> bool {
    let rollout = &pass.rollout;
    if rollout.control != Control::Run {
        return true;
    }
    match rollout.phase {
        Phase::Finalizing => {
            rollout.deadline_height().is_none_or(|h| pass.facts.head().is_none_or(|head| head >= h + 2))
        }
        Phase::Rolling => {
            let soaking = rollout.stages.iter().any(|s| s.state == StageState::Soaking);
            let moves = pass.facts.chain_block().is_none();
            let asked = (0..rollout.stages.len()).any(|i| super::stage::waits_for_person(pass, i));
            !(asked || (soaking && moves))
        }
        _ => true,
    }
}
