//! What a rollout would do, told before anybody approves it.
use super::deadline::{self, Level, Rest, Verdict};
use super::pass::Pass;
use super::{PlanInput, QuorumReport};
use crate::id::{NodeName, StageName};
use crate::rollout::Reason;
use serde::{Deserialize, Serialize};

/// A rollout as it would go if nothing went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Stages in order.
    pub stages: Vec<PreviewStage>,
    /// Nodes of the network that no stage takes.
    pub left_out: Vec<NodeName>,
    /// Whether the activation height leaves enough time.
    pub verdict: Verdict,
    /// How consensus stands now.
    pub quorum: Option<QuorumReport>,
    /// What stands in the way as things are now. Only `deadline-infeasible` refuses an approval.
    pub refusals: Vec<Reason>,
}

/// One stage of a [`Preview`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewStage {
    /// Its name.
    pub name: StageName,
    /// Names of the stages before it.
    pub after: Vec<StageName>,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
    /// Nodes worked on at once, as slack and limits are now; 0 when not even one may be stopped.
    pub at_once: u32,
    /// How many times that; 0 when nothing is left to do or nothing may be stopped.
    pub waves: u32,
    /// Blocks of soak afterwards.
    pub soak_blocks: u64,
}

/// Tells what the rollout of `input` would do, as things are now.
pub fn preview(input: &PlanInput) -> Preview {
    let pass = Pass::new(input);
    let rests = deadline::rests(&pass);
    let policy = &input.rollout.policy;
    let name = |i: &usize| policy.stages.get(*i).map(|s| s.name.clone());
    let stages = policy
        .stages
        .iter()
        .zip(&rests)
        .map(|(stage, rest)| PreviewStage {
            name: stage.name.clone(),
            after: stage.after.iter().filter_map(name).collect(),
            nodes: stage.nodes.clone(),
            at_once: rest.at_once,
            waves: rest.waves().unwrap_or(0),
            soak_blocks: stage.soak_blocks,
        })
        .collect();
    let verdict = deadline::judge(&pass);
    let down = pass.down();
    Preview {
        stages,
        left_out: policy.left_out.clone(),
        verdict,
        quorum: pass.facts.quorum_report(&down),
        refusals: refusals(&pass, &rests, verdict),
    }
}

fn refusals(pass: &Pass<'_>, rests: &[Rest], verdict: Verdict) -> Vec<Reason> {
    let mut out: Vec<Reason> = pass.facts.chain_block().into_iter().collect();
    let down = pass.down();
    if pass.facts.chain.is_some() && rests.iter().any(|r| r.waves().is_none()) {
        out.push(match pass.facts.quorum_report(&down) {
            Some(report) => Reason::QuorumSlackExhausted {
                need: i64::try_from(report.reserve.saturating_add(1)).unwrap_or(i64::MAX),
                have: report.slack,
            },
            None => Reason::ChainViewMissing,
        });
        if !down.unexpected.is_empty() {
            out.push(Reason::ForeignValidatorDown { validators: down.unexpected.clone() });
        }
    }
    if let (Level::Infeasible, Some(eta)) = (verdict.level, verdict.eta) {
        out.push(Reason::DeadlineInfeasible { eta, need: verdict.need.unwrap_or(deadline::NEVER) });
    }
    let silent = pass.rollout.nodes.keys().filter(|n| pass.facts.heard(n).is_none());
    out.extend(silent.take(32).map(|n| super::ending::silent(pass, n)));
    out
}
