//! The development network seals, changes rounds, stops without quorum, and never forks.
mod support;

use serde_json::json;
use std::path::Path;
use std::time::Duration;
use support::{NODE, World, extra, sealed_before};

#[tokio::test]
async fn four_validators_and_an_rpc_node_agree_and_tell_who_sealed() {
    let world = World::running(4, 1).await;
    world.reaches("rpc-1", 12).await;
    let (rpc, val) = (world.rpc("rpc-1"), world.rpc("val-1"));
    world.reaches("val-1", 12).await;
    let validators = rpc.call("istanbul_getValidators", json!(["latest"])).await.unwrap();
    let validators: Vec<String> = serde_json::from_value(validators).unwrap();
    assert_eq!(validators.len(), 4);
    let mut present = 0;
    for height in 1..=12_u64 {
        let tag = format!("{height:#x}");
        let block = rpc.call("eth_getBlockByNumber", json!([tag, false])).await.unwrap();
        assert_eq!(block, val.call("eth_getBlockByNumber", json!([tag, false])).await.unwrap());
        let signers = rpc.call("istanbul_getCommitSignersFromBlock", json!([tag])).await.unwrap();
        assert_eq!(signers["Author"], block["miner"]);
        assert_eq!(signers["Hash"], block["hash"]);
        assert!(signers["Committers"].as_array().unwrap().len() >= 3);
        let info = extra(&rpc, height).await;
        present += info["prevCommittedSeal"]["sealers"].as_array().unwrap().len();
    }
    assert!(present >= 11 * 3 + 8, "late seals are merged: {present} of 44");
    let above = rpc.call("eth_getBlockByNumber", json!(["0xffffff", false])).await.unwrap();
    assert!(above.is_null());
    let status = rpc.call("istanbul_status", json!(["0x1", "0xc"])).await.unwrap();
    assert_eq!(status["sealerActivity"]["total"], 12);
    assert_eq!(status["author"].as_object().unwrap().values().filter_map(|v| v.as_u64()).sum::<u64>(), 12);
    let metrics =
        reqwest::get(&world.net.node("val-1").unwrap().metrics_url).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\np2p_peers 4\n"), "{metrics}");
    world.one_chain().await;
}

#[tokio::test]
async fn rounds_change_when_few_are_away_and_the_chain_stops_when_too_many_are() {
    let world = World::running(4, 0).await;
    let start = world.reaches("val-1", 4).await;
    world.net.stop("val-4").await.unwrap();
    let (rpc, gone) = (world.rpc("val-1"), world.address("val-4"));
    let head = world.reaches("val-1", start + 10).await;
    let mut rounds = Vec::new();
    for height in head - 4..=head {
        rounds.push(extra(&rpc, height).await["round"].as_u64().unwrap());
        assert!(!sealed_before(&rpc, height, &gone).await, "{height}: it is stopped");
    }
    assert!(rounds.iter().any(|r| *r > 0), "its turns cost a round: {rounds:?}");

    world.net.kill9("val-3").await.unwrap();
    let doubled = loadtest::devnet::wait_until("round 3", support::PATIENCE, || async {
        (world.log("val-1").contains("round=3")).then_some(())
    });
    doubled.await.unwrap();
    // Three time-outs after the stop nothing was sealed and nobody moved.
    let frozen = rpc.head().await.unwrap();
    assert_eq!(world.rpc("val-2").head().await.unwrap(), frozen);
    assert_eq!(world.net.record_count().unwrap(), frozen);
    assert!(!world.log("val-1").contains(&format!("height={} round=3", frozen)), "frozen at the same height");

    world.net.start_node("val-3", Path::new(NODE)).unwrap();
    world.reaches("val-1", frozen + 2).await;
    world.reaches("val-3", frozen + 2).await;
    assert!(world.log("val-3").contains("Unclean shutdown detected"));
    world.one_chain().await;
}

#[tokio::test]
async fn killing_nodes_at_random_moments_never_forks_the_chain() {
    let world = World::running(4, 0).await;
    let mut head = world.reaches("val-1", 2).await;
    for turn in 0..8_u64 {
        let name = format!("val-{}", rand::random_range(1..=4));
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..120))).await;
        world.net.kill9(&name).await.unwrap();
        world.net.start_node(&name, Path::new(NODE)).unwrap();
        head = world.reaches(&format!("val-{}", turn % 4 + 1), head + 2).await;
    }
    for name in ["val-1", "val-2", "val-3", "val-4"] {
        world.reaches(name, head).await;
    }
    let tag = format!("{head:#x}");
    let mut seen = std::collections::BTreeSet::new();
    for name in ["val-1", "val-2", "val-3", "val-4"] {
        let block = world.rpc(name).call("eth_getBlockByNumber", json!([tag, false])).await.unwrap();
        seen.insert(block["hash"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 1, "one block {head} everywhere: {seen:?}");
    assert!(world.one_chain().await >= head);
}

#[tokio::test]
async fn a_node_that_was_away_catches_up_from_its_peers_and_seals_again() {
    let world = World::running(4, 0).await;
    let start = world.reaches("val-1", 3).await;
    assert_eq!(world.net.stop("val-2").await.unwrap().code, Some(0));
    let away = world.reaches("val-1", start + 8).await;
    world.net.start_node("val-2", Path::new(NODE)).unwrap();
    world.reaches("val-2", away).await;
    let (rpc, me) = (world.rpc("val-1"), world.address("val-2"));
    let back = loadtest::devnet::wait_until("val-2 in the seals", support::PATIENCE, || async {
        let head = rpc.head().await.ok()?;
        (head > away && sealed_before(&rpc, head, &me).await).then_some(())
    });
    back.await.unwrap();
    world.one_chain().await;
}
