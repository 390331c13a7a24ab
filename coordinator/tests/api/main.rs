//! The coordinator in this process, spoken to over real TLS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]
mod authorization;
mod bench;
mod config;
mod enrolment;
mod releases;
mod rollouts;
mod sync;
