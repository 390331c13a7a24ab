//! Backups through the real binary and the library: exact, refused when they are not, and never half.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
#[path = "backup/site.rs"]
mod site;

#[path = "backup/create.rs"]
mod create;
#[path = "backup/foreign.rs"]
mod foreign;
#[path = "backup/hostile.rs"]
mod hostile;
#[path = "backup/restore.rs"]
mod restore;
