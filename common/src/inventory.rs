//! What a node's agent last said, and when we heard it. Kept in memory only: after a restart of the
//! coordinator every node is unknown, which counts as down, until it reports again.
use crate::time::UnixMs;
use crate::wire::v1::NodeReport;
use serde::{Deserialize, Serialize};

/// A report and the moment it arrived, by the coordinator's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Arrival by the coordinator's clock.
    pub received_at: UnixMs,
    /// Newest generation the agent has stored.
    pub generation: u64,
    /// What it said.
    pub report: NodeReport,
}
