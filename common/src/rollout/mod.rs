//! One rollout: what was asked for, where it stands, and every reason it can wait for.
//!
//! `phase`, `control` and `conditions` are orthogonal. The tables of legal transitions are here and nowhere else.
mod apply;
mod event;
mod reason;
mod reason_text;
mod state;
mod verb;

pub use event::RolloutEvent;
pub use reason::Reason;
pub use state::{Control, NodeProgress, NodeState, Origin, Outcome, Phase, Proof, StageProgress, StageState};
pub use verb::{Verb, VerbRefused};

use crate::id::{NetworkName, NodeName, RolloutId};
use crate::manifest::Manifest;
use crate::policy::ResolvedPolicy;
use crate::release::ReleaseRef;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A rollout attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The attempt.
    pub id: RolloutId,
    /// The permission domain.
    pub network: NetworkName,
    /// What is rolled.
    pub release: ReleaseRef,
    /// The signed manifest, frozen.
    pub manifest: Manifest,
    /// The policy, resolved and frozen.
    pub policy: ResolvedPolicy,
    /// Where it came from.
    pub origin: Origin,
    /// How far it got; monotone.
    pub phase: Phase,
    /// Whether it may go on.
    pub control: Control,
    /// What it waits for now, recomputed by every plan. Empty only in `Done`.
    pub waiting: Vec<Reason>,
    /// One per stage of the policy, same order.
    pub stages: Vec<StageProgress>,
    /// One per node of the rollout.
    pub nodes: BTreeMap<NodeName, NodeProgress>,
    /// Number of the plan that wrote this; a plan names its parent's.
    pub revision: u64,
    /// When it was drafted.
    pub created_at: UnixMs,
    /// When a node or stage last got further (paused time does not count).
    pub progressed_at: UnixMs,
    /// Smallest slack (votes above quorum, may be negative) seen while it ran and every node was known.
    pub min_slack: Option<i64>,
    /// Mean block interval before the first switch in milliseconds, the baseline of `ChainHealth`.
    pub baseline_interval_ms: Option<u64>,
}

impl Rollout {
    /// First height under the new rules when this rollout must be done before it.
    pub fn deadline_height(&self) -> Option<u64> {
        match self.policy.mode {
            crate::policy::Mode::BeforeHeight => self.manifest.activation.height(),
            crate::policy::Mode::Anytime => None,
        }
    }

    /// First height at which nobody may go back: the new rules hold from there.
    pub fn cutoff_height(&self) -> Option<u64> {
        self.manifest.activation.height()
    }

    /// Whether the rollout is over.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done(_))
    }
}
