//! From reports to node states.
use super::NodeView;
use super::pass::Pass;
use crate::id::NodeName;
use crate::inventory::Observation;
use crate::policy::Offline;
use crate::rollout::{Control, NodeProgress, NodeState, Phase, StageState};
use crate::wire::v1::{AgentPhase, Direction, FaultCode, NodeReport, ProcessState};

/// A head at most this far behind the network's is at the network's.
const NEAR: u64 = 2;

/// Takes in what every node says.
pub(super) fn observe(pass: &mut Pass<'_>) {
    let before = pass.input.rollout.nodes.values();
    let roster: Vec<_> = pass.roster().map(|(name, view, _)| (name, view)).zip(before).collect();
    for ((name, view), node) in roster {
        if !pass.has_room(8) {
            break;
        }
        observe_node(pass, name, view, node);
    }
}

/// `node` is as stored: nothing before this step changes a node.
fn observe_node<'a>(
    pass: &mut Pass<'a>,
    name: &'a NodeName,
    view: Option<&'a NodeView>,
    node: &'a NodeProgress,
) {
    if matches!(node.state, NodeState::Done | NodeState::RolledBack) {
        return;
    }
    let heard = view.is_some_and(|v| pass.facts.heard_of(v).is_some());
    if node.permission.is_none() && !silence(pass, name, node, heard) {
        return;
    }
    let Some(said) = view.and_then(|v| pass.facts.current_of(v)) else { return };
    if node.permission.is_some() {
        observe_permitted(pass, name, node, said);
    } else {
        observe_untouched(pass, name, node, said);
    }
    // A node that waits has no process that is to be proved.
    if node.permission.is_some() || pass.facts.is_target(said.report.running.as_ref()) {
        note_process(pass, name, &said.report);
    }
}

/// Watches over a node that can be deferred. Returns whether it can be heard.
fn silence<'a>(pass: &mut Pass<'a>, name: &'a NodeName, node: &NodeProgress, heard: bool) -> bool {
    let running = pass.rollout.control == Control::Run
        && matches!(pass.rollout.phase, Phase::Approved | Phase::Staging | Phase::Rolling);
    if heard {
        let open = pass.rollout.stages.get(node.stage).is_some_and(|s| s.state <= StageState::Switching);
        if node.state == NodeState::Deferred && running && open {
            let fresh = NodeProgress::selected(node.stage, pass.now);
            pass.note(name, |n| *n = fresh);
        } else if node.silent_since.is_some() {
            pass.note(name, |n| n.silent_since = None);
        }
        return true;
    }
    let waiting = matches!(
        node.state,
        NodeState::Selected | NodeState::Staging | NodeState::Staged | NodeState::WaitSlot
    );
    if waiting && running && pass.rollout.policy.offline == Offline::Defer {
        let now = pass.now;
        match node.silent_since {
            None => pass.note(name, |n| n.silent_since = Some(now)),
            Some(since) if now.since(since) >= pass.input.silent_after => {
                pass.enter(name, NodeState::Deferred, true);
            }
            Some(_) => {}
        }
    }
    false
}

fn observe_untouched<'a>(
    pass: &mut Pass<'a>,
    name: &'a NodeName,
    node: &NodeProgress,
    said: &'a Observation,
) {
    use NodeState as S;
    let report = &said.report;
    let in_hand = matches!(pass.rollout.phase, Phase::Staging | Phase::Rolling);
    let settled = matches!(report.phase, AgentPhase::Idle | AgentPhase::Ready | AgentPhase::Done);
    match node.state {
        // It runs the release already: an earlier attempt switched it. It only has to be proved.
        S::Selected | S::Staging | S::Staged | S::WaitSlot
            if in_hand && settled && pass.facts.is_target(report.running.as_ref()) =>
        {
            pass.enter(name, position(pass, name, report), true);
        }
        S::Staging | S::Staged | S::WaitSlot => {
            let next = staging_state(report);
            if next != node.state {
                let further = next > node.state;
                pass.enter(name, next, further);
                let fault = report.fault.clone().filter(|_| next.failed());
                pass.note(name, |n| n.fault = fault);
            }
        }
        S::RpcUp | S::CatchingUp => {
            let next = position(pass, name, report);
            if next > node.state {
                pass.enter(name, next, true);
            }
        }
        _ => {}
    }
}

fn staging_state(report: &NodeReport) -> NodeState {
    match report.phase {
        AgentPhase::Staged | AgentPhase::Preflighting => NodeState::Staged,
        AgentPhase::Ready => NodeState::WaitSlot,
        AgentPhase::Failed => match report.fault.as_ref().map(|f| f.code) {
            Some(FaultCode::BinaryUnusable | FaultCode::ForkUnknown) => NodeState::PreflightFailed,
            _ => NodeState::StageFailed,
        },
        _ => NodeState::Staging,
    }
}

