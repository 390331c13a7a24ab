//! What the planner and the verbs write into the history.
use super::{NodeState, Outcome, Phase, Reason, StageState};
use crate::id::{NodeName, StageName};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// A fact in a rollout's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RolloutEvent {
    /// The phase changed.
    PhaseEntered {
        /// New phase.
        phase: Phase,
    },
    /// A stage changed.
    StageEntered {
        /// The stage.
        stage: StageName,
        /// New state.
        state: StageState,
    },
    /// A node changed.
    NodeEntered {
        /// The node.
        node: NodeName,
        /// New state.
        state: NodeState,
    },
    /// A permission was granted.
    Granted {
        /// The node.
        node: NodeName,
        /// Permission id.
        permission: u64,
        /// Its end.
        expires_at: UnixMs,
        /// Votes above quorum after the grant, in the worst set; `None` for a non-validator.
        slack_after: Option<i64>,
    },
    /// A slot was freed by proof.
    Freed {
        /// The node.
        node: NodeName,
        /// Permission id.
        permission: u64,
    },
    /// It holds.
    Held {
        /// Why.
        reason: Reason,
    },
    /// A person did something.
    Verb {
        /// Which verb.
        verb: String,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
}
