//! From an approved proposal to a proved fleet, the chain sealing all the way; also with the coordinator killed on the way.
use crate::support::{Fleet, fleet};
use common::rollout::RolloutEvent;
use common::rollout::{NodeState, Outcome, Phase};
use coordinator::api::body::{EventList, RolloutStatus};
use loadtest::devnode::release::Behaviour;
use loadtest::fleet::Tamper;
use std::collections::BTreeMap;
use std::time::Duration;

/// Every node was granted once and freed once, and at no time was the slack below zero.
async fn each_node_once(f: &Fleet, status: &RolloutStatus) {
    let events: EventList = f.world.coordinator.get("/v1/rollouts/r1/events").await.unwrap();
    let mut grants: BTreeMap<String, u32> = BTreeMap::new();
    for entry in &events.events {
        if let RolloutEvent::Granted { node, slack_after, .. } = &entry.event {
            *grants.entry(node.to_string()).or_default() += 1;
            assert!(slack_after.is_none_or(|s| s >= 0), "{entry:?}");
        }
    }
    let nodes: BTreeMap<String, u32> = status.rollout.nodes.keys().map(|n| (n.to_string(), 1)).collect();
    assert_eq!(grants, nodes, "every node is permitted exactly once");
    for (i, entry) in events.events.iter().enumerate() {
        assert_eq!(entry.seq, i as u64 + 1, "the history has no gap");
    }
}

async fn succeeded(f: &Fleet, fork: u64) {
    let status = f.world.wait_done(Duration::from_secs(180)).await.unwrap();
    assert_eq!(status.rollout.phase, Phase::Done(Outcome::Succeeded));
    for (name, node) in &status.rollout.nodes {
        assert_eq!(node.state, NodeState::Done, "{name}");
        assert!(node.proof.is_some(), "{name} without proof");
        let head = f.world.network.rpc(name.as_str()).unwrap().head().await.unwrap();
        assert!(head > fork, "{name} did not pass the fork: {head}");
    }
    assert!(status.rollout.min_slack.is_some_and(|s| s >= 0), "{:?}", status.rollout.min_slack);
    each_node_once(f, &status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_proposal_upgrades_the_fleet() {
    let f = fleet(4, 2, 0).await;
    let fork = f.world.network.rpc("rpc-1").unwrap().head().await.unwrap() + 320;
    let published = f.world.publish("v1.1", fork, Behaviour::Normal, Tamper::Nothing).unwrap();
    f.world.approve_on_chain("v1.1", fork, &published).await.unwrap();
    succeeded(&f, fork).await;
}

/// kill -9 at five different moments; agents, chain and what was acknowledged go on.
#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_may_die_at_any_moment() {
    let mut f = fleet(4, 2, 0).await;
    let fork = f.world.network.rpc("rpc-1").unwrap().head().await.unwrap() + 450;
    let published = f.world.publish("v1.1", fork, Behaviour::Normal, Tamper::Nothing).unwrap();
    f.world.approve_on_chain("v1.1", fork, &published).await.unwrap();
    type Moment = (&'static str, fn(&RolloutStatus) -> bool);
    let moments: [Moment; 5] = [
        ("drafted", |_| true),
        ("a node works", |s| s.rollout.nodes.values().any(|n| n.permission.is_some())),
        ("one node is proved", |s| s.rollout.nodes.values().any(|n| n.state == NodeState::Done)),
        ("a validator works", |s| {
            s.rollout.nodes.iter().any(|(n, p)| n.as_str().starts_with("val") && p.permission.is_some())
        }),
        ("most are proved", |s| s.rollout.nodes.values().filter(|n| n.state == NodeState::Done).count() >= 4),
    ];
    for (what, reached) in moments {
        let before = f.world.wait_rollout(what, Duration::from_secs(120), reached).await.unwrap();
        f.world.coordinator.kill9();
        f.world.coordinator.start().await.unwrap();
        let after = f.world.rollout().await.unwrap();
        assert!(after.rollout.revision >= before.rollout.revision, "an acknowledged plan was lost");
        for (name, node) in before.rollout.nodes.iter().filter(|(_, n)| n.state == NodeState::Done) {
            assert!(after.rollout.nodes[name].state >= node.state, "{name} was proved and is not any more");
        }
    }
    succeeded(&f, fork).await;
}
