//! The fleet's daemon: store, sync endpoint, reconciliation, governance, artifacts, enrolment.
//! The binary `wemixfleet` adds the operator's command line and installation over SSH.
pub mod api;
pub mod artifacts;
pub mod auth;
pub mod config;
pub mod enrol;
pub mod fleet;
pub mod governance;
pub mod init;
pub mod metrics;
pub mod reconcile;
pub mod release;
pub mod server;
pub mod store;
pub mod telemetry;
