//! Archives, good and hostile.
use crate::server::Say;
use crate::site::{Site, any, script, sum};
use common::wire::v1::FaultCode;
use flate2::write::GzEncoder;
use std::io::{Cursor, Write};
use tar::{Builder, EntryType, Header};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const BAD: FaultCode = FaultCode::BinaryUnusable;

/// A tar archive with entries as they are said, names and all.
pub fn tar(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name_literal(bytes).unwrap();
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        } else {
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tgz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> = entries.iter().map(|(n, b)| (*n, EntryType::Regular, *b)).collect();
    gzip(&tar(&entries))
}

fn zipped(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(method).unix_permissions(0o755);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zipped(entries, CompressionMethod::Deflated)
}

/// A zip archive whose raw bytes were changed, in every place.
fn changed(mut archive: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        archive.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|i| archive[*i..*i + from.len()].copy_from_slice(to));
    archive
}

async fn unpacks(what: &str, path: &str, archive: Vec<u8>, executable: &[u8]) {
    let site = Site::new().await;
    let query = if path.contains('?') { '&' } else { '?' };
    let url = site.server.url(&format!("{path}{query}checksum={}", sum(&archive)));
    site.server.on(path.split('?').next().unwrap(), [Say::File(archive)]);
    site.fetched(what, &any(&url), executable).await;
}

async fn refused(what: &str, path: &str, archive: Vec<u8>, words: &str) {
    let site = Site::new().await;
    let url = site.server.url(&format!("{path}?checksum={}", sum(&archive)));
    site.server.on(path, [Say::File(archive)]);
    site.refused(what, &any(&url), BAD, words).await;
}

#[tokio::test]
async fn the_executable_is_found() {
    let bytes = script(200_000);
    let noise: &[u8] = b"noise";
    for member in ["geth", "bin/geth", "./geth", "./bin/./geth"] {
        let entries = [("README.md", noise), (member, &bytes[..]), ("lib/bin/geth", noise)];
        unpacks(member, "/v2.tar.gz", tgz(&entries), &bytes).await;
        unpacks(member, "/v2.TGZ", tgz(&entries), &bytes).await;
        let plain: Vec<_> = entries.iter().map(|(n, b)| (*n, EntryType::Regular, *b)).collect();
        unpacks(member, "/v2.tar", tar(&plain), &bytes).await;
        unpacks(member, "/download?archive=tar", tar(&plain), &bytes).await;
        unpacks(member, "/v2.zip", zip(&entries), &bytes).await;
        unpacks(member, "/v2?archive=zip", zipped(&entries, CompressionMethod::Stored), &bytes).await;
    }
    let two = [gzip(&tar(&[])[..0]), tgz(&[("geth", &bytes)])].concat();
    unpacks("several gzip members", "/v2.tgz", two, &bytes).await;
}

#[tokio::test]
async fn names_in_entries_of_their_own() {
    let bytes = script(1000);
    let long = format!("{}\0", "a/".repeat(200));
    let global: &[u8] = b"19 comment=whatever\n";
    let entries = [
        ("pax_global_header", EntryType::XGlobalHeader, global),
        ("././@LongLink", EntryType::GNULongName, long.as_bytes()),
        ("a", EntryType::Regular, b"noise"),
        ("bin/", EntryType::Directory, b""),
        ("PaxHeaders/x", EntryType::XHeader, b"17 path=bin/geth\n"),
        ("other", EntryType::Regular, &bytes),
        ("geth-notes", EntryType::Regular, b"noise"),
    ];
    unpacks("pax and GNU names", "/v2.tar", tar(&entries), &bytes).await;
}

#[tokio::test]
async fn not_the_one_executable() {
    let bytes = script(1000);
    for (pack, path) in [(tgz as fn(&[(&str, &[u8])]) -> Vec<u8>, "/v2.tgz"), (zip, "/v2.zip")] {
        let missing = pack(&[("geth-v2/geth", &bytes), ("README", b"x")]);
        refused(
            "not there",
            path,
            missing,
            "does not contain bin/geth or geth; it has: geth-v2/geth, README",
        )
        .await;
        refused("empty archive", path, pack(&[]), "it has: no file").await;
        refused("both names", path, pack(&[("geth", &bytes), ("bin/geth", &bytes)]), "ambiguous").await;
        refused("empty", path, pack(&[("geth", b"")]), "empty").await;
        refused("a page", path, pack(&[("geth", b"<html>")]), "<html>").await;
        refused("no archive at all", path, bytes.clone(), "cannot be read").await;
        let mut cut = pack(&[("geth", &script(100_000)), ("x", &[7; 9000])]);
        cut.truncate(cut.len() / 2);
        refused("truncated", path, cut, "cannot be read").await;
    }
    let folder = tar(&[("bin/geth", EntryType::Directory, b"")]);
    refused("a folder", "/v2.tar", folder, "does not contain").await;
    let twice = tgz(&[("geth", &bytes), ("./geth", &bytes)]);
    refused("twice", "/v2.tgz", twice, "ambiguous").await;
    let flagged = changed(zip(&[("geth", &bytes)]), b"PK\x01\x02", b"PK\x01\x03");
    refused("broken list", "/v2.zip", flagged, "cannot be read").await;
    let stored = zipped(&[("geth", &bytes)], CompressionMethod::Stored);
    refused("broken content", "/v2.zip", changed(stored, b"exit 0", b"exit 1"), "cannot be read").await;
}

