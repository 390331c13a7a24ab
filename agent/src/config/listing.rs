//! The listing of a bare `config`, in cosmovisor's names and order.
use super::settings::{BackupBefore, Settings};
use crate::home::GENESIS;
use std::fmt::Write;

/// What cosmovisor's `config` says, of these settings.
pub fn listing(settings: &Settings) -> String {
    let (node, upgrade) = (&settings.node, &settings.upgrade);
    let layout = settings.layout();
    let root = layout.root();
    let silent = settings.log.filter == "off";
    let skipped = settings.backup.before_upgrade == BackupBefore::Never;
    let configurable: [(&str, String); 16] = [
        ("DAEMON_HOME", node.home.display().to_string()),
        ("DAEMON_NAME", node.name.clone()),
        ("DAEMON_ALLOW_DOWNLOAD_BINARIES", settings.download.allowed.to_string()),
        // It cannot be switched off.
        ("DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM", true.to_string()),
        ("DAEMON_RESTART_AFTER_UPGRADE", upgrade.restart_after.to_string()),
        ("DAEMON_RESTART_DELAY", node.restart_delay.to_string()),
        ("DAEMON_SHUTDOWN_GRACE", node.stop.to_string()),
        ("DAEMON_POLL_INTERVAL", upgrade.poll.to_string()),
        ("UNSAFE_SKIP_BACKUP", skipped.to_string()),
        ("DAEMON_DATA_BACKUP_DIR", settings.backup.dir.display().to_string()),
        ("DAEMON_PREUPGRADE_MAX_RETRIES", settings.hooks.retries.to_string()),
        ("COSMOVISOR_DISABLE_LOGS", silent.to_string()),
        ("COSMOVISOR_COLOR_LOGS", settings.log.color.unwrap_or(true).to_string()),
        ("COSMOVISOR_TIMEFORMAT_LOGS", settings.log.time.clone()),
        ("COSMOVISOR_CUSTOM_PREUPGRADE", settings.hooks.pre_upgrade.clone().unwrap_or_default()),
        ("COSMOVISOR_DISABLE_RECASE", (!upgrade.recase).to_string()),
    ];
    let derived = [
        ("Root Dir", root.to_owned()),
        ("Upgrade Dir", root.join("upgrades")),
        ("Genesis Bin", root.join(GENESIS).join("bin").join(&node.name)),
        ("Monitored File", upgrade.plan_file.clone()),
        ("Data Backup Dir", settings.backup.dir.clone()),
    ];
    let mut out = "Configurable Values:\n".to_owned();
    for (name, value) in configurable {
        let _ = writeln!(out, "  {name}: {value}");
    }
    out += "Derived Values:\n";
    for (name, path) in derived {
        let _ = writeln!(out, "  {name}: {}", path.display());
    }
    out
}
