//! What a rollout would do, told before anybody approves it.
use super::{PlanInput, QuorumReport, Verdict};
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

/// Tells what the rollout of `input` would do.
pub fn preview(input: &PlanInput) -> Preview {
    Preview {
        stages: Vec::new(),
        left_out: Vec::new(),
        verdict: super::deadline::verdict(input),
        quorum: None,
        refusals: Vec::new(),
    }
}
