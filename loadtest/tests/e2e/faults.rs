//! Things that die or stand still.
use crate::support::{FAR, fleet};
use common::rollout::{NodeState, Phase, Reason};
use common::wire::v1::AgentPhase;
use coordinator::api::body::NodeList;
use loadtest::devnode::release::Behaviour;
use loadtest::fleet::Tamper;
use std::time::Duration;

/// Two validators of another operator stop: the seals show it, and nothing more is permitted until one is back.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_validators_of_another_operator_are_seen_in_the_seals() {
    let f = fleet(7, 2, 2).await;
    f.world.network.stop("val-6").await.unwrap();
    f.world.network.stop("val-7").await.unwrap();
    let published = f.world.publish("v1.1", FAR, Behaviour::Normal, Tamper::Nothing).unwrap();
    f.world.approve_on_chain("v1.1", FAR, &published).await.unwrap();
    let says_so = |reasons: &[Reason]| {
        let exhausted = reasons.iter().any(|r| matches!(r, Reason::QuorumSlackExhausted { .. }));
        let foreign =
            |r: &Reason| matches!(r, Reason::ForeignValidatorDown { validators } if validators.len() == 2);
        exhausted && reasons.iter().any(foreign)
    };
    let status = f
        .world
        .wait_rollout("no slack left, and why", Duration::from_secs(120), |s| says_so(&s.rollout.waiting))
        .await
        .unwrap();
    let ours = status.rollout.nodes.iter().filter(|(n, _)| n.as_str().starts_with("val"));
    for (name, node) in ours {
        assert!(node.permission.is_none() && node.granted_at.is_none(), "{name} was permitted with no slack");
    }
    f.world.network.start_node("val-6", &f.world.old).unwrap();
    f.world
        .wait_rollout("a validator is permitted again", Duration::from_secs(90), |s| {
            s.rollout.nodes.iter().any(|(n, p)| n.as_str().starts_with("val") && p.granted_at.is_some())
        })
        .await
        .unwrap();
}

/// The agent of the canary is killed in each phase it is seen in; the node ends on the new release, proved.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_die_in_any_phase() {
    let mut f = fleet(4, 2, 0).await;
    let published = f.world.publish("v1.1", FAR, Behaviour::Normal, Tamper::Nothing).unwrap();
    f.world.approve_on_chain("v1.1", FAR, &published).await.unwrap();
    let mut killed: Vec<AgentPhase> = Vec::new();
    let end = std::time::Instant::now() + Duration::from_secs(120);
    loop {
        assert!(std::time::Instant::now() < end, "no end; killed in {killed:?}\n{}", f.world.troubles());
        let list: NodeList = f.world.coordinator.get("/v1/nodes").await.unwrap();
        for node in &list.nodes {
            let Some(seen) = &node.observed else { continue };
            let phase = seen.report.phase;
            let interesting = !matches!(phase, AgentPhase::Idle | AgentPhase::Done);
            if interesting && !killed.contains(&phase) {
                killed.push(phase);
                let agent = f.world.agents.get_mut(node.record.name.as_str()).unwrap();
                agent.kill9();
                agent.start().unwrap();
            }
        }
        let status = f.world.rollout().await;
        if status.is_some_and(|s| {
            assert!(
                !matches!(s.rollout.control, common::rollout::Control::Held { .. }),
                "{:?}",
                s.rollout.control
            );
            s.rollout.phase >= Phase::Finalizing
                || s.rollout.nodes.values().all(|n| n.state == NodeState::Done)
        }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(killed.len() >= 2, "too few phases were seen: {killed:?}");
    let done = f.world.rollout().await.unwrap();
    for (name, node) in &done.rollout.nodes {
        assert!(node.proof.is_some(), "{name} is not proved");
    }
}
