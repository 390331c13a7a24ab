//! `wemixvisor backup`.
use super::Place;
use clap::Args;
use std::process::ExitCode;

/// Backups of the node's data.
#[derive(Debug, Args)]
pub struct Backup {}

impl Backup {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
