//! `wemixvisor logs`.
use super::Place;
use clap::Args;
use std::process::ExitCode;

/// The node's output.
#[derive(Debug, Args)]
pub struct Logs {}

impl Logs {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
