//! `wemixvisor upgrade …`, `add-upgrade`, `add-batch-upgrade`, `prepare-upgrade`, `show-upgrade-info`.
use super::Place;
use clap::Args;
use std::process::ExitCode;

/// Upgrades this host decides.
#[derive(Debug, Args)]
pub struct Upgrade {}

impl Upgrade {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}

/// Adds the executable of an upgrade.
#[derive(Debug, Args)]
pub struct AddUpgrade {}

impl AddUpgrade {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}

/// Adds several upgrades at once.
#[derive(Debug, Args)]
pub struct AddBatchUpgrade {}

impl AddBatchUpgrade {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}

/// Fetches and checks the executable of the next upgrade.
#[derive(Debug, Args)]
pub struct PrepareUpgrade {}

impl PrepareUpgrade {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}

/// Prints the plan file.
#[derive(Debug, Args)]
pub struct ShowUpgradeInfo {}

impl ShowUpgradeInfo {
    /// Does what was asked.
    pub fn run(&self, _place: &Place) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
