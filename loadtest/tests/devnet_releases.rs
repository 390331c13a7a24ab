//! Releases differ: in the forks they know, and in what is wrong with them. And a devnode is a well-behaved process.
mod support;

use loadtest::devnet::Exit;
use loadtest::devnet::governance::Registry;
use loadtest::devnode::Behaviour;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{NODE, World, extra, sealed_before};

#[tokio::test]
async fn a_release_without_the_fork_stays_behind_when_the_others_go_on() {
    let world = World::new(4, 1).await;
    let new = world.release("1.1.0", &[("boho", 8)], Behaviour::Normal);
    for name in ["val-1", "val-2", "val-3"] {
        world.net.start_node(name, &new).unwrap();
    }
    for name in ["val-4", "rpc-1"] {
        world.net.start_node(name, Path::new(NODE)).unwrap();
    }
    let head = world.reaches("val-1", 14).await;
    for name in ["val-4", "rpc-1"] {
        assert_eq!(world.reaches(name, 7).await, 7, "{name} sticks before the fork and still answers");
        let info = world.rpc(name).call("admin_nodeInfo", json!([])).await.unwrap();
        assert!(info["protocols"]["eth"]["config"].get("bohoBlock").is_none());
    }
    assert!(world.log("val-4").contains("bad block 8: it follows fork boho@8"), "{}", world.log("val-4"));
    let rpc = world.rpc("val-1");
    assert!(!sealed_before(&rpc, head, &world.address("val-4")).await);
    let info = rpc.call("admin_nodeInfo", json!([])).await.unwrap();
    assert_eq!(info["protocols"]["eth"]["config"]["bohoBlock"], 8);
    assert_eq!(
        rpc.call("web3_clientVersion", json!([])).await.unwrap(),
        "Devnode/v1.1.0-stable/linux-amd64/rust"
    );

    // The old node gets the new release and follows.
    world.net.stop("rpc-1").await.unwrap();
    world.net.start_node("rpc-1", &new).unwrap();
    world.reaches("rpc-1", head).await;
    world.one_chain().await;
}

#[tokio::test]
async fn an_old_majority_goes_on_without_the_new_release() {
    let world = World::new(4, 0).await;
    let new = world.release("1.1.0", &[("boho", 6)], Behaviour::Normal);
    world.net.start_node("val-1", &new).unwrap();
    for name in ["val-2", "val-3", "val-4"] {
        world.net.start_node(name, Path::new(NODE)).unwrap();
    }
    world.reaches("val-2", 10).await;
    assert_eq!(world.reaches("val-1", 5).await, 5);
    world.one_chain().await;
}

#[tokio::test]
async fn broken_releases_are_broken_in_the_way_they_promise() {
    let world = World::new(4, 0).await;
    let never = world.release("1.2.0", &[], Behaviour::NeverSeals);
    let exits = world.release("1.3.0", &[], Behaviour::ExitAtStart);
    for name in ["val-1", "val-2", "val-3"] {
        world.net.start_node(name, Path::new(NODE)).unwrap();
    }
    world.net.start_node("val-4", &never).unwrap();
    world.reaches("val-4", 6).await;
    let rpc = world.rpc("val-4");
    let me = world.address("val-4");
    for height in 2..=6 {
        assert!(!sealed_before(&rpc, height, &me).await, "block {height}");
        let info = extra(&rpc, height).await;
        assert!(info["committedSeal"]["sealers"].as_array().unwrap().iter().all(|s| *s != *me));
    }
    assert_eq!(rpc.call("istanbul_nodeAddress", json!([])).await.unwrap(), me);
    assert_eq!(rpc.call("eth_mining", json!([])).await.unwrap(), false);

    world.net.stop("val-4").await.unwrap();
    world.net.start_node("val-4", &exits).unwrap();
    let exit = world.net.wait_exit("val-4", Duration::from_secs(10)).await.unwrap();
    assert_eq!(exit, Exit { code: Some(1), signal: None });
    let said = Command::new(&exits).arg("version").output().unwrap();
    assert!(said.status.success());
    assert!(String::from_utf8_lossy(&said.stdout).contains("Version: 1.3.0\n"));
}

