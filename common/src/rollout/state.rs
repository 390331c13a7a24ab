//! States of a rollout, its stages and its nodes.
use super::Reason;
use crate::chain::Hash32;
use crate::time::UnixMs;
use crate::wire::v1::{Fault, Permission};
use serde::{Deserialize, Serialize};

/// Where a rollout came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An upgrade plan approved on chain.
    Proposal {
        /// Its id on chain.
        plan_id: Hash32,
    },
    /// A person.
    Operator {
        /// Who.
        name: String,
    },
}

/// How far a rollout got. Monotone per attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Made by governance or a person; nothing is asked of any node.
    Draft,
    /// Approved; not begun.
    Approved,
    /// The whole fleet downloads, verifies and pre-flights.
    Staging,
    /// Stages run.
    Rolling,
    /// All stages done; the activation height is still ahead, or the last nodes are deferred.
    Finalizing,
    /// Over.
    Done(Outcome),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every node runs the release, proved.
    Succeeded,
    /// All but this many nodes, which were offline.
    SucceededWithDeferred(u32),
    /// A person ended it.
    Aborted,
    /// Every switched node is back on its old release.
    RolledBack,
    /// It could not go on and nobody retried.
    Failed,
    /// The plan on chain was cancelled or replaced before anything was switched.
    Superseded,
}

/// Whether a rollout may go on. Orthogonal to its phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// It goes on.
    Run,
    /// A person paused it: no new side effect, no deadline expires.
    Paused {
        /// Who.
        by: String,
        /// Why.
        why: String,
        /// Since when.
        since: UnixMs,
    },
    /// It stopped by itself; `resume`, `retry`, `abort` or `rollback` leave this, nothing else.
    Held {
        /// Why.
        reason: Reason,
        /// Since when.
        since: UnixMs,
    },
    /// A person ended it; nodes half way are finished or brought back, no other is touched.
    Aborting {
        /// Who.
        by: String,
    },
    /// Switched nodes go back to their old release.
    RollingBack {
        /// Who.
        by: String,
    },
}

/// Where a stage stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgress {
    /// State.
    pub state: StageState,
    /// Since when.
    pub since: UnixMs,
    /// Height at which the soak began.
    #[serde(default)]
    pub soak_from: Option<u64>,
    /// Whether a person promoted it.
    #[serde(default)]
    pub promoted: bool,
}

/// States of a stage, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// A stage before it is not done.
    Waiting,
    /// Nodes are permitted, switched and proved.
    Switching,
    /// All nodes proved (or deferred); blocks are counted.
    Soaking,
    /// The gate is judged.
    Gate,
    /// Done.
    Done,
}

/// Where a node stands in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProgress {
    /// State.
    pub state: NodeState,
    /// Since when.
    pub since: UnixMs,
    /// Index of its stage.
    pub stage: usize,
    /// The permission it holds, from grant until proof frees the slot.
    #[serde(default)]
    pub permission: Option<Permission>,
    /// Head of the network when its agent first reported the new process.
    #[serde(default)]
    pub started_height: Option<u64>,
    /// When the planner first saw the process that is to be proved.
    #[serde(default)]
    pub started_seen_at: Option<UnixMs>,
    /// Process id of the process that is to be proved; another one begins its proof anew.
    #[serde(default)]
    pub started_pid: Option<u32>,
    /// When the planner first saw it silent, while it can still be deferred.
    #[serde(default)]
    pub silent_since: Option<UnixMs>,
    /// When its permission was granted first, for the summary.
    #[serde(default)]
    pub granted_at: Option<UnixMs>,
    /// What proved it.
    #[serde(default)]
    pub proof: Option<Proof>,
    /// Why it waits, when it waits.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What failed on the host, when it failed.
    #[serde(default)]
    pub fault: Option<Fault>,
}

/// States of a node in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Part of the rollout; nothing asked yet.
    Selected,
    /// Downloading, verifying.
    Staging,
    /// Verified, pre-flight running.
    Staged,
    /// Ready; its stage has not come or no slot is free.
    WaitSlot,
    /// A permission is written; counts as down from here until proof.
    Permitted,
    /// The agent stops the node.
    Stopping,
    /// The agent switched `current`.
    Switched,
    /// The agent started the release.
    Starting,
    /// RPC answers.
    RpcUp,
    /// The head is behind the network's.
    CatchingUp,
    /// At the head; its seals are counted.
    Sealing,
    /// Proved; the slot is free.
    Done,
    /// Download or verification failed; the node was not touched.
    StageFailed,
    /// Pre-flight failed; the node was not touched.
    PreflightFailed,
    /// The switch failed or the release does not come up.
    SwitchFailed,
    /// At the head but its seals are missing.
    NotSealing,
    /// On its way back to the old release.
    RollingBack,
    /// Back on the old release, proved.
    RolledBack,
    /// Offline; left for later, named in the outcome.
    Deferred,
}

/// What proved that a node is alive on the planned release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When the planner saw it.
    pub at: UnixMs,
    /// First and last height of the evidence.
    pub heights: (u64, u64),
    /// Blocks in that range that carry the validator's seal; 0 for a non-validator.
    pub seals: u64,
    /// Blocks it proposed at round 0; 0 for a non-validator.
    pub proposed: u64,
    /// Blocks of its own chain that were compared with the network's and are equal.
    pub blocks_equal: u64,
}
