//! Whole fleets, end to end: real chain, real transactions, real coordinator and agents as processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod faults;
mod happy;
mod releases;
mod support;
