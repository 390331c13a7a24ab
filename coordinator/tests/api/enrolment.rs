//! How a host becomes a node's agent, and stops being it.
use super::bench::{Bench, problem, request, sync_of, told};
use reqwest::{Client, Method, Response};
use serde_json::json;

async fn enrol(bench: &Bench, node: &str, token: &str, csr: &str) -> Response {
    let body = json!({"node": node, "token": token, "csr": csr});
    bench.client.post(bench.url("/v1/enroll")).json(&body).send().await.unwrap()
}

async fn sync(bench: &Bench, agent: &Client, path_node: &str, body_node: &str) -> Response {
    let url = bench.url(&format!("/v1/nodes/{path_node}/sync"));
    agent.post(url).json(&sync_of(body_node, 0, false)).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_enrols_one_node_once() {
    let bench = Bench::new().await;
    for node in ["a", "b"] {
        bench.add_rpc_node(node).await;
    }
    let (_, csr) = request();
    let token = bench.join_token("a").await;
    assert_eq!(problem(enrol(&bench, "b", &token, &csr).await).await, told(401, "join-token"));
    assert_eq!(problem(enrol(&bench, "c", &token, &csr).await).await, told(404, "no-such-node"));
    for garbage in ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
    {
        let told_so = problem(enrol(&bench, "a", &token, garbage).await).await;
        assert_eq!(told_so, told(400, "bad-request-certificate"), "{garbage:?}");
    }
    let forged = forge(&csr);
    let told_so = problem(enrol(&bench, "a", &token, &forged).await).await;
    assert_eq!(told_so, told(400, "bad-request-certificate"), "a signature by another key");
    let huge = format!("{csr}{}", "x".repeat(20_000));
    let told_so = problem(enrol(&bench, "a", &token, &huge).await).await;
    assert_eq!(told_so, told(400, "bad-request-certificate"));

    // None of the refusals used it up.
    assert_eq!(enrol(&bench, "a", &token, &csr).await.status(), 200);
    assert_eq!(problem(enrol(&bench, "a", &token, &csr).await).await, told(401, "join-token"));
    bench.stop().await;
}

/// Damages the signature at the end of a request.
fn forge(csr: &str) -> String {
    let lines: Vec<&str> = csr.lines().collect();
    let last = lines.len() - 2;
    let mut out: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    let swapped: String =
        out[last].chars().map(|c| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c }).collect();
    assert_ne!(swapped, out[last]);
    out[last] = swapped;
    out.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_join_token_replaces_the_older() {
    let bench = Bench::new().await;
    bench.add_rpc_node("a").await;
    let (_, csr) = request();
    let (older, newer) = (bench.join_token("a").await, bench.join_token("a").await);
    assert_eq!(problem(enrol(&bench, "a", &older, &csr).await).await, told(401, "join-token"));
    assert_eq!(enrol(&bench, "a", &newer, &csr).await.status(), 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_its_node_only() {
    let bench = Bench::new().await;
    for node in ["a", "b"] {
        bench.add_rpc_node(node).await;
        let path = format!("/v1/nodes/{node}");
        assert_eq!(bench.get(&path).await["record"]["agent_key"], json!(null));
    }
    let (a, _b) = (bench.enrol("a").await, bench.enrol("b").await);
    assert_eq!(sync(&bench, &a, "a", "a").await.status(), 200);
    for (path, body) in [("b", "b"), ("a", "b"), ("b", "a")] {
        let answer = problem(sync(&bench, &a, path, body).await).await;
        assert_eq!(answer, told(403, "other-node"), "{path} {body}");
    }
    assert_eq!(bench.get("/v1/nodes/b").await["observed"], json!(null), "nothing was taken for b");
    assert_eq!(bench.get("/v1/nodes/a").await["silent"], json!(false));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_revokes_the_key_before() {
    let bench = Bench::new().await;
    bench.add_rpc_node("a").await;
    let old = bench.enrol("a").await;
    assert_eq!(sync(&bench, &old, "a", "a").await.status(), 200);
    let new = bench.enrol("a").await;
    assert_eq!(problem(sync(&bench, &old, "a", "a").await).await, told(401, "replaced-certificate"));
    assert_eq!(sync(&bench, &new, "a", "a").await.status(), 200);

    // The way over SSH: an admin has a key signed.
    let (_, csr) = request();
    bench.ok(Method::POST, "/v1/nodes/a/certificate", &json!({"csr": csr})).await;
    assert_eq!(problem(sync(&bench, &new, "a", "a").await).await, told(401, "replaced-certificate"));
    bench.stop().await;
}
