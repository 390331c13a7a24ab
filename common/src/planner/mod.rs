//! The rollout planner: `plan(&PlanInput) -> Plan`. It is handed everything and asks nothing.
//! [`check()`] is a second opinion that shares no code with it.
mod input;
mod plan;

pub use input::{NodeView, OutstandingPermission, PlanInput};
pub use plan::{Action, Plan, QuorumReport};
