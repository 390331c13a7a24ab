//! What is in a backup, and when none is made.
use crate::site::{AT, Mounted, STAMP, Site, put, tree};
use agent::host::backup::{self, Backup, BackupError, Meta, manifest};
use common::time::UnixMs;
use std::process::Command;

fn files_of(backup: &Backup) -> Vec<String> {
    tree(&backup.folder().join("files/home/data")).into_keys().map(|p| format!("{p:?}")).collect()
}

#[test]
fn sockets_fifos_and_keys_are_left_out_and_counted() {
    let site = Site::new();
    let _socket = std::os::unix::net::UnixListener::bind(site.at("data/geth.ipc")).unwrap();
    let fifo = Command::new("mkfifo").arg(site.at("data/pipe")).status().unwrap();
    assert!(fifo.success());
    let made = site.json(&["create", "--label", "odd", "--exclude", "geth/chaindata/CUR*"]);
    let totals = &made["totals"];
    assert_eq!((totals["special"].as_u64(), totals["keys_left_out"].as_u64()), (Some(2), Some(2)));
    assert_eq!((totals["excluded"].as_u64(), totals["links"].as_u64()), (Some(1), Some(1)));
    assert_eq!(made["sealed"], true);
    let backup = Backup::open(made["path"].as_str().unwrap().as_ref()).unwrap();
    assert_eq!(totals["files"].as_u64(), Some(4));
    let files = files_of(&backup).join(" ");
    assert!(files.contains("000001.sst") && files.contains("geth/ancient"), "{files}");
    for left_out in ["nodekey", "keystore", "geth.ipc", "pipe", "CURRENT"] {
        assert!(!files.contains(left_out), "{left_out} is in {files}");
    }
    let list = std::fs::read_to_string(backup.folder().join("entries.jsonl")).unwrap();
    assert!(list.contains("100%25 odd%0Aname") && list.contains("no%FFutf8"), "{list}");

    let with_keys = site.json(&["create", "--keys"]);
    assert_eq!(with_keys["totals"]["keys_left_out"].as_u64(), Some(0));
    let backup = Backup::open(with_keys["path"].as_str().unwrap().as_ref()).unwrap();
    assert!(files_of(&backup).join(" ").contains("keystore/UTC--1"));
}

#[test]
fn two_in_a_second_are_two() {
    let site = Site::new();
    let one = site.made("same").unwrap();
    put(&site.at("data/later"), "x");
    let before = tree(one.folder());
    let two = site.made("same").unwrap();
    assert_eq!(one.name(), format!("wemixvisor-backup-same-{STAMP}"));
    assert_eq!(two.name(), format!("wemixvisor-backup-same-{STAMP}-2"));
    assert_eq!(tree(one.folder()), before, "a backup never changes");
    assert_eq!(two.manifest().totals.files, one.manifest().totals.files + 1);
    let list = site.json(&["list"]);
    let names: Vec<_> = list.as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
    assert_eq!(names, [one.name(), two.name()]);
    assert_eq!((list[0]["state"].as_str(), list[0]["height"].as_u64()), (Some("sealed"), Some(42)));
    let table = site.run(&["list"]);
    assert!(String::from_utf8(table.stdout).unwrap().contains("2026-01-02T03:04:05Z"));
}

