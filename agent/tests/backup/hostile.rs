//! A backup that is not what was saved, or that leads elsewhere, is refused with nothing written.
use crate::site::{Site, put, tree};
use agent::host::backup::{Backup, manifest};
use common::release::Digest;
use serde_json::json;
use std::path::Path;

#[test]
fn a_tampered_backup_is_refused() {
    type Tamper = fn(&Path);
    let cases: [(&str, &str, Tamper); 7] = [
        ("content", "1 changed", |b| put(&b.join("files/home/data/geth/chaindata/000001.sst"), "blockz")),
        ("length", "1 changed", |b| put(&b.join("files/home/data/tool"), "#!x")),
        ("missing", "1 missing", |b| std::fs::remove_file(b.join("files/home/data/tool")).unwrap()),
        ("extra", "1 extra", |b| put(&b.join("files/home/data/geth/more"), "x")),
        ("kind", "1 changed", |b| {
            let path = b.join("files/home/data/tool");
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        }),
        ("list", "digest", |b| {
            let path = b.join("entries.jsonl");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replacen("tool", "toot", 1)).unwrap();
        }),
        ("manifest", "checksum", |b| {
            let path = b.join("manifest.json");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replacen("\"height\": 42", "\"height\": 43", 1)).unwrap();
        }),
    ];
    for (case, says, tamper) in cases {
        let site = Site::new();
        let backup = site.made("good").unwrap();
        tamper(backup.folder());
        put(&site.at("data/now"), "now");
        let (data, all) = (tree(&site.data()), site.names());
        site.refused(&["restore", &backup.name(), "--yes"], says);
        assert_eq!((tree(&site.data()), site.names()), (data, all), "{case}");
        let output = site.run(&["verify", &backup.name()]);
        assert_eq!(output.status.code(), Some(1), "{case}: {output:?}");
    }
}

/// A backup whose list and manifest fit each other and say what they should not.
fn forged(site: &Site, roots: &[&str], list: &[serde_json::Value]) -> Backup {
    let made = site.made("forged").unwrap();
    let text: String = list.iter().map(|e| format!("{e}\n")).collect();
    std::fs::write(made.folder().join("entries.jsonl"), &text).unwrap();
    let roots = roots.iter().map(|r| (*r).to_owned().try_into().unwrap()).collect();
    let entries = Digest::of(text.as_bytes());
    manifest::write(made.folder(), &manifest::Manifest { roots, entries, ..made.manifest().clone() })
        .unwrap();
    // The files are there, so that only the paths are wrong.
    std::fs::remove_dir_all(made.folder().join("files")).unwrap();
    std::fs::create_dir(made.folder().join("files")).unwrap();
    for entry in list {
        let path = entry["path"].as_str().unwrap().replace("%2e", ".");
        let path = made.folder().join("files").join(path.trim_start_matches('/'));
        if entry.get("size").is_some() && !path.components().any(|c| c.as_os_str() == "..") {
            std::fs::remove_file(path.parent().unwrap()).unwrap_or_default();
            put(&path, "evil");
        } else if let Some(link) = entry.get("link") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(link.as_str().unwrap(), path).unwrap();
        } else {
            std::fs::create_dir_all(path).unwrap_or_default();
        }
    }
    made
}

#[test]
fn a_manifest_that_leads_elsewhere_is_refused() {
    let evil = |path: &str| json!({"path": path, "mode": 0o644, "mtime_ns": 0, "size": 4, "sha256": Digest::of(b"evil")});
    let folder = |path: &str| json!({"path": path, "mode": 0o755, "mtime_ns": 0});
    let link = |path: &str, to: &str| json!({"path": path, "mode": 0o777, "mtime_ns": 0, "link": to});
    let cases = [
        ("up", vec!["home/data"], vec![folder("home/data"), evil("home/data/../../evil")]),
        ("hidden up", vec!["home/data"], vec![folder("home/data"), evil("home/data/%2e%2e/evil")]),
        ("absolute", vec!["home/data"], vec![folder("home/data"), evil("/tmp/wemixvisor-evil")]),
        (
            "other root",
            vec!["home/data"],
            vec![folder("home/data"), folder("home/other"), evil("home/other/x")],
        ),
        (
            "through a link",
            vec!["home/data"],
            vec![folder("home/data"), link("home/data/l", "../wemixvisor"), evil("home/data/l/ledger.json")],
        ),
        ("a link for the root", vec!["home/data"], vec![link("home/data", "/etc")]),
        (
            "the supervisor",
            vec!["home/wemixvisor"],
            vec![folder("home/wemixvisor"), evil("home/wemixvisor/x")],
        ),
        (
            "the supervisor in a home",
            vec!["home"],
            vec![folder("home"), folder("home/wemixvisor"), evil("home/wemixvisor/ledger.json")],
        ),
        ("a link of the home", vec!["home/out/x"], vec![folder("home/out/x"), evil("home/out/x/evil")]),
        ("nothing", vec!["home/data", "home/gone"], vec![folder("home/data")]),
    ];
    for (case, roots, list) in cases {
        let site = Site::new();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), site.at("out")).unwrap();
        let backup = forged(&site, &roots, &list);
        let (data, all) = (tree(&site.data()), site.names());
        let output = site.run(&["restore", &backup.name(), "--yes"]);
        assert_eq!(output.status.code(), Some(1), "{case}: {output:?}");
        assert_eq!((tree(&site.data()), site.names()), (data, all), "{case}: {output:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "{case}");
        assert_eq!(std::fs::read_dir(site.at("wemixvisor/fleet")).unwrap().count(), 1, "{case}");
        assert!(!site.at("wemixvisor/ledger.json").exists() && !site.at("wemixvisor/x").exists(), "{case}");
    }
}

#[test]
fn modes_lend_nobody_rights() {
    let site = Site::new();
    let file = json!({"path": "home/data/s", "mode": 0o6755, "mtime_ns": 0, "size": 4, "sha256": Digest::of(b"evil")});
    let backup =
        forged(&site, &["home/data"], &[json!({"path": "home/data", "mode": 0o700, "mtime_ns": 0}), file]);
    site.json(&["restore", &backup.name(), "--yes"]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(site.at("data/s").metadata().unwrap().mode() & 0o7777, 0o755);
}
