//! Every route of the table, with every kind of caller.
use super::bench::{Bench, problem, sync_of, told};
use common::release::Digest;
use common::time::UnixMs;
use coordinator::api::{Need, ROUTES};
use coordinator::auth::{OperatorRole, TokenRecord, new_token};
use coordinator::fleet::Write;
use reqwest::{Client, Method, Response};
use serde_json::json;
use std::collections::BTreeSet;

const ROLES: [OperatorRole; 4] =
    [OperatorRole::Viewer, OperatorRole::Operator, OperatorRole::Approver, OperatorRole::Admin];

fn concrete(path: &str) -> String {
    let zeros = "0".repeat(64);
    let id = match path {
        p if p.starts_with("/v1/rollouts") => "r99",
        _ => &zeros,
    };
    path.replace("{name}", "n1").replace("{sha256}", &zeros).replace("{file}", &zeros).replace("{id}", id)
}

async fn call(bench: &Bench, client: &Client, method: &str, path: &str, token: Option<&str>) -> Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = client.request(method, bench.url(&concrete(path)));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

/// Let through: whatever is wrong then is the request itself.
async fn passes(answer: Response, what: &str) {
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert!(![401, 403, 405, 429, 500].contains(&status), "{what}: {status} {text}");
    assert!(!text.contains("no-such-route"), "{what}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_kept() {
    let bench = Bench::new().await;
    bench.add_rpc_node("n1").await;
    let agent = bench.enrol("n1").await;
    for (method, path, need) in ROUTES {
        let what = format!("{method} {path}");
        let admin = bench.tokens[&OperatorRole::Admin].as_str();
        let bare = call(&bench, &bench.client, method, path, None).await;
        match need {
            Need::Public => passes(bare, &what).await,
            Need::Agent => {
                assert_eq!(problem(bare).await, told(401, "no-certificate"), "{what}");
                let by_token = call(&bench, &bench.client, method, path, Some(admin)).await;
                assert_eq!(problem(by_token).await, told(401, "no-certificate"), "{what}");
                passes(call(&bench, &agent, method, path, None).await, &what).await;
            }
            Need::AgentOr(needed) | Need::Operator(needed) => {
                assert_eq!(problem(bare).await, told(401, "no-token"), "{what}");
                let by_certificate = call(&bench, &agent, method, path, None).await;
                if matches!(need, Need::AgentOr(_)) {
                    passes(by_certificate, &what).await;
                } else {
                    assert_eq!(problem(by_certificate).await, told(401, "no-token"), "{what}");
                }
                let wrong = call(&bench, &bench.client, method, path, Some("0123")).await;
                assert_eq!(problem(wrong).await, told(401, "unknown-token"), "{what}");
                for role in ROLES {
                    let answer = call(&bench, &bench.client, method, path, Some(&bench.tokens[&role])).await;
                    if role < *needed {
                        assert_eq!(problem(answer).await, told(403, "role"), "{what} as {role}");
                    } else {
                        passes(answer, &format!("{what} as {role}")).await;
                    }
                }
            }
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_are_told_apart() {
    let bench = Bench::new().await;
    let admin = bench.tokens[&OperatorRole::Admin].as_str();
    let paths: BTreeSet<_> = ROUTES.iter().map(|(_, path, _)| *path).collect();
    for path in paths {
        let answer = call(&bench, &bench.client, "PATCH", path, Some(admin)).await;
        assert_eq!(problem(answer).await, told(405, "no-such-method"), "{path}");
    }
    let answer = call(&bench, &bench.client, "GET", "/v2/nodes", Some(admin)).await;
    assert_eq!(problem(answer).await, told(404, "no-such-route"));
    let head = call(&bench, &bench.client, "HEAD", "/v1/nodes", None).await;
    assert_eq!(head.status(), 401, "HEAD needs what GET needs");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end() {
    let bench = Bench::new().await;
    let (old, id) = new_token();
    let record = TokenRecord { id, name: "old".into(), role: OperatorRole::Admin, expires_at: UnixMs(1) };
    bench.running.fleet.transact(|_| Ok((vec![Write::Token(record)], ()))).await.unwrap();
    let answer = call(&bench, &bench.client, "GET", "/v1/nodes", Some(&old)).await;
    assert_eq!(problem(answer).await, told(401, "expired-token"));

    let viewer = bench.tokens[&OperatorRole::Viewer].clone();
    let listed = bench.get("/v1/tokens").await.to_string();
    assert!(!listed.contains(&viewer), "a stored token is its digest only");
    let path = format!("/v1/tokens/{}", Digest::of(viewer.as_bytes()));
    bench.ok(Method::DELETE, &path, &json!(null)).await;
    let answer = call(&bench, &bench.client, "GET", "/v1/nodes", Some(&viewer)).await;
    assert_eq!(problem(answer).await, told(401, "unknown-token"));
    let again = bench.refused(Method::DELETE, &path, &json!(null)).await;
    assert_eq!(again, told(404, "no-such-token"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_opens_nothing() {
    let (bench, other) = (Bench::new().await, Bench::new().await);
    for b in [&bench, &other] {
        b.add_rpc_node("n1").await;
    }
    let stranger = other.enrol("n1").await;
    let url = bench.url("/v1/nodes/n1/sync");
    // It trusts the other CA only as well, so the connection fails on both ends; what counts: no answer.
    assert!(stranger.post(&url).json(&sync_of("n1", 0, false)).send().await.is_err());
    assert!(bench.running.fleet.observation(&common::id::NodeName::new("n1").unwrap()).is_none());
    other.stop().await;
    bench.stop().await;
}
