//! What every room of the house must agree on, and everything that decides.
//!
//! This crate is pure: no async, no I/O, no clock, no randomness, no environment, no `HashMap`.
//! Time is always a field of the input ([`time::UnixMs`]). Its own `clippy.toml` enforces that.
pub mod chain;
pub mod fleet;
pub mod id;
pub mod inventory;
pub mod machine;
pub mod manifest;
pub mod planner;
pub mod policy;
pub mod quorum;
pub mod release;
pub mod rollout;
pub mod time;
pub mod wire;
