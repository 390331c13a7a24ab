//! The `devnet` command: makes releases, keeps a network, and takes everything with it when it ends.
#![allow(clippy::unwrap_used)]
mod support;

use loadtest::devnet::{NetworkFile, Rpc, rpc, wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::PATIENCE;

const DEVNET: &str = env!("CARGO_BIN_EXE_devnet");

fn up(dir: &Path) -> Child {
    let mut command = Command::new(DEVNET);
    command.args(["up", "--validators", "1", "--rpc", "1", "--block-ms", "100", "--flush-ms", "50", "--dir"]);
    command.arg(dir).stderr(Stdio::null()).spawn().unwrap()
}

async fn network_file(dir: &Path) -> NetworkFile {
    let file = wait_until("a sealing network", PATIENCE, || async {
        let text = std::fs::read(dir.join("network.json")).ok()?;
        let file: NetworkFile = serde_json::from_slice(&text).ok()?;
        let head = Rpc::new(&file.nodes[1].rpc_url).ok()?.head().await.ok()?;
        (head > 1).then_some(file)
    });
    file.await.unwrap()
}

fn signal(child: &Child, which: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), which).unwrap();
}

/// Waits until nothing of a network answers or lives.
async fn all_gone(file: &NetworkFile) {
    let anvil = Pid::from_raw(i32::try_from(file.anvil_pid).unwrap()).unwrap();
    let gone = wait_until("the end of all processes", PATIENCE, || async {
        for node in &file.nodes {
            if rpc(&node.rpc_url, "eth_blockNumber", json!([])).await.is_ok() {
                return None;
            }
        }
        // An orphan that nobody waits for stays a zombie where process 1 does not reap: it answers nothing.
        let silent = rpc(&file.anvil_url, "eth_blockNumber", json!([])).await.is_err();
        (silent || test_kill_process(anvil).is_err()).then_some(())
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn sigterm_ends_the_network_in_order_and_sigkill_ends_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = up(&dir.path().join("a"));
    let file = network_file(&dir.path().join("a")).await;
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    all_gone(&file).await;
    for node in &file.nodes {
        assert!(!node.datadir.join("geth/UNCLEAN").exists(), "{} was stopped in order", node.name);
    }

    let mut child = up(&dir.path().join("b"));
    let file = network_file(&dir.path().join("b")).await;
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    all_gone(&file).await;
}

#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("r");
    let out = out.to_str().unwrap();
    let here = dir.path().join("net");
    let here = here.to_str().unwrap();
    for (args, word) in [
        (vec!["release", "--version", "one", "--out", out], "one"),
        (vec!["release", "--version", "1.0.0", "--fork", "boho", "--out", out], "name=height"),
        (vec!["release", "--version", "1.0.0", "--fork", "boho=x", "--out", out], "no height"),
        (vec!["release", "--version", "1.0.0", "--behaviour", "odd", "--out", out], "no behaviour"),
        (vec!["release", "--version", "1.0.0", "--node-binary", "/nowhere", "--out", out], "/nowhere"),
        (vec!["up", "--validators", "0", "--dir", here], "0 validators"),
        (vec!["up", "--block-ms", "1", "--dir", here], "blockPeriodMs"),
        (vec!["up", "--anvil", "/nowhere", "--dir", here], "anvil was not found"),
    ] {
        let said = Command::new(DEVNET).args(&args).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains(word), "{args:?}: {text}");
    }
    assert!(!Path::new(out).exists(), "nothing was written");
}
