//! Whether the time left until the activation height is enough.
use super::PlanInput;
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// Time left against time needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Time until the activation height; `None` when there is none, or without a chain view.
    pub eta: Option<Span>,
    /// Time the rest needs; `None` when it can never be done as slack is now, or cannot be known.
    pub need: Option<Span>,
    /// The judgement.
    pub level: Level,
    /// Waves that are left, over all stages.
    pub waves: u32,
}

/// The judgement of a [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// At least twice the time, or no deadline.
    Ok,
    /// Enough time, but less than twice.
    AtRisk,
    /// There is a deadline and no chain view to judge it by.
    Unknown,
    /// Not enough time.
    Infeasible,
}

/// Judges the time left.
pub fn verdict(_input: &PlanInput) -> Verdict {
    Verdict { eta: None, need: None, level: Level::Ok, waves: 0 }
}
