//! The long poll of agents.
use super::bench::{Bench, problem, sync_of, told, until};
use common::id::NodeName;
use common::wire::v1::{Goal, Instruction, SyncResponse};
use coordinator::fleet::Write;
use reqwest::Client;

async fn instruct(bench: &Bench, node: &NodeName, generation: u64) {
    let instruction = Instruction { generation, goal: Goal::Run, ..Instruction::none() };
    let writes = vec![Write::Desired(node.clone(), instruction)];
    bench.running.fleet.transact(|_| Ok((writes, ()))).await.unwrap();
}

async fn sync(url: String, agent: Client, generation: u64, hold: bool) -> SyncResponse {
    let answer = agent.post(url).json(&sync_of("a", generation, hold)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

async fn enrolled() -> (Bench, Client, NodeName, String) {
    let bench = Bench::new().await;
    bench.add_rpc_node("a").await;
    let agent = bench.enrol("a").await;
    let url = bench.url("/v1/nodes/a/sync");
    (bench, agent, NodeName::new("a").unwrap(), url)
}

/// The hold is a minute, longer than the client's patience: an answer in time was woken.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_sync_wakes_for_a_new_instruction() {
    let (bench, agent, node, url) = enrolled().await;
    let held = tokio::spawn(sync(url.clone(), agent.clone(), 0, true));
    let fleet = bench.running.fleet.clone();
    until("the report", || fleet.observation(&node).is_some()).await;
    drop(fleet);
    assert!(!held.is_finished(), "it waits for news");
    // An instruction for another node is none of its business.
    instruct(&bench, &NodeName::new("b").unwrap(), 1).await;
    instruct(&bench, &node, 1).await;
    assert_eq!(held.await.unwrap().instruction.generation, 1);

    // News are there already: no hold. And nobody has to be held.
    assert_eq!(sync(url.clone(), agent.clone(), 0, true).await.instruction.generation, 1);
    let at_once = sync(url, agent, 1, false).await;
    assert_eq!(at_once.instruction.generation, 1);
    assert_eq!(at_once.hold, common::time::Span::mins(1));
    assert_eq!(at_once.certificate, None, "a fresh certificate is not renewed");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_older_than_the_agent_is_noticed() {
    let (bench, agent, node, url) = enrolled().await;
    instruct(&bench, &node, 3).await;
    let answer = agent.post(&url).json(&sync_of("a", 4, false)).send().await.unwrap();
    assert_eq!(problem(answer).await, told(409, "generation-behind"));
    assert_eq!(sync(url, agent, 3, false).await.instruction.generation, 3);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_report_is_told_so() {
    let (bench, agent, node, url) = enrolled().await;
    let send = async |body: String, kind: &str| {
        agent.post(&url).header("content-type", kind).body(body).send().await.unwrap()
    };
    let json = "application/json";
    assert_eq!(problem(send("{\"node\":".into(), json).await).await, told(400, "bad-body"));
    assert_eq!(problem(send("{\"node\":\"a\"}".into(), json).await).await, told(422, "bad-body"));
    assert_eq!(problem(send("{}".into(), "text/plain").await).await, told(415, "bad-body"));
    let huge = format!("{{\"node\":\"{}\"}}", "a".repeat(2 << 20));
    assert_eq!(problem(send(huge, json).await).await, told(413, "bad-body"));
    assert!(bench.running.fleet.observation(&node).is_none());
    drop(agent);
    bench.stop().await;
}
