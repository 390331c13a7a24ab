//! What a plan names by URL: it is fetched and verified, or refused with its reason and nothing left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#[path = "fetch/archives.rs"]
mod archives;
#[path = "fetch/mirror.rs"]
mod mirror;
#[path = "fetch/server.rs"]
mod server;
#[path = "fetch/signed.rs"]
mod signed;
#[path = "fetch/site.rs"]
mod site;
#[path = "fetch/transfers.rs"]
mod transfers;

use agent::host::fetch::{Algorithm, check_urls, parse_info};
use common::release::Digest;
use common::time::Span;
use common::wire::v1::FaultCode;
use serde_json::json;
use server::{Say, Server};
use site::{Site, any, name, script, sum};

const ALGORITHMS: [Algorithm; 4] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];

fn hex(algorithm: Algorithm, bytes: &[u8]) -> String {
    algorithm.of(bytes).to_string().split_once(':').unwrap().1.to_owned()
}

#[tokio::test]
async fn every_checksum_form() {
    let bytes = script(50_000);
    let server = Server::start().await;
    server.on("/geth", [Say::File(bytes.clone())]);
    let list = format!("{}  other\n{}  geth\n", Digest::of(b"other"), Digest::of(&bytes));
    server.on("/SHA256SUMS", [Say::File(list.into_bytes())]);
    let mut queries = vec![format!("checksum=file:{}", server.url("/SHA256SUMS"))];
    for algorithm in ALGORITHMS {
        let hex = hex(algorithm, &bytes);
        queries.push(format!("checksum={}:{hex}", algorithm.name()));
        queries.push(format!("checksum={}", hex.to_uppercase()));
        queries.push(format!("v=1&checksum={}%3A{hex}&token=x", algorithm.name()));
    }
    for query in queries {
        let site = Site::beside(server.clone());
        site.fetched(&query, &any(&server.url(&format!("/geth?{query}"))), &bytes).await;
    }
    let asked = server.asked().into_iter().filter(|a| a.path.starts_with("/geth"));
    assert!(asked.clone().all(|a| !a.path.contains("checksum")), "the key is ours alone");
    assert!(asked.clone().any(|a| a.path == "/geth?v=1&token=x"), "the rest of the query stays");
}

#[tokio::test]
async fn wrong_checksums() {
    let site = Site::new().await;
    for algorithm in ALGORITHMS {
        let wrong = format!("{}:{}", algorithm.name(), hex(algorithm, b"other"));
        let say = Say::File(script(50_000));
        site.refuses(&wrong, say, &wrong, FaultCode::DigestMismatch, "checksums did not match").await;
    }
    let url = site.server.url("/geth");
    for (text, words) in [("<html>", "does not say"), ("", "no content")] {
        site.server.on("/SUMS", [Say::File(text.into())]);
        let info = any(&format!("{url}?checksum=file:{}", site.server.url("/SUMS")));
        site.refused(text, &info, FaultCode::ArtifactUnavailable, words).await;
    }
    site.refused("no sum", &any(&format!("{url}?checksum=12")), FaultCode::NoArtifact, "no checksum").await;
}

