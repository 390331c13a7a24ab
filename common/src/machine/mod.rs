//! The agent's upgrade machine: `Machine::step(now, event) -> effects`. Pure; the driver in the agent is dull.
//!
//! Order is part of the contract: the driver carries out effects in the order given, and a
//! [`Effect::Persist`] must be durable before any effect after it begins. After a crash the driver
//! feeds [`Event::Booted`] with the stored [`Ledger`] and what it finds on the host, and goes on.
mod effect;
mod event;
mod ledger;

pub use effect::Effect;
pub use event::{Event, Found, Probe, StagedRelease};
pub use ledger::Ledger;
