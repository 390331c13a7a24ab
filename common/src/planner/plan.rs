//! What a planning pass decided.
use crate::id::NodeName;
use crate::release::ReleaseRef;
use crate::rollout::{Rollout, RolloutEvent};
use crate::wire::v1::{Goal, Limits, Permission};
use serde::{Deserialize, Serialize};

/// A plan: the rollout as it should be stored, what to change in the store with it in one commit, and why the rest waits
/// (in `rollout.waiting` and each node's `reason`). A plan with no change is equal to its parent and is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Revision of the rollout this was decided on.
    pub parent: u64,
    /// The rollout after this plan; `revision` is `parent + 1` when anything changed.
    pub rollout: Rollout,
    /// Changes to nodes, in order.
    pub actions: Vec<Action>,
    /// New entries of the history.
    pub events: Vec<RolloutEvent>,
    /// How consensus stands; `None` without a chain view or a BFT set.
    pub quorum: Option<QuorumReport>,
    /// Whether there is anything to store. Waiting reasons and `min_slack` alone are not; publish those from memory.
    #[serde(default)]
    pub changed: bool,
}

/// A change to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Give the node a new instruction (the store adds the generation).
    Instruct {
        /// The node.
        node: NodeName,
        /// The release in question; `None` to leave the upgrade.
        release: Option<ReleaseRef>,
        /// How far it may go.
        goal: Goal,
        /// Its deadlines.
        limits: Limits,
    },
    /// Write a permission; the node counts as down from here. For a rollback it may replace the permission the node
    /// still holds (which was used up by the switch); the node then never ceases to count as down.
    Grant {
        /// The node.
        node: NodeName,
        /// The permission.
        permission: Permission,
    },
    /// Take a permission back: proof has come, or the node was never stopped and reported a newer generation.
    Free {
        /// The node.
        node: NodeName,
        /// Its id.
        permission: u64,
    },
}

/// How consensus stands, for the gauge and for `why`. Votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumReport {
    /// Votes of the worst set.
    pub total: u64,
    /// Votes needed for a block.
    pub quorum: u64,
    /// Votes kept above it.
    pub reserve: u64,
    /// Votes that are up for certain.
    pub live: u64,
    /// `live - quorum`.
    pub slack: i64,
    /// Validators counted as down: address or name, and why.
    pub down: Vec<(String, String)>,
}
