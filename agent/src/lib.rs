//! The supervisor beside each node: runs one chain client per home, and upgrades it when a fleet says so.
//!
//! Everything that decides is `common::machine`; what is here carries its effects out on a real host.
pub mod ask;
pub mod cli;
pub mod clock;
pub mod config;
pub mod driver;
pub mod health;
pub mod home;
pub mod host;
pub mod ledger;
pub mod metrics;
pub mod plan;
pub mod probe;
pub mod run;
pub mod sync;
pub mod webhook;