#[tokio::test]
async fn what_would_escape() {
    let bytes = script(1000);
    let good = ("geth", EntryType::Regular, &bytes[..]);
    for evil in ["/etc/evil", "../evil", "a/../../evil", "bin/..", "a\\..\\evil"] {
        for entries in
            [[good, (evil, EntryType::Regular, &b"x"[..])], [(evil, EntryType::Regular, b"x"), good]]
        {
            refused(evil, "/v2.tar", tar(&entries), "hostile").await;
            refused(evil, "/v2.tgz", gzip(&tar(&entries)), "hostile").await;
            // The writer of zip archives mends names, so they are changed afterwards.
            let harmless = "z".repeat(evil.len());
            let entries: Vec<_> =
                entries.iter().map(|(n, _, b)| (if *n == evil { &harmless[..] } else { n }, *b)).collect();
            let archive = changed(zip(&entries), harmless.as_bytes(), evil.as_bytes());
            refused(evil, "/v2.zip", archive, "hostile").await;
        }
    }
    let long = ("././@LongLink", EntryType::GNULongName, &b"../../evil\0"[..]);
    refused("long name", "/v2.tar", tar(&[good, long, ("x", EntryType::Regular, b"x")]), "hostile").await;
    let pax = ("x", EntryType::XHeader, &b"14 path=/evil\n"[..]);
    refused("pax name", "/v2.tar", tar(&[good, pax, ("x", EntryType::Regular, b"x")]), "hostile").await;
}

#[tokio::test]
async fn links_and_devices() {
    let bytes = script(1000);
    let good = ("bin/geth", EntryType::Regular, &bytes[..]);
    for kind in [EntryType::Symlink, EntryType::Link] {
        refused("the member is one", "/v2.tar", tar(&[("geth", kind, b"/bin/sh")]), "no plain file").await;
        refused("another is one", "/v2.tar", tar(&[good, ("lib", kind, b"/etc")]), "no plain file").await;
    }
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse] {
        refused("a device", "/v2.tar", tar(&[good, ("x", kind, b"")]), "no plain file").await;
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("geth", "/bin/sh", SimpleFileOptions::default()).unwrap();
    let archive = writer.finish().unwrap().into_inner();
    refused("zip link", "/v2.zip", archive, "no plain file").await;
}

#[tokio::test]
async fn bombs_stop_at_the_cap() {
    let (bytes, zeros) = (script(1000), vec![0; 8 << 20]);
    refused("zip member", "/v2.zip", zip(&[("geth", &zeros)]), "more than").await;
    refused("zip neighbour", "/v2.zip", zip(&[("geth", &bytes), ("x", &zeros)]), "more than").await;
    refused("tar member", "/v2.tgz", tgz(&[("geth", &zeros)]), "more than").await;
    refused("tar neighbour", "/v2.tgz", tgz(&[("geth", &bytes), ("x", &zeros)]), "more than").await;
    let mebibyte = &zeros[..1 << 20];
    let many: Vec<(String, &[u8])> = (0..8).map(|i| (format!("x{i}"), mebibyte)).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    refused("many", "/v2.tgz", tgz(&[&[("geth", &bytes[..])], &many[..]].concat()), "more than").await;
    // A zip entry that says it is small.
    let size = (zeros.len() as u32).to_le_bytes();
    let liar = changed(zip(&[("geth", &zeros)]), &size, &1000_u32.to_le_bytes());
    refused("a liar", "/v2.zip", liar, "").await;
    let long = tar(&[("././@LongLink", EntryType::GNULongName, &zeros[..1 << 20])]);
    refused("a long name", "/v2.tgz", gzip(&long), "too long").await;
    let pax = tar(&[("x", EntryType::XHeader, b"13 size=9999\n"), ("geth", EntryType::Regular, &bytes)]);
    refused("two sizes", "/v2.tar", pax, "changes a size").await;
}

#[tokio::test]
async fn other_archives_are_refused_by_name() {
    let site = Site::new().await;
    for path in ["/geth.tar.xz", "/geth.tar.bz2", "/geth.gz", "/geth.7z"] {
        let url = site.server.url(&format!("{path}?checksum={}", sum(b"x")));
        site.refused(path, &any(&url), FaultCode::NoArtifact, "is not unpacked here").await;
    }
    assert_eq!(site.server.asked(), []);
}
