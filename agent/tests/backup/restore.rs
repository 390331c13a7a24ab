//! A restore is exact, and old or new at every moment.
use crate::site::{AT, Mounted, STAMP, Site, age, put, tree};
use agent::host::backup::{self, BackupError, Options, Source};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const OPTIONS: Options = Options { at: AT, keep_old: false, force: false };

fn own(backup: &backup::Backup) -> Source {
    Source::Own(Box::new(backup.clone()))
}

/// Does to the data what a node and an operator do in a year.
fn live_on(data: &Path) {
    put(&data.join("geth/chaindata/000001.sst"), "other blocks");
    put(&data.join("geth/chaindata/000002.sst"), "more blocks");
    put(&data.join("new/folder/file"), "new");
    std::fs::remove_file(data.join("geth/chaindata/CURRENT")).unwrap();
    std::fs::remove_dir(data.join("geth/empty")).unwrap();
    std::fs::remove_file(data.join("geth/ancient")).unwrap();
    put(&data.join("geth/ancient/in a folder now"), "x");
    std::fs::set_permissions(data.join("tool"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn it_is_exact_and_keys_are_carried_over() {
    let site = Site::new();
    let before = tree(&site.data());
    let made = site.json(&["create"]);
    live_on(&site.data());
    put(&site.at("data/geth/nodekey"), "a newer secret");
    put(&site.at("data/extra/my.key"), "another");
    age(&site.data());
    let keys = tree(&site.data());
    let done = site.json(&["restore", made["name"].as_str().unwrap(), "--yes"]);
    let mut carried: Vec<_> =
        done["carried"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    carried.sort_unstable();
    assert_eq!(carried, ["extra/my.key", "geth/nodekey", "keystore/UTC--1"]);
    assert_eq!(done["kept"].as_array().unwrap().len(), 0);
    let mut after = tree(&site.data());
    for key in ["geth/nodekey", "extra/my.key", "keystore/UTC--1"] {
        assert_eq!(after.remove(Path::new(key)), keys.get(Path::new(key)).cloned(), "{key}");
    }
    after.remove(Path::new("extra"));
    after.remove(Path::new("keystore"));
    let mut expected = before;
    for key in ["geth/nodekey", "keystore/UTC--1", "keystore"] {
        expected.remove(Path::new(key));
    }
    assert_eq!(after, expected);
    let own = made["name"].as_str().unwrap();
    assert_eq!(site.names(), ["data", "wemixvisor", own], "nothing else is left");
    assert!(!site.at("wemixvisor/restore.json").exists());
}

#[test]
fn a_validator_never_forgets_what_it_signed() {
    let site = Site::new();
    put(&site.at("data/priv_validator_state.json"), "height 5");
    let backup = site.made("state").unwrap();
    put(&site.at("data/priv_validator_state.json"), "height 9");
    let done = backup::restore(&site.home(), &site.settings, &own(&backup), OPTIONS, &mut |_| ()).unwrap();
    assert!(done.carried.iter().any(|c| c.ends_with("priv_validator_state.json")));
    assert_eq!(std::fs::read_to_string(site.at("data/priv_validator_state.json")).unwrap(), "height 9");
}

#[test]
fn the_old_tree_is_kept_when_asked_or_when_it_holds_more() {
    let mut site = Site::new();
    let name = site.made("a").unwrap().name();
    live_on(&site.data());
    let old = tree(&site.data());
    let done = site.json(&["restore", &name, "--yes", "--keep-old"]);
    let kept = done["kept"][0].as_str().unwrap();
    assert!(kept.contains("data.before-restore-"), "{kept}");
    assert_eq!(tree(Path::new(kept)), old);

    // What patterns left out is in no backup, so its last copy is not thrown away.
    site.settings.backup.exclude = vec!["**/*.sst".into()];
    let backup = site.made("b").unwrap();
    let done = backup::restore(&site.home(), &site.settings, &own(&backup), OPTIONS, &mut |_| ()).unwrap();
    assert!(done.excluded && done.kept.len() == 1, "{done:?}");
    assert!(done.kept[0].join("geth/chaindata/000001.sst").exists());
    assert!(!site.at("data/geth/chaindata/000001.sst").exists());
}

#[test]
fn it_is_refused_while_anything_runs_and_without_a_yes() {
    let site = Site::new();
    let name = site.made("a").unwrap().name();
    live_on(&site.data());
    let before = tree(&site.data());
    site.refused(&["restore", &name], "--yes");
    for file in ["node.lock", "lock"] {
        let lock = std::fs::File::create(site.at("wemixvisor").join(file)).unwrap();
        lock.lock().unwrap();
        site.refused(&["restore", &name, "--yes"], "stop the node and the agent first");
        lock.unlock().unwrap();
    }
    site.refused(&["restore", "nothing", "--yes"], "no backup");
    site.refused(&["restore", site.at("data").to_str().unwrap(), "--yes"], "is no backup");
    assert_eq!(tree(&site.data()), before);
}

#[test]
fn a_crash_between_the_renames_is_repaired() {
    let site = Site::new();
    let backup = site.made("crash").unwrap();
    let good = tree(&backup.folder().join("files/home/data")).len();
    live_on(&site.data());
    let old = tree(&site.data());
    let prepare =
        || backup::prepare(&site.home(), &site.settings, &own(&backup), OPTIONS, &mut |_| ()).unwrap();
    // Nothing renamed yet: the old tree is whole, and dropping ends only this process' part.
    let prepared = prepare();
    assert_eq!(tree(&site.data()), old);
    prepared.journal.steps[0].put_aside().unwrap();
    assert!(!site.data().exists());
    drop(prepared);
    // Whatever comes next goes on from there.
    let made = site.run(&["create", "--label", "next"]);
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(said.contains("unfinished restore") && said.contains("completed"), "{said}");
    // Two keys and the folder of one came from before.
    assert_eq!(tree(&site.data()).len(), good + 3);
    assert!(!site.at("data/new").exists() && site.at("data/geth/nodekey").exists());

    // A crash while the new tree grows leaves the old one.
    live_on(&site.data());
    let old = tree(&site.data());
    let prepared = prepare();
    let mut journal = prepared.journal.clone();
    drop(prepared);
    journal.phase = backup::Phase::Building;
    journal.write(&site.home()).unwrap();
    assert!(backup::repair(&site.home()).unwrap().is_some());
    assert_eq!(tree(&site.data()), old);
    assert!(!site.names().iter().any(|n| n.contains("restore-")), "{:?}", site.names());
}

#[test]
fn data_behind_a_link_is_replaced_there() {
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::rename(site.data(), elsewhere.path().join("chain")).unwrap_or_else(|_| {
        let status =
            std::process::Command::new("mv").arg(site.data()).arg(elsewhere.path().join("chain")).status();
        assert!(status.unwrap().success());
    });
    std::os::unix::fs::symlink(elsewhere.path().join("chain"), site.data()).unwrap();
    let before = tree(&elsewhere.path().join("chain"));
    let name = site.made("far").unwrap().name();
    live_on(&site.data());
    site.json(&["restore", &name, "--yes"]);
    assert!(site.data().is_symlink());
    let after = tree(&elsewhere.path().join("chain"));
    // The folder of the keys gets the time at which they came.
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(after.get(Path::new("tool")), before.get(Path::new("tool")));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn a_mount_point_is_replaced_piece_by_piece() {
    let site = Site::new();
    let name = site.made("disk").unwrap().name();
    std::fs::rename(site.data(), site.at("first")).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&site.data(), "40m") else { return };
    put(&site.at("data/young"), "x");
    put(&site.at("data/geth/young"), "x");
    put(&site.at("data/geth/nodekey"), "secret");
    site.json(&["restore", &name, "--yes"]);
    assert_eq!(std::fs::read_to_string(site.at("data/geth/nodekey")).unwrap(), "secret");
    let (mut now, mut expected) = (tree(&site.data()), tree(&site.at("first")));
    for changed in ["", "geth/nodekey", "keystore", "keystore/UTC--1"] {
        now.remove(Path::new(changed));
        expected.remove(Path::new(changed));
    }
    assert_eq!(now, expected);
    // And what is mounted deeper is neither emptied nor hidden.
    let Some(_inner) = Mounted::tmpfs(&site.at("data/geth/ancient2"), "1m") else { return };
    site.refused(&["restore", &name, "--yes"], "is mounted inside");
    assert!(site.at("data/tool").exists());
}

#[test]
fn a_whole_home_is_replaced_around_the_supervisor() {
    let mut site = Site::new();
    put(&site.at("config/app.toml"), "one");
    site.settings.backup.include = vec![".".into()];
    let backup = site.made("all").unwrap();
    put(&site.at("config/app.toml"), "two");
    put(&site.at("young"), "x");
    put(&site.at("backups/v0.tar.gz"), "x");
    put(&site.at("wemixvisor/ledger.json"), "mine");
    let done = backup::restore(&site.home(), &site.settings, &own(&backup), OPTIONS, &mut |_| ()).unwrap();
    assert_eq!(done.kept, Vec::<std::path::PathBuf>::new());
    assert_eq!(std::fs::read_to_string(site.at("config/app.toml")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(site.at("wemixvisor/ledger.json")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(site.at("data/keystore/UTC--1")).unwrap(), "secret two");
    assert_eq!(site.names(), ["backups", "config", "data", "wemixvisor", &backup.name()]);
}

#[test]
fn no_room_for_the_new_tree_leaves_the_old_one() {
    let mut site = Site::empty();
    let Some(_mounted) = Mounted::tmpfs(&site.at("disk"), "30m") else { return };
    site.settings.node.data_dir = site.at("disk/data");
    put(&site.at("disk/data/small"), "x");
    std::fs::write(site.at("disk/data/big"), vec![1; 14 << 20]).unwrap();
    let backup = site.made("room").unwrap();
    let before = tree(&site.at("disk/data"));
    let error = backup::restore(&site.home(), &site.settings, &own(&backup), OPTIONS, &mut |_| ());
    assert!(matches!(error, Err(BackupError::NoSpace { .. })), "{error:?}");
    assert_eq!(tree(&site.at("disk/data")), before);
    assert_eq!(std::fs::read_dir(site.at("disk")).unwrap().count(), 1);
    assert_eq!(backup.name(), format!("wemixvisor-backup-room-{STAMP}"));
}