#[test]
fn what_would_hold_itself_is_refused() {
    let mut site = Site::new();
    site.refused(&["create", "--dir", site.at("data/backups").to_str().unwrap()], "is inside");
    site.refused(&["create", "--include", "../elsewhere"], "'..'");
    site.refused(&["create", "--include", "/etc"], "neither in the home");
    site.refused(&["create", "--include", "wemixvisor/fleet"], "supervisor");
    site.refused(&["create", "--include", "gone"], "No such file");
    site.refused(&["create", "--exclude", "/abs"], "no pattern");
    site.refused(&["create", "--label", "a/b"], "no label");
    std::os::unix::fs::symlink(site.data(), site.at("shortcut")).unwrap();
    site.refused(&["create", "--dir", site.at("shortcut/b").to_str().unwrap()], "is inside");
    std::fs::remove_file(site.at("shortcut")).unwrap();
    assert_eq!(site.names(), ["data", "wemixvisor"]);
    assert!(!site.at("data/b").exists() && !site.at("data/backups").exists(), "nothing is made");

    // A whole home holds neither its backups nor the supervisor.
    site.made("first").unwrap();
    put(&site.at("data-backup-2026-1-2/x"), "x");
    put(&site.at("config/app.toml"), "x");
    put(&site.at("backups/v0.tar.gz"), "x");
    put(&site.at("kept/other"), "x");
    site.settings.backup.include = vec![".".into(), "data".into(), "data/geth".into()];
    site.settings.backup.dir = site.at("kept");
    let backup = site.made("second").unwrap();
    assert_eq!(backup.manifest().roots.len(), 1, "roots within others are not named");
    let top = tree(&backup.folder().join("files/home")).into_keys().filter(|p| p.components().count() == 1);
    assert_eq!(top.map(|p| p.display().to_string()).collect::<Vec<_>>(), ["config", "data"]);
}

#[test]
fn a_full_disk_is_seen_before_and_ends_cleanly_meanwhile() {
    let mut site = Site::empty();
    std::fs::write(site.at("data/big"), vec![1; 3 << 20]).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&site.at("small"), "2m") else { return };
    site.settings.backup.dir = site.at("small");
    site.refused(&["create", "--dir", site.at("small").to_str().unwrap()], "bytes are needed");
    let plan = backup::plan(&site.home(), &site.settings).unwrap();
    assert!(matches!(plan.check_space(), Err(BackupError::NoSpace { need, .. }) if need > 3 << 20));
    // Somebody else fills the disk after the check.
    let error = site.made("late").unwrap_err();
    assert!(matches!(error, BackupError::Full { .. }), "{error}");
    assert_eq!(std::fs::read_dir(site.at("small")).unwrap().count(), 0, "something is left");
}

#[test]
fn what_a_dead_run_left_is_removed_and_never_listed() {
    let site = Site::new();
    let dead = site.at(".wemixvisor-backup-dead-20260101-000000.partial");
    put(&dead.join("files/home/data/x"), "half");
    assert_eq!(site.json(&["list"]).as_array().unwrap().len(), 0);
    site.json(&["create"]);
    assert!(!dead.exists());
}

#[test]
fn a_file_that_changes_under_the_copy_is_noticed() {
    let site = Site::empty();
    std::fs::write(site.at("data/a"), vec![1; 3 << 20]).unwrap();
    let plan = backup::plan(&site.home(), &site.settings).unwrap();
    let make = |live: bool| {
        let meta = Meta { made_at: AT, release: None, height: None, live };
        backup::snapshot(&plan, "x", &meta, &mut |_| {
            std::fs::write(site.at("data/a"), vec![2; 4 << 20]).unwrap();
        })
    };
    if plan.reflink {
        eprintln!("skipped: files are shared here, not copied");
        return;
    }
    assert!(matches!(make(false), Err(BackupError::Moving(path)) if path.ends_with("data/a")));
    assert_eq!(site.names(), ["data", "wemixvisor"], "nothing of it is left");
    assert!(make(true).unwrap().manifest().live);
}

#[test]
fn a_running_node_is_copied_only_when_asked() {
    let site = Site::new();
    let lock = std::fs::File::create(site.at("wemixvisor/node.lock")).unwrap();
    lock.lock().unwrap();
    let shares = backup::plan(&site.home(), &site.settings).unwrap().reflink;
    if !shares {
        site.refused(&["create"], "--live");
    }
    assert_eq!(site.json(&["create", "--live"])["live"], true);
    // An agent whose node is down may start it at any moment.
    lock.unlock().unwrap();
    let lock = std::fs::File::create(site.at("wemixvisor/lock")).unwrap();
    lock.lock().unwrap();
    if !shares {
        site.refused(&["create"], "--live");
    }
    lock.unlock().unwrap();
    assert_eq!(site.json(&["create"])["live"], false);
}

