//! The documents for one node: their commands are run as they stand, and every command, flag, setting and message that
//! they name exists.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
#[path = "documents/names.rs"]
mod names;
#[path = "documents/site.rs"]
mod site;
mod support;

use site::Site;
use std::path::{Path, PathBuf};

/// A document from the tree's root.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn the_user_guide_works() {
    let site = Site::new("geth");
    site.release_file("geth", "1.0.0");
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        site.release_file(&format!("geth-v{version}"), version);
    }
    site.follow("docs/user-guide.md");
    assert_eq!((site.current().as_str(), site.nodes()), ("upgrades/v1.1.0", Vec::new()));
    let events = site.events();
    assert!(events.iter().all(|e| !e.starts_with("double")), "{events:?}");
    // Every stop of the node was asked for, once, and waited for.
    let count = |what: &str| events.iter().filter(|e| e.starts_with(what)).count();
    assert_eq!((count("started"), count("term"), count("flushed")), (4, 4, 4), "{events:?}");
}

#[test]
fn a_home_of_cosmovisor_moves_here_and_back() {
    let site = Site::new("geth");
    site.write("home/cosmovisor/config.toml", &cosmovisor_settings(&site));
    site.home_of("cosmovisor", "1.0.0");
    let applied = r#"{"name":"v1.1.0","time":"0001-01-01T00:00:00Z","height":90}"#;
    site.put_release("home/cosmovisor/upgrades/v1.1.0/bin/geth", "1.1.0");
    site.write("home/cosmovisor/upgrades/v1.1.0/upgrade-info.json", applied);
    site.write("home/data/upgrade-info.json", applied);
    site.point("cosmovisor", "upgrades/v1.1.0");
    site.release_file("geth-v1.2.0", "1.2.0");
    site.follow("docs/migration-cosmovisor.md");
    // What cosmovisor looks at when it comes back.
    assert_eq!((site.current().as_str(), site.nodes()), ("upgrades/v1.2.0", Vec::new()));
    assert_eq!(site.text("home/cosmovisor/upgrades/v1.1.0/upgrade-info.json"), applied);
    assert_eq!(site.text("home/cosmovisor/config.toml"), cosmovisor_settings(&site));
    let last = site.text("home/cosmovisor/upgrades/v1.2.0/upgrade-info.json");
    assert!(last.starts_with(r#"{"name":"v1.2.0","time":"0001-01-01T00:00:00Z","height":"#), "{last}");
    assert!(!site.path("home/cosmovisor/ledger.json").exists(), "our own files are removed");
    assert!(!site.path("home/wemixvisor").exists(), "a home has one supervisor's folder");
}

#[test]
fn a_home_of_wemixvisor_v0_moves_here_and_back() {
    let site = Site::new("wemixd");
    site.home_of("wemixvisor", "1.0.0");
    site.put_release("home/wemixvisor/upgrades/Brioche/bin/wemixd", "1.1.0");
    site.write("home/data/upgrade-info.json", r#"{"name":"Brioche","height":90,"info":{"checksum":""}}"#);
    let flat = format!(
        "home = \"{0}\"\nname = \"wemixd\"\nmax_restarts = 5.0\nshutdown_grace = 30000000000.0\nauto_backup = true\n\
         log_format = \"json\"\nnetwork_id = 1112.0\nchain_id = \"1112\"\ndata_dir = \"{0}/data\"\n",
        site.path("home").display()
    );
    site.write("wemixvisor.toml", &flat);
    site.follow("docs/migration-wemixvisor.md");
    assert_eq!((site.current().as_str(), site.nodes()), ("upgrades/Brioche", Vec::new()));
    assert_eq!(site.text("wemixvisor.toml"), flat, "the old file is as it was");
    assert!(site.text("home/wemixvisor/wemixvisor.toml").contains("max_restarts = 5\n"));
}

/// As `cosmovisor init` writes it.
fn cosmovisor_settings(site: &Site) -> String {
    format!(
        "daemon_home = '{0}'\ndaemon_name = 'geth'\ndaemon_allow_download_binaries = false\n\
         daemon_download_must_have_checksum = false\ndaemon_restart_after_upgrade = true\ndaemon_restart_delay = 0\n\
         daemon_shutdown_grace = 0\ndaemon_poll_interval = 300000000\nunsafe_skip_backup = false\n\
         daemon_data_backup_dir = '{0}'\ndaemon_preupgrade_max_retries = 0\ncosmovisor_disable_logs = false\n\
         cosmovisor_color_logs = true\ncosmovisor_timeformat_logs = 'kitchen'\ncosmovisor_custom_preupgrade = ''\n\
         cosmovisor_disable_recase = false\ndaemon_grpc_address = 'localhost:9090'\n",
        site.path("home").display()
    )
}
