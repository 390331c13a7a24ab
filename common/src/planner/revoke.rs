//! Taking permissions back from nodes that have not begun to stop.
use super::pass::Pass;
use crate::id::NodeName;
use crate::rollout::{Control, NodeProgress, NodeState};
use crate::wire::v1::{AgentPhase, FaultCode, Goal, NodeReport, ProcessState};

/// Takes back what has expired unused, and everything unused when the rollout may not go on. Frees the slot of a node
/// that has acknowledged it.
pub(super) fn revoke(pass: &mut Pass<'_>) {
    let input = pass.input;
    for name in pass.names_in(|state| state == NodeState::Permitted) {
        let Some(node) = pass.node(name).cloned() else { continue };
        if !pass.can_act(name, 1) {
            continue;
        }
        let taken_back =
            input.nodes.get(name).is_some_and(|v| matches!(v.desired.goal, Goal::Stage | Goal::Run));
        if !taken_back {
            if is_to_be_revoked(pass, name, &node) {
                pass.instruct(name, true, Goal::Stage);
            }
        } else if let Some(state) = acknowledged(pass, name) {
            pass.free(name);
            pass.enter(name, state, false);
            pass.note(name, |n| n.fault = None);
        }
    }
}

fn is_to_be_revoked(pass: &Pass<'_>, name: &NodeName, node: &NodeProgress) -> bool {
    let Some(permission) = &node.permission else { return false };
    let Some(said) = pass.facts.heard(name) else { return false };
    let untouched = said.report.phase <= AgentPhase::Ready;
    let expired = pass.now > permission.expires_at;
    let refused = said.report.fault.as_ref().is_some_and(|f| f.code == FaultCode::PermissionExpired)
        && pass.facts.current(name).is_some();
    let stop = pass.rollout.control != Control::Run;
    untouched && (expired || refused || stop)
}

/// The state of a node that knows it must not stop and has not done so.
fn acknowledged(pass: &Pass<'_>, name: &NodeName) -> Option<NodeState> {
    let report: &NodeReport = &pass.facts.current(name)?.report;
    let untouched = report.phase <= AgentPhase::Ready
        && matches!(report.process, ProcessState::Running { .. })
        && !pass.facts.is_target(report.running.as_ref());
    let state = if report.phase == AgentPhase::Ready { NodeState::WaitSlot } else { NodeState::Staging };
    untouched.then_some(state)
}
