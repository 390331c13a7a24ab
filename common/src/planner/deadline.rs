//! Whether the time left until the activation height is enough.
use super::PlanInput;
use super::pass::Pass;
use crate::fleet::Role;
use crate::id::NodeName;
use crate::policy::{Parallel, ResolvedStage};
use crate::rollout::{NodeState, StageProgress, StageState};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Time left against time needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Time until the activation height; `None` when there is none, or without a chain view.
    pub eta: Option<Span>,
    /// Time the rest needs; `None` when it can never be done as slack is now, or cannot be known.
    pub need: Option<Span>,
    /// The judgement.
    pub level: Level,
    /// Waves that are left, over all stages.
    pub waves: u32,
}

/// The judgement of a [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// At least twice the time, or no deadline.
    Ok,
    /// Enough time, but less than twice.
    AtRisk,
    /// There is a deadline and no chain view to judge it by.
    Unknown,
    /// Not enough time.
    Infeasible,
}

/// A need that cannot be met, where one has to be shown.
pub(super) const NEVER: Span = Span::mins(1000 * 24 * 60);

/// What is left of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Nodes worked on at once.
    pub at_once: u32,
    /// Nodes that are not done.
    pub nodes: u32,
    /// Blocks of soak that are left.
    pub soak_blocks: u64,
}

impl Rest {
    /// How many times `at_once`; `None` when nothing may be stopped and something has to be.
    pub fn waves(&self) -> Option<u32> {
        match (self.nodes, self.at_once) {
            (0, _) => Some(0),
            (_, 0) => None,
            (nodes, at_once) => Some(nodes.div_ceil(at_once)),
        }
    }
}

/// Judges the time left until the activation height.
pub fn verdict(input: &PlanInput) -> Verdict {
    judge(&Pass::new(input))
}

pub(super) fn judge(pass: &Pass<'_>) -> Verdict {
    let rests = rests(pass);
    let waves = rests.iter().filter_map(Rest::waves).sum();
    let interval = interval(pass);
    let need = need(pass, &rests, interval);
    let Some(height) = pass.rollout.deadline_height() else {
        return Verdict { eta: None, need, level: Level::Ok, waves };
    };
    let (Some(head), Some(interval)) = (pass.facts.head(), interval) else {
        return Verdict { eta: None, need: None, level: Level::Unknown, waves };
    };
    let eta = Span(height.saturating_sub(head).saturating_mul(interval));
    let level = match need {
        Some(Span(0)) => Level::Ok,
        Some(need) if eta.0 >= need.0.saturating_mul(2) => Level::Ok,
        Some(need) if eta >= need => Level::AtRisk,
        _ => Level::Infeasible,
    };
    Verdict { eta: Some(eta), need, level, waves }
}

/// The shorter of the interval now and before the first switch: a chain slowed by a rollout gains no time from it.
fn interval(pass: &Pass<'_>) -> Option<u64> {
    let now = pass.facts.chain.as_ref()?.interval_ms?;
    Some(pass.rollout.baseline_interval_ms.map_or(now, |b| b.min(now)))
}

/// What is left of every stage, with the slack as it would be if nobody held a permission of ours.
pub(super) fn rests(pass: &Pass<'_>) -> Vec<Rest> {
    let policy = &pass.rollout.policy;
    let busy: BTreeSet<&NodeName> =
        pass.roster().filter(|(_, _, n)| n.permission.is_some()).map(|(name, ..)| name).collect();
    let ours = |name: &NodeName| busy.contains(name);
    let reserve = i64::try_from(policy.quorum.reserve).unwrap_or(i64::MAX);
    let slack = pass.facts.expected_slack(ours);
    let spare = slack.and_then(|slack| u32::try_from(slack.saturating_sub(reserve).max(0)).ok());
    let mut left = vec![(0u32, false); policy.stages.len()];
    for (_, view, node) in pass.roster().filter(|(_, _, n)| !is_settled(n.state)) {
        let validator = view.is_some_and(|v| v.record.role == Role::Validator) || pass.facts.votes(view);
        if let Some((nodes, votes)) = left.get_mut(node.stage) {
            *nodes += 1;
            *votes |= validator;
        }
    }
    let stages = policy.stages.iter().zip(&pass.rollout.stages).zip(left);
    stages.map(|((stage, progress), left)| rest(pass, stage, progress, left, spare)).collect()
}

fn is_settled(state: NodeState) -> bool {
    use NodeState as S;
    matches!(state, S::Done | S::Deferred | S::RolledBack | S::StageFailed | S::PreflightFailed)
}

fn rest(
    pass: &Pass<'_>,
    stage: &ResolvedStage,
    progress: &StageProgress,
    (nodes, votes): (u32, bool),
    spare: Option<u32>,
) -> Rest {
    let policy = &pass.rollout.policy;
    let limit = match stage.parallel {
        Parallel::Count(limit) => limit.min(policy.max_parallel),
        Parallel::Slack => policy.max_parallel,
    };
    let at_once = if votes { limit.min(spare.unwrap_or(0)) } else { limit };
    let soaked = match (progress.state, progress.soak_from, pass.facts.head()) {
        (StageState::Gate | StageState::Done, ..) => stage.soak_blocks,
        (_, Some(from), Some(head)) => head.saturating_sub(from).min(stage.soak_blocks),
        _ => 0,
    };
    Rest { at_once, nodes, soak_blocks: stage.soak_blocks - soaked }
}

/// Permission to proof: the mean of the nodes that are done, else what the policy expects.
fn switch_span(pass: &Pass<'_>) -> Span {
    let spans: Vec<u64> = pass
        .rollout
        .nodes
        .values()
        .filter(|n| n.state == NodeState::Done)
        .filter_map(|n| Some(n.proof.as_ref()?.at.since(n.granted_at?).0))
        .collect();
    match spans.len() as u64 {
        0 => pass.rollout.policy.expect_switch,
        n => Span(spans.iter().fold(0u64, |sum, s| sum.saturating_add(*s)) / n),
    }
}

/// The longest way through the stages. `None` when a stage can never be done as slack is now.
fn need(pass: &Pass<'_>, rests: &[Rest], interval: Option<u64>) -> Option<Span> {
    let switch = switch_span(pass).0;
    let mut ends: Vec<u64> = Vec::new();
    for (stage, rest) in pass.rollout.policy.stages.iter().zip(rests) {
        let begin = stage.after.iter().filter_map(|&b| ends.get(b)).copied().max().unwrap_or(0);
        let work = u64::from(rest.waves()?).saturating_mul(switch);
        let soak = rest.soak_blocks.saturating_mul(interval.unwrap_or(0));
        ends.push(begin.saturating_add(work).saturating_add(soak));
    }
    Some(Span(ends.into_iter().max().unwrap_or(0)))
}