#[test]
fn digests_come_after_a_clone() {
    let mut site = Site::empty();
    let Some(_mounted) = Mounted::reflink(&site.at("disk"), &site.at("image")) else { return };
    site.settings.node.data_dir = site.at("disk/data");
    site.settings.backup.dir = site.at("disk/backups");
    std::fs::create_dir_all(site.at("disk/data")).unwrap();
    std::fs::write(site.at("disk/data/a"), vec![7; 1 << 20]).unwrap();
    std::fs::write(site.at("disk/data/empty"), "").unwrap();
    let plan = backup::plan(&site.home(), &site.settings).unwrap();
    assert!(plan.reflink && plan.need() < 17 << 20);
    let mut made = site.made("shared").unwrap();
    assert!(!made.manifest().sealed && made.manifest().totals.shared >= 1);
    // The node runs again, and what it writes is not in the backup.
    std::fs::write(site.at("disk/data/a"), "new").unwrap();
    assert!(!made.verify(&mut |_| ()).unwrap().good());
    let sealed = backup::seal_all(&site.settings.backup.dir, &mut |_| ());
    assert!(matches!(sealed.as_slice(), [(_, Ok(()))]));
    made = Backup::open(made.folder()).unwrap();
    let verdict = made.verify(&mut |_| ()).unwrap();
    assert!(verdict.good() && verdict.bytes == 1 << 20, "{verdict:?}");
    let options = backup::Options { at: AT, keep_old: false, force: false };
    let source = backup::Source::Own(Box::new(made));
    backup::restore(&site.home(), &site.settings, &source, options, &mut |_| ()).unwrap();
    assert_eq!(std::fs::read(site.at("disk/data/a")).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn an_unsealed_backup_is_shown_sealed_and_only_then_restored() {
    let site = Site::new();
    let backup = site.made("later").unwrap();
    let list = std::fs::read_to_string(backup.folder().join("entries.jsonl")).unwrap();
    // As a clone leaves it: without digests.
    let bare: String = list
        .lines()
        .map(|line| {
            let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry.as_object_mut().unwrap().remove("sha256");
            format!("{entry}\n")
        })
        .collect();
    std::fs::remove_file(backup.folder().join("entries.jsonl")).unwrap();
    std::fs::write(backup.folder().join("unsealed.jsonl"), &bare).unwrap();
    let entries = common::release::Digest::of(bare.as_bytes());
    let unsealed = manifest::Manifest { sealed: false, entries, ..backup.manifest().clone() };
    manifest::write(backup.folder(), &unsealed).unwrap();

    assert_eq!(site.json(&["list"])[0]["state"], "unsealed");
    let said = site.run(&["verify"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stdout).contains("not sealed"));
    site.refused(&["restore", &backup.name(), "--yes"], "not sealed");
    assert_eq!(site.json(&["verify", "--seal"])[0]["good"], true);
    assert_eq!(std::fs::read_to_string(backup.folder().join("entries.jsonl")).unwrap(), list);
    assert!(!backup.folder().join("unsealed.jsonl").exists());
    site.json(&["restore", &backup.name(), "--yes"]);
}

#[test]
fn old_ones_are_pruned_and_nothing_else() {
    let site = Site::empty();
    put(&site.at("data/x"), "x");
    put(&site.at("data-backup-2020-1-1/x"), "x");
    put(&site.at("wemixvisor-backup-mine/x"), "x");
    let plan = backup::plan(&site.home(), &site.settings).unwrap();
    for day in 0..5 {
        let made_at = UnixMs(AT.0 + day * 86_400_000);
        let meta = Meta { made_at, release: None, height: None, live: false };
        backup::snapshot(&plan, "d", &meta, &mut |_| ()).unwrap();
    }
    let before = site.names();
    let dry = site.json(&["prune", "--keep", "2", "--dry-run"]);
    assert_eq!((dry["removed"].as_array().unwrap().len(), site.names()), (3, before));
    let done = site.json(&["prune", "--keep", "2"]);
    assert_eq!(done["removed"], dry["removed"]);
    let done = site.json(&["prune", "--max-age", "1s", "--keep", "0"]);
    assert_eq!(done["kept"].as_array().unwrap().len(), 1, "the newest stays");
    assert_eq!(
        site.names(),
        [
            "data",
            "data-backup-2020-1-1",
            "wemixvisor",
            "wemixvisor-backup-d-20260106-030405",
            "wemixvisor-backup-mine"
        ]
    );
}
