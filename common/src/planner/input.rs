//! Everything a plan is decided on: one consistent snapshot of the store, the observations and the chain view.
use crate::chain::ChainView;
use crate::fleet::NodeRecord;
use crate::id::{NodeName, RolloutId};
use crate::inventory::Observation;
use crate::rollout::Rollout;
use crate::time::{Span, UnixMs};
use crate::wire::v1::{Instruction, Permission};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Input of one planning pass for one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInput {
    /// The coordinator's clock.
    pub now: UnixMs,
    /// The rollout as stored; the plan's parent.
    pub rollout: Rollout,
    /// Every registered node of the network, not only those of the rollout.
    pub nodes: BTreeMap<NodeName, NodeView>,
    /// Every outstanding permission of the network, whoever it was granted for.
    pub permissions: BTreeMap<NodeName, OutstandingPermission>,
    /// The chain, if endpoints agree on one.
    pub chain: Option<ChainView>,
    /// Whether the plan on chain was cancelled.
    pub cancelled_on_chain: bool,
    /// Next free permission id.
    pub next_permission: u64,
    /// A node that has not reported for this long is silent.
    pub silent_after: Span,
}

/// A permission that counts against quorum until proof, expired or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutstandingPermission {
    /// The permission.
    pub permission: Permission,
    /// The rollout it was granted for; `None` for maintenance.
    pub rollout: Option<RolloutId>,
}

/// A node as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// As registered.
    pub record: NodeRecord,
    /// Its last report; `None` until it reported since the coordinator started.
    pub observed: Option<Observation>,
    /// The instruction it was last given.
    pub desired: Instruction,
}
