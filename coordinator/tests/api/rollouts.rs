//! Drafts, verbs and the history.
use super::bench::{Bench, manifest, problem, told};
use common::release::Digest;
use coordinator::auth::OperatorRole;
use reqwest::Method;
use serde_json::{Value, json};

const POLICY: &str = r#"schema = 1

[rollout]
mode = "anytime"

[quorum]
rule = "none"

[[stage]]
name = "all"
select = 'role == "rpc"'
"#;

fn draft(dry_run: bool) -> Value {
    json!({"release": "v2", "policy": POLICY, "policy_name": "all", "dry_run": dry_run})
}

/// A fleet of two nodes that never report, with a release whose bytes are in the mirror already.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    for node in ["a", "b"] {
        bench.add_rpc_node(node).await;
    }
    let bytes = b"bytes".as_slice();
    let at = format!("/v1/artifacts/{}", Digest::of(bytes));
    let request = bench.client.put(bench.url(&at)).bearer_auth(&bench.tokens[&OperatorRole::Admin]);
    assert_eq!(request.body(bytes).send().await.unwrap().status(), 200);
    let text = serde_json::to_string(&manifest("v2", "https://releases.example.org/x", bytes)).unwrap();
    bench.ok(Method::POST, "/v1/releases", &bench.signed(&text, &[0, 1])).await;
    bench
}

async fn verb(bench: &Bench, role: OperatorRole, body: Value) -> Result<Value, (u16, String)> {
    let answer = bench.ask(role, Method::POST, "/v1/rollouts/r1/verbs", &body).await;
    if answer.status().is_success() { Ok(answer.json().await.unwrap()) } else { Err(problem(answer).await) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_checked_and_there_is_one() {
    let bench = bench().await;
    let rollouts = "/v1/rollouts";
    let dry = bench.ok(Method::POST, rollouts, &draft(true)).await;
    assert_eq!(dry["rollout"]["phase"], json!("draft"), "{dry}");
    assert_eq!(bench.get(rollouts).await, json!({"rollouts": []}), "a dry run stores nothing");
    assert_eq!(bench.running.fleet.known().event_head().seq, 0);

    for (change, value, status, code) in [
        ("release", json!("v3"), 404, "no-such-release"),
        ("policy", json!("schema = 1"), 422, "policy"),
        ("policy", json!(POLICY.replace("rpc", "archive")), 422, "policy"),
        ("policy", json!(POLICY.replace("select", "selekt")), 422, "policy"),
        ("release", json!("../v2"), 422, "bad-body"),
        ("force", json!(true), 422, "bad-body"),
    ] {
        let mut body = draft(false);
        body[change] = value;
        assert_eq!(bench.refused(Method::POST, rollouts, &body).await, told(status, code), "{body}");
    }

    let made = bench.ok(Method::POST, rollouts, &draft(false)).await;
    assert_eq!(made["rollout"]["id"], dry["rollout"]["id"]);
    assert_eq!(made["rollout"]["id"], "r1");
    for dry_run in [false, true] {
        let second = bench.refused(Method::POST, rollouts, &draft(dry_run)).await;
        assert_eq!(second, told(409, "other-rollout"));
    }
    // One that is over stands in nobody's way, and numbers are not used again.
    verb(&bench, OperatorRole::Operator, json!({"verb": "abort"})).await.unwrap();
    let next = bench.ok(Method::POST, rollouts, &draft(false)).await;
    assert_eq!(next["rollout"]["id"], "r2");
    assert_eq!(
        bench.refused(Method::GET, "/v1/rollouts/r3", &json!(null)).await,
        told(404, "no-such-rollout")
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_need_role_revision_and_state() {
    use OperatorRole::{Approver, Operator};
    let bench = bench().await;
    bench.ok(Method::POST, "/v1/rollouts", &draft(false)).await;
    let role = Err(told(403, "role"));
    assert_eq!(verb(&bench, Operator, json!({"verb": "approve"})).await, role);
    assert_eq!(verb(&bench, Operator, json!({"verb": "rollback"})).await, role);
    let refused = Err(told(409, "verb-refused"));
    assert_eq!(verb(&bench, Operator, json!({"verb": "pause"})).await, refused, "a draft does not run");
    assert_eq!(verb(&bench, Approver, json!({"verb": "rollback"})).await, refused);
    let conflict = Err(told(409, "conflict"));
    assert_eq!(verb(&bench, Approver, json!({"verb": "approve", "revision": 9999})).await, conflict);
    assert_eq!(verb(&bench, Operator, json!({"verb": "abort", "why": "a\nb"})).await, Err(told(422, "why")));
    let long = json!({"verb": "abort", "why": "x".repeat(513)});
    assert_eq!(verb(&bench, Operator, long).await, Err(told(422, "why")));
    assert_eq!(verb(&bench, Operator, json!({"verb": "explode"})).await, Err(told(422, "bad-body")));

    let before = bench.get("/v1/rollouts/r1").await["rollout"]["revision"].clone();
    let done = verb(&bench, Approver, json!({"verb": "approve", "revision": before})).await.unwrap();
    assert_ne!(done["rollout"]["phase"], json!("draft"));
    assert_eq!(verb(&bench, Approver, json!({"verb": "approve", "revision": before})).await, conflict);
    assert_eq!(verb(&bench, Approver, json!({"verb": "approve"})).await, refused, "approved already");
    assert_eq!(verb(&bench, Operator, json!({"verb": "pause", "why": "lunch"})).await.map(|_| ()), Ok(()));
    assert_eq!(verb(&bench, Operator, json!({"verb": "pause"})).await, refused);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_chained_and_survives_a_restart() {
    let bench = bench().await;
    bench.ok(Method::POST, "/v1/rollouts", &draft(false)).await;
    verb(&bench, OperatorRole::Approver, json!({"verb": "approve", "why": "ready"})).await.unwrap();
    verb(&bench, OperatorRole::Operator, json!({"verb": "pause", "why": "lunch"})).await.unwrap();
    assert_eq!(bench.running.fleet.known().verify_events(), None);
    let path = "/v1/rollouts/r1/events";
    let before = bench.get(path).await["events"].as_array().unwrap().clone();
    assert!(before.len() >= 4, "{before:?}");
    assert_eq!(before[0]["seq"], 1);
    assert_eq!(before[0]["previous"], json!("0".repeat(64)));
    let told: Vec<&Value> = before.iter().map(|e| &e["event"]).collect();
    let by = |who: &str| told.iter().filter(|e| e.to_string().contains(&format!("{who:?}"))).count();
    assert_eq!((by("approver"), by("operator")), (1, 1), "{told:?}");

    let bench = bench.restart().await;
    assert_eq!(bench.running.fleet.known().verify_events(), None);
    let after = bench.get(path).await["events"].as_array().unwrap().clone();
    assert_eq!(after[..before.len()], before);
    let shown = bench.get("/v1/rollouts/r1").await;
    assert!(shown["rollout"]["control"].to_string().contains("lunch"), "{shown}");
    let newer = bench.get(&format!("{path}?after={}", after.len() - 1)).await;
    assert_eq!(newer["events"], json!([after[after.len() - 1]]));
    assert_eq!(bench.refused(Method::GET, &format!("{path}?after=x"), &json!(null)).await.1, "bad-query");

    // It goes on where it stopped, in the same chain.
    verb(&bench, OperatorRole::Operator, json!({"verb": "resume"})).await.unwrap();
    assert_eq!(bench.running.fleet.known().verify_events(), None);
    assert!(bench.running.fleet.known().event_head().seq > after.len() as u64);
    bench.stop().await;
}