fn observe_permitted<'a>(
    pass: &mut Pass<'a>,
    name: &'a NodeName,
    node: &NodeProgress,
    said: &'a Observation,
) {
    use NodeState as S;
    let report = &said.report;
    let next = match node.state {
        S::RollingBack if back_failed(pass, report) => S::SwitchFailed,
        S::RollingBack | S::SwitchFailed | S::NotSealing => node.state,
        _ => switching_state(pass, name, node.state, report),
    };
    let failed_now = next == S::SwitchFailed && node.state != S::SwitchFailed;
    if next > node.state || failed_now {
        pass.enter(name, next, !failed_now);
    }
    if failed_now {
        // From here another process is to be proved: that of the release before.
        pass.note(name, |n| {
            n.started_height = None;
            n.started_seen_at = None;
        });
    }
    if next == S::SwitchFailed && report.fault.is_some() && node.fault != report.fault {
        let fault = report.fault.clone();
        pass.note(name, |n| n.fault = fault);
    }
}

/// Whether an ordered way back ended, or was refused, on the release it was to leave.
fn back_failed(pass: &Pass<'_>, report: &NodeReport) -> bool {
    let on_target = pass.facts.is_target(report.running.as_ref());
    let refused = report.fault.as_ref().is_some_and(|f| f.code == FaultCode::RollbackRefused);
    let at_rest = matches!(report.phase, AgentPhase::Done | AgentPhase::Idle | AgentPhase::Ready);
    on_target && (report.phase == AgentPhase::Failed || (refused && at_rest))
}

fn switching_state(pass: &Pass<'_>, name: &NodeName, now: NodeState, report: &NodeReport) -> NodeState {
    use AgentPhase as P;
    let on_target = pass.facts.is_target(report.running.as_ref());
    let begun = now > NodeState::Permitted;
    match report.phase {
        P::Failed => NodeState::SwitchFailed,
        _ if report.phase > P::Ready && report.direction == Direction::Back => NodeState::SwitchFailed,
        P::Stopping => NodeState::Stopping,
        P::Switching => NodeState::Switched,
        P::Starting => NodeState::Starting,
        P::Probing if report.health.rpc_up => NodeState::RpcUp,
        P::Probing => NodeState::Starting,
        P::Done | P::Idle if on_target => position(pass, name, report),
        // It had begun and rests on the release before: it went back by itself.
        P::Idle | P::Done if begun => NodeState::SwitchFailed,
        _ => now,
    }
}

/// Where a node that runs the release stands.
fn position(pass: &Pass<'_>, name: &NodeName, report: &NodeReport) -> NodeState {
    let (Some(own), Some(chain)) = (report.health.head(), &pass.facts.chain) else {
        return if report.health.rpc_up { NodeState::RpcUp } else { NodeState::Starting };
    };
    if !report.health.rpc_up {
        NodeState::Starting
    } else if own.height + NEAR >= chain.head && pass.facts.voter(name).is_some() {
        NodeState::Sealing
    } else {
        NodeState::CatchingUp
    }
}

/// Notes when the process that is to be proved was first seen, and the network's head no earlier than that: only blocks
/// after it can be its work.
fn note_process(pass: &mut Pass<'_>, name: &NodeName, report: &NodeReport) {
    use NodeState as S;
    let Some(node) = pass.node(name) else { return };
    let ProcessState::Running { pid, .. } = report.process else { return };
    let another = node.started_seen_at.is_some() && node.started_pid != Some(pid);
    if node.started_height.is_some() && !another {
        return;
    }
    let up = report.health.rpc_up;
    let on_target = pass.facts.is_target(report.running.as_ref());
    let at_rest = matches!(report.phase, AgentPhase::Done | AgentPhase::Failed | AgentPhase::Idle);
    let expected = match node.state {
        S::RpcUp | S::CatchingUp | S::Sealing | S::NotSealing => on_target,
        S::RollingBack => at_rest && !on_target,
        S::SwitchFailed => at_rest,
        _ => false,
    };
    if !(up && expected) {
        return;
    }
    let now = pass.now;
    match (node.started_seen_at, &pass.facts.chain) {
        // What an earlier process showed is no proof of this one: a release that ends again and again never gets it.
        (seen, _) if another || seen.is_none() => pass.note(name, |n| {
            n.started_seen_at = Some(now);
            n.started_pid = Some(pid);
            n.started_height = None;
        }),
        (Some(seen), Some(chain)) if chain.view.observed_at > seen => {
            let head = chain.head;
            pass.note(name, |n| n.started_height = Some(head));
        }
        _ => {}
    }
}