#[tokio::test]
async fn checksums_beside_the_file() {
    let bytes = script(50_000);
    for (suffix, algorithm) in
        [("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512), ("checksum", Algorithm::Sha512)]
    {
        let site = Site::new().await;
        site.server.on("/geth", [Say::File(bytes.clone())]);
        let text = format!("{}  geth\n", hex(algorithm, &bytes).to_uppercase());
        site.server.on(&format!("/geth.{suffix}"), [Say::File(text.into_bytes())]);
        site.fetched(suffix, &any(&site.server.url("/geth?token=x")), &bytes).await;
        assert_eq!(site.server.count(&format!("/geth.{suffix}?token=x")), 1);
    }
    let site = Site::new().await;
    site.server.on("/geth", [Say::File(bytes)]);
    let url = site.server.url("/geth");
    let code = FaultCode::ArtifactUnavailable;
    site.refused("none", &any(&url), code, "has no checksum").await;
    site.server.on("/geth.sha256", [Say::Whole(b"<html>not found</html>".to_vec())]);
    site.refused("a page", &any(&url), code, "has no checksum").await;
    assert_eq!(site.server.count("/geth"), 0, "what cannot be checked is not even asked for");
    let other = hex(Algorithm::Sha256, b"other").into_bytes();
    site.server.on("/geth.sha256", [Say::File(other)]);
    site.refused("wrong", &any(&url), FaultCode::DigestMismatch, "checksums did not match").await;
}

#[tokio::test]
async fn documents_behind_a_url_and_platforms() {
    let bytes = script(1000);
    let site = Site::new().await;
    site.server.on("/geth", [Say::File(bytes.clone())]);
    let url = site.server.url(&format!("/geth?checksum={}", sum(&bytes)));
    let reference = |document: &str| {
        site.server.on("/info.json", [Say::File(document.into())]);
        site.server.url(&format!("/info.json?checksum={}", sum(document.as_bytes())))
    };
    let own = json!({"binaries": {"any": "https://127.0.0.1:1/", agent::host::fetch::platform(): url}});
    site.fetched("a reference", &reference(&own.to_string()), &bytes).await;

    let site = Site::new().await;
    let reference = |document: &str| {
        site.server.on("/info.json", [Say::File(document.into())]);
        site.server.url(&format!("/info.json?checksum={}", sum(document.as_bytes())))
    };
    let nested = reference(&reference("{}"));
    site.refused("nested", &nested, FaultCode::NoArtifact, "yet another document").await;
    let other = reference(r#"{"binaries":{"plan9/mips":"https://r.example.org/g"}}"#);
    site.refused("other platform", &other, FaultCode::NoArtifact, "plan9/mips").await;
    let broken = reference("{\"binaries\":");
    site.refused("broken", &broken, FaultCode::NoArtifact, "could not parse").await;
    let changed = reference("{}").replace("checksum=sha256:", "checksum=sha256:ff");
    let changed = &changed[..changed.len() - 2];
    site.refused("changed", changed, FaultCode::DigestMismatch, "checksums did not match").await;
    let bare = site.server.url("/info.json");
    site.refused("unchecked", &bare, FaultCode::NoArtifact, "without ?checksum=").await;
}

#[tokio::test]
async fn the_form_of_v0_and_what_lies_in_the_way() {
    let bytes = script(1000);
    let site = Site::new().await;
    site.server.on("/geth", [Say::File(bytes.clone())]);
    // What cosmovisor leaves behind: an empty folder, an empty file.
    let binary = site.home.binary(&name("v2"));
    std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
    std::fs::write(&binary, "").unwrap();
    let url = site.server.url("/geth");
    let info =
        json!({"binaries": {"any": url}, "checksum": hex(Algorithm::Sha256, &bytes), "description": "x"});
    site.fetched("v0.x", &info.to_string(), &bytes).await;
    site.fetched("once more", &info.to_string(), &bytes).await;
    assert_eq!(site.server.count("/geth"), 1, "what is in the store is not fetched again");
}

#[tokio::test]
async fn what_is_not_even_tried() {
    let mut site = Site::new().await;
    let bytes = script(1000);
    site.server.on("/geth", [Say::File(bytes.clone())]);
    let query = format!("geth?checksum={}", sum(&bytes));
    let info = any(&site.server.url(&format!("/{query}")));
    let code = FaultCode::ArtifactUnavailable;
    for host in ["r.example.org", "10.0.0.1", "127.0.0.1.example.org"] {
        let info = any(&format!("http://{host}/{query}"));
        site.refused(host, &info, code, "plain http").await;
    }
    site.settings.allowed = false;
    site.refused("not allowed", &info, code, "[download] allowed").await;
    site.settings.allowed = true;
    site.settings.private = false;
    site.refused("plain http", &info, code, "plain http").await;
    site.settings.http = true;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254"] {
        for scheme in ["http", "https"] {
            let info = any(&format!("{scheme}://{host}:{}/{query}", site.server.port));
            site.refused(host, &info, code, "not public").await;
        }
    }
    site.settings.private = true;
    let (home, settings) = (&site.home, &site.settings);
    let genesis = name("genesis");
    let staged = agent::host::fetch::stage_plan(home, settings, None, None, &genesis, &info, |_, _| {});
    assert_eq!(staged.await.unwrap_err().code, FaultCode::NoArtifact, "genesis is taken");
    assert_eq!(site.server.asked(), []);

    // The release that runs is not replaced by other bytes.
    let binary = site.home.binary(&name("v2"));
    std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
    std::fs::write(&binary, "runs").unwrap();
    std::os::unix::fs::symlink("upgrades/v2", site.home.current()).unwrap();
    let fault = site.stage(&info).await.unwrap_err();
    assert!(fault.detail.contains("running"), "{fault:?}");
    assert_eq!((std::fs::read(&binary).unwrap(), site.files()), (b"runs".to_vec(), vec![binary]));
}

#[tokio::test]
async fn urls_are_checked_without_fetching() {
    let mut site = Site::new().await;
    site.settings.within = Span::secs(1);
    let bytes = script(1000);
    let server = &site.server;
    server.on("/good", [Say::File(bytes.clone())]);
    server.on("/bare", [Say::File(bytes.clone())]);
    server.on("/empty", [Say::File(Vec::new())]);
    server.on("/large", [Say::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".into())]);
    server.on("/no-head", [Say::Status(405), Say::File(bytes.clone())]);
    let url = |path: &str| server.url(&format!("/{path}?checksum={}", sum(&bytes)));
    let urls = json!({"a/good": url("good"), "b/bare": server.url("/bare"), "c/empty": url("empty"),
        "d/large": url("large"), "e/missing": url("missing"), "f/nohead": url("no-head")});
    let files = parse_info(&json!({"binaries": urls}).to_string()).unwrap();
    let checks = check_urls(&site.settings, &files).await;
    let said: Vec<(String, String)> = checks
        .into_iter()
        .map(|c| (c.what, c.found.map_or_else(|e| e.to_string(), |size| format!("{} bytes", size.unwrap()))))
        .collect();
    let expected = [
        ("a/good", "1000 bytes"),
        ("b/bare", "has no checksum"),
        ("c/empty", "no content"),
        ("d/large", "longer than"),
        ("e/missing", "404"),
        ("f/nohead", "1000 bytes"),
    ];
    assert_eq!(said.len(), expected.len());
    for ((what, found), (wanted, words)) in said.iter().zip(expected) {
        assert!(what == wanted && found.contains(words), "{what}: {found}");
    }
    let manifest = json!({"manifest": server.url("/good"), "sha256": Digest::of(&bytes)}).to_string();
    let checks = check_urls(&site.settings, &parse_info(&manifest).unwrap()).await;
    let found: Vec<(&str, bool)> = checks.iter().map(|c| (c.what.as_str(), c.found.is_ok())).collect();
    assert_eq!(found, [("manifest", true), ("signatures", false)]);
    assert_eq!(site.files(), Vec::<std::path::PathBuf>::new());
}
