//! `wemixvisor config`.
use super::Place;
use clap::Args;
use std::process::ExitCode;

/// Shows, sets, checks and migrates the settings.
#[derive(Debug, Args)]
pub struct Config {}

impl Config {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
