//! Whole fleets, end to end: real chain, real transactions, real coordinator and agents as processes.
mod faults;
mod happy;
mod releases;
mod support;
