//! From staging to the last gate: phases and stages.
use super::NodeView;
use super::gate::{self, Judgement};
use super::pass::Pass;
use crate::policy::Promote;
use crate::rollout::{NodeProgress, NodeState, Phase, Reason, StageState};
use crate::wire::v1::Goal;

/// Tells nodes to stage the release, and begins the stages when the whole fleet is ready.
pub(super) fn prepare(pass: &mut Pass<'_>) {
    if pass.rollout.phase == Phase::Approved {
        pass.enter_phase(Phase::Staging);
    }
    if !matches!(pass.rollout.phase, Phase::Staging | Phase::Rolling) {
        return;
    }
    let due: Vec<_> = pass.roster().filter(|(_, view, n)| is_due(pass, *view, n)).map(|(n, ..)| n).collect();
    for name in due {
        if pass.can_act(name, 1) {
            pass.instruct(name, true, Goal::Stage);
            pass.enter(name, NodeState::Staging, false);
        }
    }
    if pass.rollout.baseline_interval_ms.is_none() {
        pass.rollout.baseline_interval_ms = pass.facts.chain.as_ref().and_then(|c| c.interval_ms);
    }
    let ready =
        |state: NodeState| !matches!(state, NodeState::Selected | NodeState::Staging | NodeState::Staged);
    if pass.rollout.phase == Phase::Staging && pass.rollout.nodes.values().all(|n| ready(n.state)) {
        pass.enter_phase(Phase::Rolling);
    }
}

/// Whether the node is to be told to stage: nobody told it, or somebody else told it something since.
fn is_due(pass: &Pass<'_>, view: Option<&NodeView>, node: &NodeProgress) -> bool {
    let Some(view) = view else { return false };
    let staged = matches!(node.state, NodeState::Staging | NodeState::Staged | NodeState::WaitSlot);
    let asked =
        || view.desired.goal == Goal::Stage && view.desired.release.as_ref() == Some(&pass.rollout.release);
    let open = pass.rollout.stages.get(node.stage).is_some_and(|s| s.state <= StageState::Switching);
    open && (node.state == NodeState::Selected || (staged && !asked()))
}

/// Moves every stage as far as it may go.
pub(super) fn advance(pass: &mut Pass<'_>) {
    if pass.rollout.phase != Phase::Rolling {
        return;
    }
    for index in 0..pass.rollout.stages.len() {
        while pass.has_room(2) && step(pass, index) {}
    }
    if pass.rollout.stages.iter().all(|s| s.state == StageState::Done) && pass.has_room(2) {
        pass.enter_phase(Phase::Finalizing);
    }
}

/// One transition of a stage; false when it stays.
fn step(pass: &mut Pass<'_>, index: usize) -> bool {
    match pass.rollout.stages[index].state {
        StageState::Waiting => {
            let open = first_undone(pass, index).is_none();
            if open {
                pass.enter_stage(index, StageState::Switching);
            }
            open
        }
        StageState::Switching => {
            let Some(head) = pass.facts.head() else { return false };
            let settled = is_settled(pass, index);
            if settled {
                pass.rollout.stages[index].soak_from = Some(head);
                pass.enter_stage(index, StageState::Soaking);
            }
            settled
        }
        StageState::Soaking => {
            let soaked = soak(pass, index).is_some_and(|(blocks, need)| blocks >= need);
            if soaked {
                pass.enter_stage(index, StageState::Gate);
            }
            soaked
        }
        StageState::Gate => {
            let passed = gate::judge(pass, index) == Judgement::Passed && !asks_person(pass, index);
            if passed {
                pass.enter_stage(index, StageState::Done);
            }
            passed
        }
        StageState::Done => false,
    }
}

/// The first stage that must be done before this one and is not.
pub(super) fn first_undone(pass: &Pass<'_>, index: usize) -> Option<usize> {
    let stage = pass.rollout.policy.stages.get(index)?;
    stage.after.iter().copied().find(|&b| pass.rollout.stages[b].state != StageState::Done)
}

/// Blocks soaked and blocks needed.
pub(super) fn soak(pass: &Pass<'_>, index: usize) -> Option<(u64, u64)> {
    let from = pass.rollout.stages.get(index)?.soak_from?;
    let need = pass.rollout.policy.stages.get(index)?.soak_blocks;
    Some((pass.facts.head()?.saturating_sub(from).min(need), need))
}

/// Whether every node is proved or settled otherwise. A stage that others rely on needs at least one proved node: a
/// canary that nobody saw has shown nothing.
fn is_settled(pass: &Pass<'_>, index: usize) -> bool {
    use NodeState as S;
    let stages = &pass.rollout.policy.stages;
    let Some(stage) = stages.get(index) else { return false };
    let mut proved = 0;
    for node in stage.nodes.iter().filter_map(|n| pass.node(n)) {
        match node.state {
            S::Done => proved += 1,
            S::Deferred | S::StageFailed | S::PreflightFailed | S::RolledBack
                if node.permission.is_none() => {}
            _ => return false,
        }
    }
    proved > 0 || stage.nodes.is_empty() || !stages.iter().any(|s| s.after.contains(&index))
}

fn asks_person(pass: &Pass<'_>, index: usize) -> bool {
    pass.rollout.policy.stages[index].promote == Promote::Manual && !pass.rollout.stages[index].promoted
}

/// Whether nothing but a person keeps the stage from being done.
pub(super) fn waits_for_person(pass: &Pass<'_>, index: usize) -> bool {
    pass.rollout.stages[index].state == StageState::Gate
        && asks_person(pass, index)
        && gate::judge(pass, index) == Judgement::Passed
}

/// What a stage waits for, apart from its nodes.
pub(super) fn waiting(pass: &Pass<'_>, index: usize) -> Option<Reason> {
    let name = pass.rollout.policy.stages.get(index)?.name.clone();
    match pass.rollout.stages.get(index)?.state {
        StageState::Soaking => {
            let (blocks, need) =
                soak(pass, index).unwrap_or((0, pass.rollout.policy.stages.get(index)?.soak_blocks));
            Some(Reason::Soaking { stage: name, blocks, need })
        }
        StageState::Gate => Some(match gate::judge(pass, index) {
            Judgement::Passed => Reason::PromotionMissing { stage: name },
            Judgement::NotPassed(gate) => Reason::GateNotPassed { stage: name, gate },
        }),
        _ => None,
    }
}
