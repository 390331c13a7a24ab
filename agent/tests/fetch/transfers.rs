//! Servers and lines that fail, and files that are not what they should be.
use crate::server::{Say, Server};
use crate::site::{Site, any, name, script, sum};
use common::time::Span;
use common::wire::v1::FaultCode;
use std::sync::Mutex;

const GONE: FaultCode = FaultCode::ArtifactUnavailable;

/// What is asked of the server when it answers like this, and the file arrives all the same.
async fn arrives(what: &str, answers: Vec<Say>, bytes: &[u8]) -> Vec<(Option<String>, bool)> {
    let site = Site::new().await;
    site.server.on("/geth", answers);
    let url = site.server.url(&format!("/geth?checksum={}", sum(bytes)));
    site.fetched(what, &any(&url), bytes).await;
    let ranges = site.server.asked().into_iter().filter(|a| a.path == "/geth");
    ranges.map(|a| (a.headers.get("range").cloned(), a.headers.contains_key("if-range"))).collect()
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    let bytes = script(5000);
    for status in [500, 502, 503, 504, 408, 425, 429] {
        let answers = vec![Say::Status(status), Say::File(bytes.clone())];
        assert_eq!(arrives(&status.to_string(), answers, &bytes).await.len(), 2, "{status}");
    }
}

#[tokio::test]
async fn a_broken_transfer_is_continued() {
    let bytes = script(400_000);
    let rest = |from: usize, named: bool| (Some(format!("bytes={from}-")), named);
    let cut = |at: usize| Say::Cut(bytes.clone(), at);
    let asked = arrives("cut twice", vec![cut(100_000), cut(50_000), Say::File(bytes.clone())], &bytes).await;
    assert_eq!(asked, [(None, false), rest(100_000, true), rest(150_000, true)]);

    let asked = arrives("ignores Range", vec![cut(100_000), Say::Whole(bytes.clone())], &bytes).await;
    assert_eq!(asked, [(None, false), rest(100_000, true)]);

    let old = Say::Cut(vec![b'x'; 400_000], 100_000);
    let asked = arrives("changed meanwhile", vec![old, Say::File(bytes.clone())], &bytes).await;
    assert_eq!(asked, [(None, false), rest(100_000, true)]);

    let head = "HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\nxxxxxxxxxx";
    let answers = vec![Say::Raw(head.into()), Say::Unnamed(bytes.clone())];
    let asked = arrives("no validator, another version", answers, &bytes).await;
    assert_eq!(
        asked,
        [(None, false), rest(10, false), (None, false)],
        "joined, seen to be wrong, fetched anew"
    );

    let other = "HTTP/1.1 206 X\r\ncontent-range: bytes 0-9/400000\r\ncontent-length: 10\r\n\r\nxxxxxxxxxx";
    let asked =
        arrives("another part", vec![cut(9), Say::Raw(other.into()), Say::File(bytes.clone())], &bytes);
    assert_eq!(asked.await.last(), Some(&(None, false)), "from the beginning");
    let asked = arrives("416", vec![cut(9), Say::Status(416), Say::File(bytes.clone())], &bytes).await;
    assert_eq!(asked, [(None, false), rest(9, true), (None, false)]);
}