#[tokio::test]
async fn the_data_folder_is_locked_marked_and_left_clean() {
    let world = World::running(1, 0).await;
    world.reaches("val-1", 3).await;
    let node = world.net.node("val-1").unwrap().clone();
    let marker = node.datadir.join("geth/UNCLEAN");
    assert!(marker.exists(), "it runs");
    for _ in 0..2 {
        let second = Command::new(NODE).args(&node.argv).output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains("datadir already used by another process"), "{said}");
    }
    assert!(marker.exists(), "the refused process left the marker alone");
    assert_eq!(world.net.stop("val-1").await.unwrap(), Exit { code: Some(0), signal: None });
    assert!(!marker.exists(), "stopped in order");
    let other = world.dir.path().join("genesis.json");
    let text = std::fs::read_to_string(&world.net.file().genesis_file).unwrap();
    std::fs::write(&other, text.replace("1337", "1338")).unwrap();
    let mut init = Command::new(NODE);
    init.arg("--datadir").arg(&node.datadir).arg("init").arg(&other);
    let said = init.output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("incompatible genesis"));
}

#[tokio::test]
async fn one_key_in_two_processes_is_refused_and_said() {
    let world = World::running(4, 0).await;
    world.reaches("val-1", 2).await;
    let node = world.net.node("val-2").unwrap().clone();
    let copy = world.dir.path().join("copy");
    std::fs::create_dir_all(copy.join("geth/chaindata")).unwrap();
    for name in ["nodekey", "genesis.json"] {
        std::fs::copy(node.datadir.join("geth").join(name), copy.join("geth").join(name)).unwrap();
    }
    let ports = loadtest::devnet::free_ports(3).unwrap();
    let mut twin = Command::new(NODE);
    twin.args(["--datadir", copy.to_str().unwrap(), "--mine", "--die-with-parent", "--http.port"])
        .arg(ports[0].to_string())
        .arg("--port")
        .arg(ports[1].to_string())
        .arg("--config")
        .arg(world.net.dir().join("peers.toml"))
        .stderr(std::fs::File::create(copy.join("log")).unwrap());
    let mut twin = twin.spawn().unwrap();
    let said = loadtest::devnet::wait_until("the refusal", support::PATIENCE, || async {
        let here = std::fs::read_to_string(copy.join("log")).unwrap_or_default();
        let there = world.log("val-1");
        (here.contains("Peer refused us") && there.contains("is used by two processes")).then_some(())
    })
    .await;
    let head = world.rpc("val-1").head().await.unwrap();
    world.reaches("val-1", head + 4).await;
    twin.kill().unwrap();
    twin.wait().unwrap();
    said.unwrap();
    world.one_chain().await;
}

#[tokio::test]
async fn governance_runs_on_this_chain_and_a_node_is_bounded_by_its_own_head() {
    let world = World::running(4, 1).await;
    world.reaches("rpc-1", 1).await;
    let rpc = world.rpc("rpc-1");
    let registry = Registry::deploy(rpc.clone()).await.unwrap();
    let plan =
        registry.propose("boho", 300, common::release::Digest([7; 32]), "https://x.test/m").await.unwrap();
    let block = registry.vote(plan, 1).await.unwrap();
    let filter = |from: u64| json!([{"address": registry.address, "fromBlock": format!("{from:#x}"), "toBlock": "0xffffff"}]);
    let logs = rpc.call("eth_getLogs", filter(registry.block)).await.unwrap();
    let last = logs.as_array().unwrap().last().unwrap();
    assert_eq!(last["blockNumber"], format!("{block:#x}"));
    assert_eq!(last["topics"][1], plan.to_string());
    let twice = registry.vote(plan, 1).await;
    assert!(twice.is_err(), "a member votes once");

    // A node that is behind tells of nothing above its head, although the execution layer has it.
    world.net.stop("rpc-1").await.unwrap();
    let head = world.rpc("val-1").head().await.unwrap();
    let old = world.release("1.0.1", &[("other", head + 1)], Behaviour::Normal);
    world.net.start_node("rpc-1", &old).unwrap();
    world.reaches("val-1", head + 5).await;
    let own = world.reaches("rpc-1", 1).await;
    assert!(own <= head, "{own} is not above {head}");
    let block = rpc.call("eth_getBlockByNumber", json!([format!("{:#x}", own + 1), false])).await.unwrap();
    assert!(block.is_null());
    let latest = rpc.call("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    assert_eq!(latest["number"], format!("{own:#x}"));
    assert_eq!(rpc.call("eth_getLogs", filter(own + 1)).await.unwrap(), json!([]));
    world.net.shutdown().await;
}
