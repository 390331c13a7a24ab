//! From the incumbents to us and back: what is understood, and that nothing is left which they would not know.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
#[path = "support/guest.rs"]
#[allow(dead_code, reason = "the tests of the drop-in use all of it")]
mod guest;
mod support;

use guest::Guest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::release::release_bytes;
use support::wait;

type Tree = BTreeMap<PathBuf, String>;

/// What this supervisor keeps in a home, below the supervisor's folder. Going back is: remove these.
const OURS: [&str; 12] = [
    "agent.log",
    "chain.json",
    "control.sock",
    "hook.lock",
    "ledger.json",
    "lock",
    "node.lock",
    "node.log",
    "plans.lock",
    "process.json",
    "schedule.json",
    "store",
];

/// Removes our own files, as somebody does who goes back.
fn remove_ours(guest: &Guest) {
    for name in OURS {
        let path = guest.at(guest.root).join(name);
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

/// What is different, without what belongs to the node and to the test.
fn changes(before: &Tree, after: &Tree) -> Tree {
    let others = |path: &Path| {
        path.starts_with("data") || path.starts_with("agent.log") || path.starts_with("agent.out")
    };
    let mut changed = Tree::new();
    for (path, shown) in after.iter().filter(|(path, _)| !others(path)) {
        if before.get(path) != Some(shown) {
            changed.insert(path.clone(), shown.clone());
        }
    }
    for path in before.keys().filter(|path| !others(path) && !after.contains_key(*path)) {
        changed.insert(path.clone(), "gone".to_owned());
    }
    changed
}

fn digest(bytes: &[u8]) -> String {
    common::release::Digest::of(bytes).to_string()
}

const CHAIN2: &str = r#"{"name":"chain2","time":"0001-01-01T00:00:00Z","height":49}"#;
const CHAIN3: &str =
    r#"{"name":"chain3","time":"0001-01-01T00:00:00Z","height":115,"info":"{\"a\":\"\u003cb\u003e\"}"}"#;

/// A home that cosmovisor 1.7 upgraded once and that waits for the next upgrade.
fn cosmovisors(absolute: bool) -> (Guest, Vec<u8>) {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0"}));
    guest.add("upgrades/chain2", &json!({"version": "2.0.0"}));
    let chain2 = guest.at("cosmovisor/upgrades/chain2/bin/geth");
    std::fs::set_permissions(chain2, PermissionsExt::from_mode(0o755)).unwrap();
    let third = release_bytes(&json!({"version": "3.0.0"}));
    guest.put("upgrades/chain3", &third);
    guest.write("cosmovisor/upgrades/chain2/upgrade-info.json", CHAIN2);
    let to = if absolute { guest.at("cosmovisor/upgrades/chain2") } else { "upgrades/chain2".into() };
    guest.link(&to);
    guest.write("data/upgrade-info.json", CHAIN2);
    guest.write("data/upgrade-info.json.My Up", "{}");
    guest.write("data-backup-2026-1-2/head", "100");
    let script = guest.write("cosmovisor/preupgrade.sh", "#!/bin/sh\necho $1 $2 >> data/hooks\n");
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
    // As its `init` writes it: nanoseconds, and every key.
    let config = format!(
        "cosmovisor_color_logs = false\ncosmovisor_custom_preupgrade = 'preupgrade.sh'\ncosmovisor_disable_logs = false\n\
         cosmovisor_disable_recase = false\ncosmovisor_timeformat_logs = 'kitchen'\ndaemon_allow_download_binaries = false\n\
         daemon_data_backup_dir = '{0}'\ndaemon_download_must_have_checksum = false\ndaemon_grpc_address = 'localhost:9090'\n\
         daemon_home = '{0}'\ndaemon_name = 'geth'\ndaemon_poll_interval = 300000000\ndaemon_preupgrade_max_retries = 0\n\
         daemon_restart_after_upgrade = true\ndaemon_restart_delay = 0\ndaemon_shutdown_grace = 20000000000\n\
         unsafe_skip_backup = true\n",
        guest.at("").display().to_string().trim_end_matches('/')
    );
    guest.write("cosmovisor/config.toml", &config);
    guest.set("COSMOVISOR_COLOR_LOGS", "false");
    (guest, third)
}

#[test]
fn a_home_of_cosmovisor_comes_and_goes() {
    for absolute in [false, true] {
        let (mut guest, third) = cosmovisors(absolute);
        let before = guest.tree();
        let config = guest.at("cosmovisor/config.toml").display().to_string();
        guest.start(&["--cosmovisor-config", &config]);
        guest.runs(
            "chain2",
            &std::fs::read_link(guest.at("cosmovisor/current")).unwrap().display().to_string(),
        );
        let first: Tree = changes(&before, &guest.tree());
        let ours = |path: &Path| OURS.iter().any(|own| path == Path::new("cosmovisor").join(own));
        assert!(first.keys().all(|path| ours(path)), "more than our own files: {first:?}");
        // The chain asks for its next release, as the upgrade module writes it.
        guest
            .host
            .plan(r#"{"name":"Chain3","time":"0001-01-01T00:00:00Z","height":115,"info":"{\"a\":\"<b>\"}"}"#);
        guest.runs("chain3", "upgrades/chain3");
        assert_eq!(guest.text("data/hooks"), "chain3 115\n", "the script of the file was run once");
        guest.stop();
        assert_eq!((guest.host.count("started 1.0.0"), guest.host.count("started 2.0.0")), (0, 1));
        remove_ours(&guest);
        // The scripted node's own, from its `pre-upgrade`.
        std::fs::remove_file(guest.at("pre-upgrade-calls")).unwrap();
        // What is different is what cosmovisor itself would have done, byte for byte.
        let expected: Tree = [
            ("cosmovisor/current", "-> upgrades/chain3".to_owned()),
            ("cosmovisor/upgrades/chain3/bin/geth", format!("755 {}", digest(&third))),
            ("cosmovisor/upgrades/chain3/upgrade-info.json", format!("644 {}", digest(CHAIN3.as_bytes()))),
        ]
        .map(|(path, shown)| (path.into(), shown))
        .into();
        assert_eq!(changes(&before, &guest.tree()), expected, "absolute: {absolute}");
        assert_eq!(guest.text("cosmovisor/upgrades/chain3/upgrade-info.json"), CHAIN3);
        assert_eq!(guest.text("data/upgrade-info.json.My Up"), "{}", "a left-over of a batch is not ours");
    }
}

#[test]
fn a_home_that_went_on_under_cosmovisor_is_not_taken_back_to_an_old_release() {
    let (mut guest, _) = cosmovisors(false);
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.start(&[]);
    guest.runs("chain2", "upgrades/chain2");
    guest.stop();
    // Our files are left, and cosmovisor upgrades once more.
    guest.host.plan(CHAIN3);
    guest.write("cosmovisor/upgrades/chain3/upgrade-info.json", CHAIN3);
    guest.link(Path::new("upgrades/chain3"));
    guest.start(&[]);
    guest.runs("chain3", "upgrades/chain3");
    assert!(guest.text("agent.log").contains("another supervisor upgraded this home meanwhile"));
    assert_eq!((guest.host.count("started 2.0.0"), guest.host.count("started 3.0.0")), (1, 1));
    guest.stop();
    // A link alone, without a plan that was applied above ours, is a mistake and is mended.
    guest.link(Path::new("upgrades/chain2"));
    guest.start(&[]);
    guest.runs("chain3", "upgrades/chain3");
    guest.stop();
}

#[test]
fn what_a_batch_leaves_for_cosmovisor() {
    let (mut guest, _) = cosmovisors(false);
    guest.write(
        "data/upgrade-info.json.batch",
        &format!("[{CHAIN3},{{\"name\":\"later\",\"height\":90000}}]"),
    );
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.start(&[]);
    wait("chain3", || {
        let status = guest.host.status()?;
        let running = status.report.running.as_ref()?.name.as_str() == "chain3";
        (running && status.plan.is_some_and(|plan| plan.name == "later")).then_some(())
    });
    guest.stop();
    let left: Value = serde_json::from_str(&guest.text("data/upgrade-info.json.batch")).unwrap();
    assert_eq!(left, json!([{"name": "later", "time": "0001-01-01T00:00:00Z", "height": 90000}]));
    assert_eq!(guest.text("cosmovisor/upgrades/chain3/upgrade-info.json"), CHAIN3);
    // The plan file is its writer's, also where cosmovisor would have put the batch's plan there: who goes back
    // copies the applied plan over it, as docs/incumbents.md says.
    assert_eq!(guest.text("data/upgrade-info.json"), CHAIN2);
}

/// A home of wemixvisor v0.x before its first upgrade.
fn v0() -> Guest {
    let guest = Guest::new("wemixvisor", "wemixvisor", &release_bytes(&json!({"version": "1.0.0"})));
    guest.link(&guest.at("wemixvisor/genesis"));
    for (name, version) in [("Brioche", "2.0.0"), ("v0.10.1", "3.0.0")] {
        guest.add(&format!("upgrades/{name}"), &json!({"version": version}));
        let binary = guest.at(&format!("wemixvisor/upgrades/{name}/bin/geth"));
        std::fs::set_permissions(binary, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let hook = guest.write(
        "wemixvisor/upgrades/Brioche/pre-upgrade",
        "#!/bin/sh\necho $UPGRADE_NAME $UPGRADE_HEIGHT $UPGRADE_INFO > \"$DAEMON_HOME/data/hook\"\n",
    );
    std::fs::set_permissions(hook, PermissionsExt::from_mode(0o755)).unwrap();
    let plan = json!({"version": "1.0", "name": "autumn", "description": "two", "created_at": "2025-09-30T12:00:00Z",
        "upgrades": [{"name": "Brioche", "height": 110, "info": {"description": "first"}}, {"name": "v0.10.1", "height": 260}]});
    guest.write("wemixvisor/plans/autumn-20250930-120000.json", &plan.to_string());
    guest.write("data/upgrades/49/upgrade-info.json", r#"{"name":"old","height":49}"#);
    guest.write("backups/manual-20250930-120000.tar.gz", "an archive");
    guest.write("profiles/cpu_20250930_120000.prof", "x");
    // As v0.x writes it back: whole numbers and lengths of time as floats.
    guest.write(
        "wemixvisor/wemixvisor.toml",
        &format!(
            "home = '{}'\nname = 'geth'\nmax_restarts = 5.0\nrestart_delay = 0.0\nshutdown_grace = 20000000000.0\n\
             health_check_interval = 1000000000.0\nmetrics_interval = 60000000000.0\nmetrics_enabled = true\n\
             allow_download_binaries = true\nauto_backup = false\npre_upgrade_timeout = 300000000000.0\n\
             log_level = 'info'\nlog_format = 'json'\nlog_time_format = 'rfc3339'\nconfig_version = '0.5.0'\n",
            guest.at("").display().to_string().trim_end_matches('/')
        ),
    );
    guest
}

#[test]
fn a_home_of_wemixvisor_v0_is_supervised_migrated_and_given_back() {
    let mut guest = v0();
    let before = guest.tree();
    let old = guest.text("wemixvisor/wemixvisor.toml");
    guest.start(&[]);
    wait("Brioche", || {
        let status = guest.host.status()?;
        let running = status.report.running.as_ref()?.name.as_str() == "Brioche";
        (running && status.plan.is_some_and(|plan| plan.name == "v0.10.1")).then_some(())
    });
    assert_eq!(guest.current(), "upgrades/Brioche");
    assert_eq!(guest.text("data/hook"), "Brioche 110 {\"description\":\"first\"}\n");
    // Its settings become ours under the running agent, which takes them over; they mean the same.
    let migrated = guest.command(&["config", "migrate"]);
    assert!(migrated.status.success(), "{migrated:?}");
    let told = String::from_utf8_lossy(&migrated.stderr);
    assert!(told.contains("metrics_enabled left out:"), "{told}");
    let reloaded = guest.command(&["reload"]);
    assert_eq!(String::from_utf8_lossy(&reloaded.stdout), "the settings are as before\n", "{reloaded:?}");
    let new = guest.text("wemixvisor/wemixvisor.toml");
    assert!(new.contains("schema = 1") && new.contains("max_restarts = 5\n"), "{new}");
    guest.runs("v0.10.1", "upgrades/v0.10.1");
    let list = guest.command(&["backup", "list", "-o", "json"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("manual-20250930-120000.tar.gz"), "{list:?}");
    guest.stop();
    let counts = (guest.host.count("started"), guest.host.count("term"), guest.host.count("flushed"));
    assert_eq!(counts, (3, 3, 3), "{:?}", guest.host.events());
    // Back: the kept copy of the settings, and away with what is ours. v0.x writes no applied plans.
    let kept = std::fs::read_dir(guest.at("wemixvisor")).unwrap().flatten().map(|e| e.path());
    let kept: Vec<PathBuf> = kept.filter(|p| p.to_string_lossy().contains(".bak-")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    std::fs::rename(&kept[0], guest.at("wemixvisor/wemixvisor.toml")).unwrap();
    assert_eq!(guest.text("wemixvisor/wemixvisor.toml"), old);
    for name in ["Brioche", "v0.10.1"] {
        std::fs::remove_file(guest.at(&format!("wemixvisor/upgrades/{name}/upgrade-info.json"))).unwrap();
    }
    remove_ours(&guest);
    let expected: Tree = [("wemixvisor/current".into(), "-> upgrades/v0.10.1".to_owned())].into();
    assert_eq!(changes(&before, &guest.tree()), expected);
}
