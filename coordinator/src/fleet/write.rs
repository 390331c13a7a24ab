//! Changes to the fleet as types, with the keys they live under.
use super::known::CheckRecord;
use crate::auth::{JoinRecord, TokenRecord};
use crate::release::ReleaseRecord;
use common::chain::Hash32;
use common::fleet::NodeRecord;
use common::id::{NodeName, RolloutId};
use common::planner::OutstandingPermission;
use common::release::Digest;
use common::rollout::{Rollout, RolloutEvent};
use common::time::UnixMs;
use common::wire::v1::Instruction;

/// One change.
#[derive(Debug, Clone)]
pub enum Write {
    /// Register or change a node.
    Node(NodeRecord),
    /// Give a node an instruction.
    Desired(NodeName, Instruction),
    /// Write or take back a node's permission.
    Permission(NodeName, Option<OutstandingPermission>),
    /// Store a rollout.
    Rollout(Box<Rollout>),
    /// Store a release.
    Release(Box<ReleaseRecord>),
    /// Store an operator's token.
    Token(TokenRecord),
    /// Revoke one.
    TokenGone(Digest),
    /// Store a join token.
    Join(JoinRecord),
    /// Use one up.
    JoinGone(Digest),
    /// Store what became of an approved proposal.
    Check(Hash32, CheckRecord),
    /// Next id of permissions.
    NextPermission(u64),
    /// Next number of rollouts.
    NextRollout(u64),
    /// Append to the history.
    Event {
        /// When.
        at: UnixMs,
        /// The rollout.
        rollout: RolloutId,
        /// What happened.
        event: RolloutEvent,
    },
}
