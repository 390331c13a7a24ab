//! What a person (or a policy in a person's place) can do to a rollout. Pause, abort, rollback and retry are different verbs.
use serde::{Deserialize, Serialize};

/// A verb on a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Let a draft begin.
    Approve,
    /// No new side effect until `Resume`.
    Pause,
    /// Leave a pause or a hold.
    Resume,
    /// Open a stage that waits for a person.
    Promote,
    /// Try failed nodes again and leave the hold.
    Retry,
    /// End it; nodes half way are finished, no other is touched.
    Abort,
    /// Bring switched nodes back to their old release.
    Rollback,
}

/// Why a verb was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{verb:?} is not possible: {why}")]
pub struct VerbRefused {
    /// The verb.
    pub verb: Verb,
    /// Why, in one sentence.
    pub why: String,
}
