//! The rollout planner: `plan(&PlanInput) -> Plan`. It is handed everything and asks nothing.
//! [`check()`] is a second opinion that shares no code with it.
mod check;
pub mod deadline;
mod input;
mod plan;
mod preview;

pub use check::{Violation, check};
pub use deadline::{Level, Verdict};
pub use input::{NodeView, OutstandingPermission, PlanInput};
pub use plan::{Action, Plan, QuorumReport};
pub use preview::{Preview, PreviewStage, preview};

/// Most node actions in one plan; the rest comes in the next pass.
pub const MAX_ACTIONS: usize = 64;

/// Plans one pass.
pub fn plan(input: &PlanInput) -> Plan {
    Plan {
        parent: input.rollout.revision,
        rollout: input.rollout.clone(),
        actions: Vec::new(),
        events: Vec::new(),
        quorum: None,
        changed: false,
    }
}
