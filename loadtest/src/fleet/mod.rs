//! A whole fleet of real processes on one machine: a development network, an agent beside each node, a coordinator, the
//! governance contract, and a publisher of signed releases. The demo and the end-to-end tests stand on it.
mod agent;
mod coordinator;
mod publisher;
mod reap;
mod world;

pub use agent::Agent;
pub use coordinator::Coordinator;
pub use publisher::{Published, Publisher, Tamper};
pub use reap::kill_under;
pub use world::{Programs, World, WorldSpec};
