//! The rollout planner: `plan(&PlanInput) -> Plan`. It is handed everything and asks nothing.
//! [`check()`] is a second opinion that shares no code with it.
//!
//! One pass: what nodes say (`observe`), what the chain proves (`proof`), what stops the rollout (`hold`), unused
//! permissions (`revoke`), then stages and gates (`stage`, `gate`), new permissions (`pick`), the end (`ending`), and
//! why the rest waits (`reasons`, `deadline`).
mod check;
pub mod deadline;
mod ending;
mod facts;
mod gate;
mod hold;
mod input;
mod observe;
mod pass;
mod pick;
mod plan;
mod preview;
mod proof;
mod reasons;
mod revoke;
mod stage;

pub use check::{Violation, check};
pub use deadline::{Level, Verdict};
pub use input::{NodeView, OutstandingPermission, PlanInput};
pub use plan::{Action, Plan, QuorumReport};
pub use preview::{Preview, PreviewStage, preview};

use crate::rollout::{Control, Outcome, Phase};
use pass::Pass;

/// Most node actions in one plan; the rest comes in the next pass.
pub const MAX_ACTIONS: usize = 64;
/// Most actions and events together in one plan, so that it fits into one commit of the store (100 operations).
pub const MAX_ENTRIES: usize = 90;

/// Plans one pass. The same input gives the same plan; a pass with nothing new gives [`Plan::changed`] false.
pub fn plan(input: &PlanInput) -> Plan {
    let mut pass = Pass::new(input);
    match &input.rollout.phase {
        Phase::Done(_) => {}
        Phase::Draft if input.cancelled_on_chain => pass.end(Outcome::Superseded),
        Phase::Draft => {}
        _ => go_on(&mut pass),
    }
    reasons::assign(&mut pass);
    pass.finish()
}

fn go_on(pass: &mut Pass<'_>) {
    observe::observe(pass);
    if matches!(pass.rollout.control, Control::Paused { .. }) {
        return;
    }
    proof::settle(pass);
    hold::judge(pass);
    revoke::revoke(pass);
    match pass.rollout.control {
        Control::Run if pass.input.cancelled_on_chain && !hold::begun(pass) => ending::supersede(pass),
        Control::Run => {
            stage::prepare(pass);
            stage::advance(pass);
            pick::permit(pass);
            ending::finish(pass);
        }
        Control::Aborting { .. } => ending::abort(pass),
        Control::RollingBack { .. } => ending::roll_back(pass),
        Control::Paused { .. } | Control::Held { .. } => {}
    }
}
