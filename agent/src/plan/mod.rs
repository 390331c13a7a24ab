//! Upgrades this host decides: plan file, batch, schedule.