#[tokio::test]
async fn what_an_earlier_agent_left_is_continued() {
    let bytes = script(300_000);
    for (what, part, asked) in [
        ("half of it", &bytes[..150_000], vec![Some("bytes=150000-"), None]),
        ("all of it", &bytes[..], vec![]),
        ("something else", &[b'x'; 1000][..], vec![Some("bytes=1000-"), None]),
        ("more than all", &[b'x'; 300_001][..], vec![Some("bytes=300001-"), None]),
    ] {
        let site = Site::new().await;
        site.server.on("/geth", [Say::File(bytes.clone())]);
        std::fs::create_dir_all(site.home.staging()).unwrap();
        let part_of = site.home.staging().join(format!("{}.part", sum(&bytes).replace(':', "-")));
        std::fs::write(&part_of, part).unwrap();
        std::fs::write(site.home.staging().join("stale.unpacked"), "x").unwrap();
        agent::host::download::clean(&site.home);
        assert_eq!(site.files(), [part_of], "{what}");
        site.fetched(what, &any(&site.server.url(&format!("/geth?checksum={}", sum(&bytes)))), &bytes).await;
        let ranges: Vec<_> = site.server.asked().iter().map(|a| a.headers.get("range").cloned()).collect();
        let ranges: Vec<_> = ranges.iter().map(Option::as_deref).collect();
        assert_eq!(ranges, asked[..ranges.len()], "{what}");
        assert!(ranges.is_empty() == asked.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn lasting_failures_are_not_tried_again() {
    for status in [400, 401, 403, 404, 410, 451] {
        let site = Site::new().await;
        let what = status.to_string();
        site.refuses(&what, Say::Status(status), &sum(b"x"), GONE, &what).await;
        assert_eq!(site.server.count("/geth"), 1, "{status}");
    }
}

#[tokio::test]
async fn wrong_bytes_leave_nothing() {
    let site = Site::new().await;
    let page = b"<!DOCTYPE html><title>not found</title>".to_vec();
    let (bytes, wrong, bad) = (script(5000), FaultCode::DigestMismatch, FaultCode::BinaryUnusable);
    let sum_of = sum(&bytes);
    site.refuses("a page", Say::File(page.clone()), &sum_of, wrong, "did not match").await;
    site.refuses("a page with its checksum", Say::File(page.clone()), &sum(&page), bad, "DOCTYPE").await;
    site.refuses("nothing", Say::File(Vec::new()), &sum(b""), GONE, "no content returned").await;
    let head = "HTTP/1.1 200 OK\r\n\r\n#!/bin/sh\nexit";
    site.refuses("truncated unseen", Say::Raw(head.into()), &sum_of, wrong, "did not match").await;
    let longer = [bytes.clone(), b"#".to_vec()].concat();
    site.refuses("longer", Say::File(longer), &sum_of, wrong, "did not match").await;
    let mut foreign = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    foreign.truncate(5000);
    foreign[18] ^= 0xff;
    let sum_of = sum(&foreign);
    site.refuses("another machine", Say::File(foreign), &sum_of, bad, "this host is").await;
}

#[tokio::test]
async fn the_cap_holds() {
    let mut site = Site::new().await;
    site.settings.max_bytes = 100_000;
    let sum_of = sum(b"x");
    site.refuses("endless", Say::Endless, &sum_of, GONE, "longer than 100000").await;
    site.refuses("one byte too long", Say::File(script(100_001)), &sum_of, GONE, "longer than 100000").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9000000000000000000\r\n\r\n";
    site.refuses("announced", Say::Raw(head.into()), &sum_of, GONE, "longer than 100000").await;
    site.server.on("/geth.sha256", [Say::Endless]);
    site.refused("endless sidecar", &any(&site.server.url("/geth")), GONE, "no checksum").await;
    let exact = script(100_000);
    site.server.on("/geth", [Say::File(exact.clone())]);
    let url = site.server.url(&format!("/geth?checksum={}", sum(&exact)));
    site.fetched("exactly the cap", &any(&url), &exact).await;
}

#[tokio::test]
async fn redirects() {
    let bytes = script(5000);
    let site = Site::new().await;
    site.server.on("/geth", [Say::Redirect("/a".into())]);
    site.server.on("/a", [Say::Redirect(site.server.url("/b"))]);
    site.server.on("/b", [Say::File(bytes.clone())]);
    let url = site.server.url(&format!("/geth?checksum={}", sum(&bytes)));
    site.fetched("within the host", &any(&url), &bytes).await;

    let site = Site::new().await;
    let elsewhere = Server::start().await;
    elsewhere.on("/geth", [Say::File(bytes.clone())]);
    let to = format!("http://localhost:{}/geth", elsewhere.port);
    site.refuses("elsewhere", Say::Redirect(to), &sum(&bytes), GONE, "another host").await;
    assert_eq!(elsewhere.asked(), []);
    site.refuses("a file", Say::Redirect("file:///bin/sh".into()), &sum(&bytes), GONE, "redirects").await;
    let before = site.server.count("/geth");
    site.refuses("in a circle", Say::Redirect("/geth".into()), &sum(&bytes), GONE, "more than 5").await;
    assert_eq!(site.server.count("/geth") - before, 6);
}

#[tokio::test]
async fn time_is_over() {
    let mut site = Site::new().await;
    site.settings.within = Span::secs(1);
    let bytes = script(50_000);
    site.refuses("always busy", Say::Status(503), &sum(&bytes), GONE, "503").await;
    site.refuses("silence", Say::Silence, &sum(&bytes), GONE, "within 1s").await;
    let longer = "HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n#!/bin/sh";
    site.refuses("always too short", Say::Raw(longer.into()), &sum(&bytes), GONE, "after 9 bytes").await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let info = any(&format!("http://{nobody}/geth?checksum={}", sum(&bytes)));
    site.refused("nobody listens", &info, GONE, "refused").await;
    let info = any(&format!("https://{nobody}/geth?checksum={}", sum(&bytes)));
    site.refused("nobody listens, https", &info, GONE, "refused").await;
}

#[tokio::test]
async fn two_at_once_do_not_disturb_each_other() {
    let bytes = script(500_000);
    let site = Site::new().await;
    site.server.on("/geth", [Say::Cut(bytes.clone(), 1000), Say::File(bytes.clone())]);
    let info = any(&site.server.url(&format!("/geth?checksum={}", sum(&bytes))));
    let (one, two) = tokio::join!(site.stage(&info), site.stage(&info));
    assert_eq!(one.unwrap(), two.unwrap());
    site.has_only("both", &bytes);
}

#[tokio::test]
async fn progress_is_told() {
    let bytes = script(300_000);
    let site = Site::new().await;
    site.server.on("/geth", [Say::Cut(bytes.clone(), 100_000), Say::File(bytes.clone())]);
    let info = any(&site.server.url(&format!("/geth?checksum={}", sum(&bytes))));
    let told = Mutex::new(Vec::new());
    let tell = |done, total| told.lock().unwrap().push((done, total));
    let (home, settings) = (&site.home, &site.settings);
    agent::host::fetch::stage_plan(home, settings, None, None, &name("v2"), &info, tell).await.unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.iter().all(|(_, total)| *total == Some(300_000)), "{told:?}");
    assert!(told.is_sorted() && told.contains(&(100_000, Some(300_000))), "{told:?}");
    assert_eq!(told.last(), Some(&(300_000, Some(300_000))));
}

#[tokio::test]
async fn certificates_are_checked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let secret = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![key.cert.der().clone()], secret).unwrap();
    let bytes = script(5000);
    let mut site = Site::beside(Server::start_tls(config).await);
    site.server.on("/geth", [Say::File(bytes.clone())]);
    let info = any(&format!("https://localhost:{}/geth?checksum={}", site.server.port, sum(&bytes)));
    let ca = site.folder.path().join("ca.pem");
    std::fs::write(&ca, "nothing").unwrap();
    site.settings.ca = Some(ca.clone());
    site.refused("no certificate in it", &info, GONE, "ca.pem").await;
    std::fs::write(&ca, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem())
        .unwrap();
    site.refused("unknown", &info, GONE, "certificate is not accepted").await;
    assert_eq!(site.server.asked(), []);
    std::fs::write(&ca, key.cert.pem()).unwrap();
    site.fetched("known", &info, &bytes).await;
}
