//! Every reason for which something waits or holds. Each variant has a row in `docs/operations.md` under its code.
use crate::id::{NodeName, StageName};
use crate::time::{Span, UnixMs};
use crate::wire::v1::FaultCode;
use serde::{Deserialize, Serialize};

/// Why a rollout, a stage or a node does not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Reason {
    /// Nobody has approved the draft.
    ApprovalMissing,
    /// A person paused the rollout.
    Paused,
    /// A node is downloading, verifying or being checked.
    NodeStaging {
        /// How many nodes.
        nodes: u32,
    },
    /// A stage before this one is not done.
    StageNotReached {
        /// That stage.
        stage: StageName,
    },
    /// As many nodes as allowed are being worked on.
    ParallelLimit {
        /// At work.
        busy: u32,
        /// Allowed.
        limit: u32,
    },
    /// Stopping one more validator would take consensus too close to quorum.
    QuorumSlackExhausted {
        /// Votes the grant needs (its weight plus the reserve).
        need: i64,
        /// Votes above quorum that are left.
        have: i64,
    },
    /// A validator that is not ours, or that we did not stop, does not seal.
    ForeignValidatorDown {
        /// Addresses, or names where known.
        validators: Vec<String>,
    },
    /// There is no chain view, or too few endpoints agree.
    ChainViewMissing,
    /// The chain view is too old to permit anything.
    ChainViewStale {
        /// Its age.
        age: Span,
    },
    /// The head does not advance.
    ChainNotAdvancing {
        /// Last height.
        height: u64,
        /// For how long.
        age: Span,
    },
    /// Blocks come slower than the policy allows.
    ChainSlow {
        /// Mean interval now, in milliseconds.
        interval_ms: u64,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// An epoch ends before the node could be back.
    EpochBoundary {
        /// Blocks until then.
        blocks: u64,
    },
    /// The validator next to it in proposer order is down.
    AdjacentProposer {
        /// That validator.
        neighbour: String,
    },
    /// The node has not reported.
    NodeSilent {
        /// The node.
        node: NodeName,
        /// Since when; `None` when never.
        since: Option<UnixMs>,
    },
    /// The node is cordoned.
    Cordoned {
        /// The node.
        node: NodeName,
    },
    /// The node holds a permission and works.
    Switching {
        /// The node.
        node: NodeName,
    },
    /// The node is behind the network.
    CatchingUp {
        /// The node.
        node: NodeName,
        /// Blocks behind.
        behind: u64,
    },
    /// The node's seal has not been seen often enough.
    SealMissing {
        /// The node.
        node: NodeName,
        /// Seen.
        seen: u64,
        /// Needed.
        need: u64,
    },
    /// The node's own blocks have not been compared with the network's often enough.
    ProofPending {
        /// The node.
        node: NodeName,
        /// Compared and equal.
        seen: u64,
        /// Needed.
        need: u64,
    },
    /// Blocks are being counted after the stage's last proof.
    Soaking {
        /// The stage.
        stage: StageName,
        /// Blocks so far.
        blocks: u64,
        /// Blocks needed.
        need: u64,
    },
    /// A gate did not hold, or there is no data for it.
    GateNotPassed {
        /// The stage.
        stage: StageName,
        /// Which gate and why.
        gate: String,
    },
    /// The stage waits for a person.
    PromotionMissing {
        /// The stage.
        stage: StageName,
    },
    /// A node failed on the host.
    NodeFailed {
        /// The node.
        node: NodeName,
        /// What failed.
        fault: FaultCode,
        /// In words; data from the host.
        detail: String,
    },
    /// A node runs and follows but its seal is missing past the deadline.
    NodeNotSealing {
        /// The node.
        node: NodeName,
    },
    /// A node's block differs from the network's.
    StateDiverged {
        /// The node.
        node: NodeName,
        /// At this height.
        height: u64,
    },
    /// A step took longer than its deadline.
    DeadlinePassed {
        /// The node.
        node: NodeName,
        /// The step.
        step: String,
    },
    /// Nothing moved for longer than the progress deadline.
    NoProgress {
        /// For how long.
        since: UnixMs,
    },
    /// The activation height leaves little time.
    DeadlineAtRisk {
        /// Time left until the activation height.
        eta: Span,
        /// Time the rest needs.
        need: Span,
    },
    /// The activation height leaves too little time to begin.
    DeadlineInfeasible {
        /// Time left until the activation height.
        eta: Span,
        /// Time the rest needs.
        need: Span,
    },
    /// The activation height has passed; no rollback and no late switch.
    ActivationPassed {
        /// That height.
        height: u64,
    },
    /// The plan was cancelled on chain.
    PlanCancelled,
    /// The activation height has not come yet; all nodes are done.
    WaitingForActivation {
        /// That height.
        height: u64,
        /// Head.
        head: u64,
    },
    /// The second opinion refused the plan; a defect of the planner. Nothing was done.
    CheckFailed {
        /// What it found.
        finding: String,
    },
    /// Another rollout of the network is not done.
    OtherRollout {
        /// That rollout.
        rollout: crate::id::RolloutId,
    },
}
