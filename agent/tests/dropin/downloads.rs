//! Releases that a plan names by address, as cosmovisor's plans do.
use crate::guest::Guest;
use crate::server::{Say, Server};
use crate::support::release::release_bytes;
use crate::support::{alive, wait};
use common::release::Digest;
use common::wire::v1::FaultCode;
use serde_json::{Value, json};
use std::io::{Cursor, Write};

fn zip(member: &str, bytes: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::CompressionMethod::Stored;
    let options = zip::write::SimpleFileOptions::default().compression_method(stored);
    writer.start_file(member, options.unix_permissions(0o755)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

/// A file that is served, and its address with its checksum.
fn served(server: &Server, path: &str, bytes: Vec<u8>) -> String {
    let url = server.url(&format!("{path}?checksum=sha256:{}", Digest::of(&bytes)));
    server.on(path, [Say::File(bytes)]);
    url
}

fn map(url: &str) -> String {
    let platforms = ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"];
    let map: serde_json::Map<String, Value> =
        platforms.iter().map(|p| ((*p).to_owned(), url.into())).collect();
    json!({"binaries": map}).to_string()
}

fn downloading(behaviour: &Value) -> Guest {
    let mut guest = Guest::cosmovisor(behaviour);
    guest.set("DAEMON_ALLOW_DOWNLOAD_BINARIES", "true");
    guest.set("DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM", "true");
    guest.set("WEMIXVISOR_DOWNLOAD_HTTP", "true");
    guest.set("WEMIXVISOR_DOWNLOAD_PRIVATE", "true");
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_chain_names_its_releases_one_after_the_other() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start());
    let raw = release_bytes(&json!({"version": "4.0.0"}));
    let info = map(&served(&server, "/raw_binary/geth", raw.clone()));
    let plan = json!({"name": "chain4", "height": 1100, "info": info});
    // Below `bin` in its archive, behind a document that is named instead of the map.
    let third = release_bytes(&json!({"version": "3.0.0", "plan": plan, "plan_at": 0, "block_ms": 2}));
    let archive = map(&served(&server, "/chain3-zip_dir/geth.zip", zip("bin/geth", &third)));
    let document = served(&server, "/ref_to_chain3.json", archive.into_bytes());
    let plan = json!({"name": "chain3", "height": 936, "info": format!("{document} ")});
    // At the root of its archive, in the map of the plan.
    let second = release_bytes(&json!({"version": "2.0.0", "plan": plan, "plan_at": 0, "block_ms": 2}));
    let info = map(&served(&server, "/chain2-zip_bin/geth.zip", zip("geth", &second)));
    let plan = json!({"name": "chain2", "height": 149, "info": info.clone()});
    let mut guest = downloading(&json!({"version": "1.0.0", "plan": plan, "plan_at": 0, "block_ms": 2}));
    guest.set("COSMOVISOR_CUSTOM_PREUPGRADE", "preupgrade.sh");
    guest.write("cosmovisor/preupgrade.sh", "#!/bin/sh\necho OK >> upgrade_name_$1_height_$2\n");
    guest.start(&["--halt"]);
    wait("chain4", || (guest.current() == "upgrades/chain4").then_some(()));
    guest.runs("chain4", "upgrades/chain4");
    for (name, height) in [("chain2", 149), ("chain3", 936), ("chain4", 1100)] {
        assert_eq!(guest.text(&format!("upgrade_name_{name}_height_{height}")), "OK\n");
        let applied = guest.text(&format!("cosmovisor/upgrades/{name}/upgrade-info.json"));
        let applied: Value = serde_json::from_str(&applied).unwrap();
        assert_eq!((&applied["name"], &applied["height"]), (&json!(name), &json!(height)));
    }
    let applied: Value =
        serde_json::from_str(&guest.text("cosmovisor/upgrades/chain2/upgrade-info.json")).unwrap();
    assert_eq!(applied["info"], json!(info), "its info is kept as it came");
    let lives: Vec<usize> =
        ["1", "2", "3", "4"].map(|v| guest.host.count(&format!("started {v}.0.0"))).to_vec();
    assert_eq!((lives, guest.host.count("term")), (vec![1, 1, 1, 1], 3), "{:?}", guest.host.events());
    assert_eq!(std::fs::read(guest.at("cosmovisor/upgrades/chain4/bin/geth")).unwrap(), raw);
    guest.stop();
}

#[test]
fn what_cannot_be_believed_leaves_nothing_and_stops_nothing() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start());
    let good = release_bytes(&json!({"version": "2.0.0"}));
    server.on("/good", [Say::File(good.clone())]);
    let with = |path: &str, sum: &str| map(&server.url(&format!("{path}?checksum={sum}")));
    let sum = format!("sha256:{}", Digest::of(&good));
    let mut guest = downloading(&json!({"version": "1.0.0"}));
    // E9d: cosmovisor refuses to fetch into a folder that is there.
    std::fs::create_dir_all(guest.at("cosmovisor/upgrades/v2")).unwrap();
    let plan = |info: &str| json!({"name": "v2", "height": 1, "info": info}).to_string();
    for (row, info, code) in [
        ("E8", with("/good", &format!("sha256:{}", "0".repeat(64))), FaultCode::DigestMismatch),
        ("E9", map(&server.url("/good")), FaultCode::ArtifactUnavailable),
        ("E9c", with("/gone", &sum), FaultCode::ArtifactUnavailable),
    ] {
        guest.host.plan(&plan(&info));
        guest.start(&[]);
        let fault = wait(row, || guest.host.status()?.report.fault);
        assert_eq!(fault.code, code, "{row}: {fault:?}");
        assert!(row != "E9" || fault.detail.contains("no checksum"), "{fault:?}");
        let pid = guest.host.healthy();
        // The next start, which in cosmovisor took what was left for the release.
        guest.host.kill_agent();
        guest.start(&[]);
        wait(row, || guest.host.status()?.report.fault);
        assert_eq!((alive(pid), guest.host.count("term"), guest.current().as_str()), (true, 0, "genesis"));
        let left: Vec<_> =
            guest.tree().into_iter().filter(|(p, _)| p.ends_with("upgrades/v2/bin/geth")).collect();
        assert!(left.is_empty(), "{row}: {left:?}");
        guest.host.kill_agent();
    }
    guest.host.plan(&plan(&with("/good", &sum)));
    guest.start(&[]);
    guest.runs("v2", "upgrades/v2");
    assert_eq!((guest.host.count("started 1.0.0"), guest.host.count("term")), (1, 1));
    guest.stop();
}
