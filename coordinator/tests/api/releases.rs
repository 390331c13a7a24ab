//! What becomes a release, and what is refused without a trace.
use super::bench::{Bench, manifest, problem, told, until};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::IntoResponse as _;
use axum::routing::get;
use common::chain::Hash32;
use common::manifest::Manifest;
use common::release::Digest;
use coordinator::auth::OperatorRole;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const GOOD: &[u8] = b"the bytes of a chain client";

/// A maintainers' download server with a fault for every path but one.
struct Publisher {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn publisher() -> Publisher {
    let announced = || {
        let half = Bytes::from_static(&GOOD[..10]);
        let stream = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
        ([("content-length", GOOD.len().to_string())], Body::from_stream(stream)).into_response()
    };
    let moved = async || (http::StatusCode::FOUND, [("location", "/good")]);
    let router = Router::new()
        .route("/good", get(async || GOOD))
        .route("/short", get(async || &GOOD[..10]))
        .route("/cut", get(async move || announced()))
        .route("/other", get(async || b"the bytes of a chain cliEnt".as_slice()))
        .route("/long", get(async || [GOOD, GOOD].concat()))
        .route("/moved", get(moved));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Publisher { url, task }
}

fn json_of(manifest: &Manifest) -> String {
    serde_json::to_string(manifest).unwrap()
}

async fn refused(bench: &Bench, body: &Value) -> (u16, String) {
    let answer = bench.refused(Method::POST, "/v1/releases", body).await;
    assert_eq!(bench.mirrored(), Vec::<String>::new(), "nothing is left after {answer:?}");
    assert_eq!(bench.get("/v1/releases").await, json!({"releases": []}), "{answer:?}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_chain_decide() {
    let (bench, publisher) = (Bench::new().await, publisher().await);
    let good = manifest("v2", &format!("{}/good", publisher.url), GOOD);
    let text = json_of(&good);
    let few = told(422, "signature-threshold");
    assert_eq!(refused(&bench, &bench.signed(&text, &[0])).await, few, "one too few");
    assert_eq!(refused(&bench, &bench.signed(&text, &[0, 0])).await, few, "one key twice");
    let mut bad = bench.signed(&text, &[0, 1]);
    bad["manifest"] = json!(text.replace("\"v2\"", "\"v3\""));
    assert_eq!(refused(&bench, &bad).await, few, "signed something else");
    assert_eq!(refused(&bench, &json!({"manifest": text, "signatures": "RW..."})).await, few);

    let other = Manifest { chain_id: 1, ..good.clone() };
    let answer = refused(&bench, &bench.signed(&json_of(&other), &[0, 1])).await;
    assert_eq!(answer, told(422, "wrong-chain"));
    let other = Manifest { genesis_hash: Hash32([8; 32]), ..good.clone() };
    let answer = refused(&bench, &bench.signed(&json_of(&other), &[0, 1])).await;
    assert_eq!(answer, told(422, "wrong-chain"));
    let old = Manifest { expires_at: Some(common::time::UnixMs(1)), ..good };
    let answer = refused(&bench, &bench.signed(&json_of(&old), &[0, 1])).await;
    assert_eq!(answer, told(422, "manifest-expired"));
    let answer = refused(&bench, &bench.signed("{}", &[0, 1])).await;
    assert_eq!(answer, told(422, "manifest-mismatch"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_the_announced_ones_leave_nothing() {
    let (bench, publisher) = (Bench::new().await, publisher().await);
    for (path, status, code) in [
        ("/missing", 502, "artifact-unavailable"),
        ("/moved", 502, "artifact-unavailable"),
        ("/cut", 502, "artifact-unavailable"),
        ("/short", 422, "artifact-size"),
        ("/long", 422, "artifact-size"),
        ("/other", 422, "digest-mismatch"),
    ] {
        let text = json_of(&manifest("v2", &format!("{}{path}", publisher.url), GOOD));
        assert_eq!(refused(&bench, &bench.signed(&text, &[1, 2])).await, told(status, code), "{path}");
    }
    let huge = json_of(&manifest("v2", &format!("{}/good", publisher.url), &[0; 5000]));
    assert_eq!(refused(&bench, &bench.signed(&huge, &[1, 2])).await, told(422, "artifact-size"));
    for url in ["http://192.0.2.1/x", "file:///etc/passwd", "no url"] {
        let text = json_of(&manifest("v2", url, GOOD));
        assert_eq!(refused(&bench, &bench.signed(&text, &[1, 2])).await, told(422, "artifact-url"), "{url}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_release_is_stored_and_served() {
    let (bench, publisher) = (Bench::new().await, publisher().await);
    let digest = Digest::of(GOOD);
    let text = json_of(&manifest("v2", &format!("{}/good", publisher.url), GOOD));
    let body = bench.signed(&text, &[0, 2]);
    let first = bench.ok(Method::POST, "/v1/releases", &body).await;
    assert_eq!(first["signers"], json!([0, 2]));
    assert_eq!(bench.mirrored(), [digest.to_string()]);

    // The same again is fine; with the publisher gone, too.
    let at = publisher.url.clone();
    drop(publisher);
    assert_eq!(bench.ok(Method::POST, "/v1/releases", &body).await, first);
    let mut other = manifest("v2", &format!("{at}/gone"), b"other bytes");
    other.sequence = 9;
    let answer = bench.refused(Method::POST, "/v1/releases", &bench.signed(&json_of(&other), &[0, 1])).await;
    assert_eq!(answer, told(409, "release-exists"), "refused before anything is fetched");
    assert_eq!(bench.mirrored(), [digest.to_string()]);

    // Agents get the same bytes that the maintainers signed.
    bench.add_rpc_node("a").await;
    let agent = bench.enrol("a").await;
    let name = Digest::of(text.as_bytes());
    for (path, bytes) in [
        (format!("/v1/artifacts/{digest}"), GOOD),
        (format!("/v1/manifests/{name}"), text.as_bytes()),
        (format!("/v1/manifests/{name}.minisig"), body["signatures"].as_str().unwrap().as_bytes()),
    ] {
        let answer = agent.get(bench.url(&path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.bytes().await.unwrap(), bytes, "{path}");
    }
    drop(agent);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_checked_too() {
    let bench = Bench::new().await;
    let digest = Digest::of(GOOD);
    let put = |at: Digest, body: reqwest::Body| {
        let request = bench.client.put(bench.url(&format!("/v1/artifacts/{at}")));
        request.bearer_auth(&bench.tokens[&OperatorRole::Operator]).body(body).send()
    };
    let other = put(digest, b"other".as_slice().into()).await.unwrap();
    assert_eq!(problem(other).await, told(422, "digest-mismatch"));
    let huge = vec![0; 5000];
    let answer = put(Digest::of(&huge), huge.clone().into()).await.unwrap();
    assert_eq!(problem(answer).await, told(422, "artifact-size"));
    assert_eq!(bench.mirrored(), Vec::<String>::new());

    // A client that goes away in the middle.
    let half = Ok::<_, std::io::Error>(Bytes::from_static(&GOOD[..10]));
    let stalls = futures_util::stream::iter([half]).chain(futures_util::stream::pending());
    let uploading = tokio::spawn(put(digest, reqwest::Body::wrap_stream(stalls)));
    until("the part", || bench.mirrored().iter().any(|f| f.ends_with(".part"))).await;
    uploading.abort();
    until("the end of the part", || bench.mirrored().is_empty()).await;

    assert_eq!(put(digest, GOOD.into()).await.unwrap().status(), 200);
    assert_eq!(bench.mirrored(), [digest.to_string()]);
    bench.stop().await;
}
