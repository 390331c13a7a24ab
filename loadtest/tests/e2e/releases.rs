//! Releases that must not spread, and releases that must not be believed.
use crate::support::{FAR, Fleet, fleet};
use common::rollout::{Control, NodeState, Outcome, Phase, Reason, Verb};
use common::wire::v1::FaultCode;
use coordinator::api::body::NodeList;
use loadtest::devnode::release::Behaviour;
use loadtest::fleet::Tamper;
use std::collections::BTreeMap;
use std::time::Duration;

/// Process ids and running releases of all nodes.
async fn running(f: &Fleet) -> BTreeMap<String, (String, String)> {
    let list: NodeList = f.world.coordinator.get("/v1/nodes").await.unwrap();
    let of = |n: &coordinator::api::body::NodeStatus| {
        let report = &n.observed.as_ref().unwrap().report;
        (format!("{:?}", report.process), report.running.as_ref().unwrap().name.to_string())
    };
    list.nodes.iter().map(|n| (n.record.name.to_string(), of(n))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_exits_stops_at_the_canary_and_goes_back() {
    let f = fleet(4, 2, 0).await;
    let before = running(&f).await;
    let published = f.world.publish("v1.1", FAR, Behaviour::ExitAtStart, Tamper::Nothing).unwrap();
    f.world.approve_on_chain("v1.1", FAR, &published).await.unwrap();
    let held = f
        .world
        .wait_rollout("held, canary back", Duration::from_secs(120), |s| {
            matches!(s.rollout.control, Control::Held { .. })
                && s.rollout.nodes.values().any(|n| n.state == NodeState::RolledBack)
        })
        .await
        .unwrap();
    let Control::Held { reason: Reason::NodeFailed { node, fault, .. }, .. } = &held.rollout.control else {
        panic!("held for another reason: {:?}", held.rollout.control)
    };
    assert_eq!(*fault, FaultCode::CrashLoop, "why must name the cause");
    assert!(node.as_str().starts_with("rpc"), "the canary is an RPC node, not {node}");
    let after = running(&f).await;
    for (name, was) in before.iter().filter(|(n, _)| n.starts_with("val")) {
        assert_eq!(&after[name], was, "validator {name} was touched");
    }
    assert_eq!(after[node.as_str()].1, "genesis", "the canary must be back on its old release");
    f.world.verb(Verb::Abort).await.unwrap();
    let done = f.world.wait_done(Duration::from_secs(60)).await.unwrap();
    assert_eq!(done.rollout.phase, Phase::Done(Outcome::Aborted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_never_seals_stops_at_the_first_validator() {
    let f = fleet(4, 2, 0).await;
    let before = running(&f).await;
    let published = f.world.publish("v1.1", FAR, Behaviour::NeverSeals, Tamper::Nothing).unwrap();
    f.world.approve_on_chain("v1.1", FAR, &published).await.unwrap();
    let held = f
        .world
        .wait_rollout("held", Duration::from_secs(150), |s| matches!(s.rollout.control, Control::Held { .. }))
        .await
        .unwrap();
    let Control::Held { reason: Reason::NodeNotSealing { node }, .. } = &held.rollout.control else {
        panic!("held for another reason: {:?}", held.rollout.control)
    };
    assert!(held.rollout.min_slack.is_some_and(|s| s >= 0), "{:?}", held.rollout.min_slack);
    let after = running(&f).await;
    for (name, was) in before.iter().filter(|(n, _)| n.starts_with("val") && *n != node.as_str()) {
        assert_eq!(&after[name], was, "a second validator, {name}, was touched");
    }
    f.world.verb(Verb::Rollback).await.unwrap();
    let done = f.world.wait_done(Duration::from_secs(150)).await.unwrap();
    assert_eq!(done.rollout.phase, Phase::Done(Outcome::RolledBack));
    for (name, (_, release)) in running(&f).await {
        assert_eq!(release, "genesis", "{name}");
    }
}

/// Each is refused with its code, makes no draft, leaves nothing in the mirror and no node touched.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_signed_is_refused() {
    let f = fleet(4, 1, 0).await;
    let before = running(&f).await;
    let cases = [
        ("hash", Tamper::ManifestBytes, "manifest-mismatch"),
        ("signature", Tamper::BadSignature, "signature-threshold"),
        ("threshold", Tamper::OneSignature, "signature-threshold"),
        ("digest", Tamper::ArtifactBytes, "digest-mismatch"),
        ("missing", Tamper::ArtifactMissing, "artifact-unavailable"),
        ("short", Tamper::ArtifactShort, "artifact-size"),
    ];
    for (name, tamper, code) in cases {
        let published = f.world.publish(name, FAR, Behaviour::Normal, tamper).unwrap();
        let plan = f.world.approve_on_chain(name, FAR, &published).await.unwrap();
        let check = loadtest::devnet::wait_until("the plan is judged", Duration::from_secs(30), || async {
            let list = f.world.proposals().await.ok()?;
            list.proposals.into_iter().find(|p| p.proposal.plan_id == plan)?.check
        })
        .await
        .unwrap();
        assert_eq!(check.code, code, "{name}: {}", check.detail);
    }
    assert!(f.world.rollout().await.is_none(), "a refused plan made a draft");
    let mirror = std::fs::read_dir(f.world.coordinator.dir.join("data/artifacts")).unwrap();
    assert_eq!(mirror.count(), 0, "something was left in the mirror");
    assert_eq!(running(&f).await, before, "a node was touched");
}
