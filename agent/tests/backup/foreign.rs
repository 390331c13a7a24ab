//! Backups of cosmovisor and wemixvisor v0.x: shown, never touched, restored when asked with --force.
use crate::site::{Site, age, put, tree};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::Path;
use tar::{Builder, EntryType, Header};

const ARCHIVE: &str = "backups/manual-20250102-030405.tar.gz";

/// One member of an archive; the name is written as it is, however hostile.
fn member(out: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, content: &str) {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o640 });
    header.set_mtime(1_500_000_000);
    let linked = matches!(kind, EntryType::Symlink | EntryType::Link);
    if linked {
        header.set_link_name_literal(content).unwrap();
    }
    let bytes = if linked { &[] } else { content.as_bytes() };
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    out.append(&header, bytes).unwrap();
}

/// Name, kind, and content or where a link leads.
type Member = (&'static str, EntryType, &'static str);

fn archive(site: &Site, members: &[(&str, EntryType, &str)]) {
    let mut out = Builder::new(Vec::new());
    members.iter().for_each(|(name, kind, content)| member(&mut out, name, *kind, content));
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(&out.into_inner().unwrap()).unwrap();
    std::fs::create_dir_all(site.at("backups")).unwrap();
    std::fs::write(site.at(ARCHIVE), zipped.finish().unwrap()).unwrap();
}

#[test]
fn cosmovisors_folders_are_restored_with_force() {
    let site = Site::new();
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(site.data())
        .arg(site.at("data-backup-2026-1-2"))
        .status();
    assert!(status.unwrap().success());
    let saved = tree(&site.at("data-backup-2026-1-2"));
    put(&site.at("data/young"), "x");
    put(&site.at("data/extra.key"), "secret");
    let list = site.json(&["list"]);
    assert_eq!(
        (list[0]["state"].as_str(), list[0]["made_at"].as_u64()),
        (Some("foreign"), Some(1_767_312_000_000))
    );
    site.refused(&["restore", "data-backup-2026-1-2", "--yes"], "--force");
    assert!(site.at("data/young").exists());
    site.json(&["restore", "data-backup-2026-1-2", "--yes", "--force"]);
    let mut now = tree(&site.data());
    assert!(now.remove(Path::new("extra.key")).unwrap().contains("file"), "keys are carried over");
    assert_eq!(now, saved);
    assert_eq!(tree(&site.at("data-backup-2026-1-2")), saved);
    assert_eq!(
        site.json(&["prune", "--keep", "1", "--max-age", "1s"])["removed"].as_array().unwrap().len(),
        0
    );
}

#[test]
fn archives_of_v0_are_restored_with_force() {
    let site = Site::new();
    archive(
        &site,
        &[
            ("data/", EntryType::Directory, ""),
            ("data/geth/LOCK", EntryType::Regular, ""),
            ("data/geth/chaindata/1", EntryType::Regular, "blocks"),
            ("data/geth/link", EntryType::Symlink, "chaindata/1"),
        ],
    );
    assert_eq!(site.json(&["list"])[0]["state"], "foreign");
    let name = ARCHIVE.strip_prefix("backups/").unwrap();
    site.refused(&["restore", name, "--yes"], "--force");
    site.refused(&["verify", name], "");
    let done = site.json(&["restore", name, "--yes", "--force"]);
    assert_eq!((done["files"].as_u64(), done["bytes"].as_u64()), (Some(2), Some(6)));
    let now = tree(&site.data());
    assert!(now[Path::new("geth/chaindata/1")].starts_with("file 100640 1500000000.0"), "{now:?}");
    assert!(now[Path::new("geth/link")].starts_with("link"));
    assert!(!now.contains_key(Path::new("tool")), "what is not in it goes");
    assert!(now.contains_key(Path::new("keystore/UTC--1")), "but keys stay");
}

#[test]
fn archives_that_lead_elsewhere_are_refused_with_nothing_written() {
    use EntryType::{Directory, Fifo, Link, Regular, Symlink};
    let first = ("data/fine", Regular, "fine");
    let cases: Vec<(&str, Vec<Member>)> = vec![
        ("up", vec![first, ("data/../../evil", Regular, "x")]),
        ("up at once", vec![first, ("../evil", Regular, "x")]),
        ("absolute", vec![first, ("/tmp/wemixvisor-evil", Regular, "x")]),
        ("beside", vec![first, ("wemixvisor/ledger.json", Regular, "x")]),
        ("link out", vec![first, ("data/l", Symlink, "../wemixvisor")]),
        ("absolute link", vec![first, ("data/l", Symlink, "/etc")]),
        ("link for the root", vec![("data", Symlink, "elsewhere")]),
        ("hard link", vec![first, ("data/h", Link, "/etc/passwd")]),
        ("fifo", vec![first, ("data/p", Fifo, "")]),
        (
            "through a link",
            vec![("data/d", Directory, ""), ("data/l", Symlink, "d"), ("data/l/x", Regular, "x")],
        ),
        ("over a link", vec![("data/d", Regular, "x"), ("data/l", Symlink, "d"), ("data/l", Regular, "y")]),
        ("nothing", vec![]),
    ];
    for (case, members) in cases {
        let site = Site::new();
        archive(&site, &members);
        age(&site.data());
        let (data, all) = (tree(&site.data()), site.names());
        let output = site.run(&["restore", site.at(ARCHIVE).to_str().unwrap(), "--yes", "--force"]);
        assert_eq!(output.status.code(), Some(1), "{case}: {output:?}");
        assert_eq!((tree(&site.data()), site.names()), (data, all), "{case}: {output:?}");
        assert!(!site.at("wemixvisor/ledger.json").exists(), "{case}");
        assert!(!Path::new("/tmp/wemixvisor-evil").exists(), "{case}");
    }
}

#[test]
fn a_truncated_archive_is_refused() {
    let site = Site::new();
    let content = "0123456789".repeat(5000);
    archive(&site, &[("data/a", EntryType::Regular, &content), ("data/b", EntryType::Regular, &content)]);
    let whole = std::fs::read(site.at(ARCHIVE)).unwrap();
    let before = tree(&site.data());
    for length in [0, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        std::fs::write(site.at(ARCHIVE), &whole[..length]).unwrap();
        site.refused(&["restore", site.at(ARCHIVE).to_str().unwrap(), "--yes", "--force"], "damaged");
        assert_eq!(tree(&site.data()), before);
    }
}
