//! Endpoints that lag, lie, refuse or are away: nothing is lost, nothing is believed of one alone.
#![allow(clippy::unwrap_used)] // Helpers of tests are not seen as tests.

mod support;

use alloy::sol_types::SolEvent;
use anyhow::Result;
use common::chain::{Address, Hash32};
use common::time::Span;
use indexer::proposal::ProposalState;
use indexer::rpc::{Limits, Pool, RpcError};
use indexer::run::{Finality, IndexConfig, IndexError, Indexer};
use serde_json::{Value, json};
use std::sync::Arc;
use support::fake::{Block, Chain, Fake, address};
use support::{endpoint, pool, quick};

alloy::sol! {
    event PlanProposed(bytes32 indexed planId, string name, uint64 height, bytes32 manifestHash, string uri);
    event PlanApproved(bytes32 indexed planId);
}

const REGISTRY: Address = Address([3; 20]);

fn log(event: &impl SolEvent) -> Value {
    let data = event.encode_log_data();
    let topics: Vec<Hash32> = data.topics().iter().map(|t| Hash32(t.0)).collect();
    json!({"address": REGISTRY, "topics": topics, "data": format!("0x{}", hex::encode(&data.data)), "removed": false})
}

/// A chain with one proposal in each of the given blocks, approved in the block after.
fn governed(length: usize, at: &[usize]) -> Chain {
    let mut chain = Chain::of(length);
    for height in at {
        let plan = [*height as u8; 32].into();
        let proposed = PlanProposed {
            planId: plan,
            name: format!("plan-{height}"),
            height: 1_000_000,
            manifestHash: [1; 32].into(),
            uri: String::new(),
        };
        chain.blocks[*height].logs.push(log(&proposed));
        chain.blocks[height + 1].logs.push(log(&PlanApproved { planId: plan }));
    }
    chain
}

fn config(required: usize, finality: Finality) -> IndexConfig {
    let poll = Span(10);
    IndexConfig { chain_id: 1337, registry: REGISTRY, from_height: 1, finality, poll, required }
}

fn index(
    pool: Arc<Pool>,
    required: usize,
    finality: Finality,
) -> Result<(tempfile::TempDir, Indexer), IndexError> {
    let dir = tempfile::tempdir().unwrap();
    let index = Indexer::open(&dir.path().join("index"), config(required, finality), pool)?;
    Ok((dir, index))
}

/// Passes until there is nothing more to read; trouble is tried again, as a run does.
async fn settle(index: &Indexer) {
    let mut errors = 0;
    loop {
        match index.pass().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                errors += 1;
                assert!(errors < 100, "{error}");
            }
        }
    }
}

#[tokio::test]
async fn ranges_shrink_to_what_an_endpoint_allows() -> Result<()> {
    let mut chain = governed(3000, &[1, 2, 700, 1500, 2990]);
    chain.most_blocks = Some(7);
    let fake = Fake::serve(chain).await;
    let (_dir, index) = index(pool(&[&fake.url]), 1, Finality::Instant)?;
    settle(&index).await;
    let status = index.status();
    assert_eq!((status.cursor.map(|c| c.height), status.events, status.lag), (Some(2999), 10, Some(0)));
    assert!(index.proposals()?.iter().all(|p| p.state == ProposalState::Approved && p.final_));
    let requests = fake.chain.lock().unwrap().requests;
    // 429 ranges of 7 need at least three requests each: the head, the headers, the logs.
    assert!(requests < 1600, "the limit is found and kept: {requests}");
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_lags_behind_its_answers_loses_nothing() -> Result<()> {
    let whole = governed(400, &[50, 390]);
    let mut lagging = whole.clone();
    lagging.blocks.truncate(380);
    let (front, back) = (Fake::serve(whole.clone()).await, Fake::serve(lagging).await);
    let (_dir, index) = index(pool(&[&front.url, &back.url]), 2, Finality::Instant)?;
    settle(&index).await;
    let status = index.status();
    assert_eq!(status.cursor.map(|c| c.height), Some(379), "two have no more in common");
    assert_eq!((status.events, index.proposals()?.len()), (2, 1));
    back.change(|chain| chain.blocks = whole.blocks.clone());
    settle(&index).await;
    assert_eq!((index.status().events, index.proposals()?.len()), (4, 2));
    Ok(())
}

/// One address with two backends, one of them behind: past its head it answers a short list of logs without an
/// error. Whatever the order of the requests, no log is skipped.
#[tokio::test]
async fn a_stale_backend_behind_one_address_loses_nothing() -> Result<()> {
    for finality in [Finality::Instant, Finality::Confirmations(20)] {
        let fake = Fake::serve(governed(400, &[50, 385, 390, 396])).await;
        fake.change(|chain| chain.stale = Some(380));
        let (_dir, index) = index(pool(&[&fake.url]), 1, finality)?;
        support::until("whole chain", async || {
            let _ = index.pass().await;
            index.status().cursor.filter(|c| c.height == 399)
        })
        .await;
        assert_eq!((index.status().events, index.proposals()?.len()), (8, 4), "{finality:?}");
    }
    Ok(())
}

#[tokio::test]
async fn logs_that_one_endpoint_leaves_out_stop_the_index_and_name_both() -> Result<()> {
    let whole = governed(40, &[20]);
    let mut pruned = whole.clone();
    pruned.forgets = vec![20, 21];
    let (honest, pruned) = (Fake::serve(whole.clone()).await, Fake::serve(pruned).await);
    let (_dir, two) = index(pool(&[&honest.url, &pruned.url]), 2, Finality::Instant)?;
    while two.status().cursor.is_none() {
        two.pass().await?;
    }
    let error = two.pass().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, IndexError::Rpc(RpcError::Disagreement { .. })), "{text}");
    assert!(text.contains("rpc-1") && text.contains("rpc-2"), "{text}");
    assert_eq!(two.proposals()?, []);

    // With a third, two agree and the index goes on.
    let third = Fake::serve(whole).await;
    let (_dir, three) = index(pool(&[&pruned.url, &honest.url, &third.url]), 2, Finality::Instant)?;
    settle(&three).await;
    assert_eq!(three.proposals()?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_minority_branch_is_not_followed() -> Result<()> {
    let honest = governed(60, &[30]);
    let mut forked = governed(90, &[31]);
    forked.blocks[25].salt = 9;
    let fakes =
        [Fake::serve(forked).await, Fake::serve(honest.clone()).await, Fake::serve(honest.clone()).await];
    let urls: Vec<&str> = fakes.iter().map(|f| f.url.as_str()).collect();
    let (_dir, index) = index(pool(&urls), 2, Finality::Instant)?;
    settle(&index).await;
    let agreeing: Vec<String> = index.status().agreeing.iter().map(ToString::to_string).collect();
    assert_eq!(agreeing, ["rpc-2", "rpc-3"]);
    assert_eq!(index.status().cursor.map(|c| c.hash), Some(honest.hash(59)));
    // One of the two leaves: no two agree, and nothing moves.
    fakes[2].change(|chain| chain.down = true);
    let error = index.pass().await.unwrap_err().to_string();
    assert!(error.contains("disagree") && error.contains("rpc-1"), "{error}");
    Ok(())
}

#[tokio::test]
async fn deep_reorgs_of_a_sparse_and_a_dense_history() -> Result<()> {
    for depth in [1, 5, 40, 90, 150] {
        let before = governed(500, &[100, 420, 495]);
        let fake = Fake::serve(before.clone()).await;
        let (_dir, indexed) = index(pool(&[&fake.url]), 1, Finality::Confirmations(200))?;
        settle(&indexed).await;
        let mut after = governed(505, &[100, 420, 499]);
        after.blocks[..500 - depth].clone_from_slice(&before.blocks[..500 - depth]);
        after.blocks[500 - depth].salt = 7;
        let hash = after.hash(504);
        fake.change(|chain| chain.blocks = after.blocks.clone());
        settle(&indexed).await;
        let (_dir, fresh) = index(pool(&[&fake.url]), 1, Finality::Confirmations(200))?;
        settle(&fresh).await;
        assert_eq!(indexed.status().cursor.map(|c| c.hash), Some(hash), "depth {depth}");
        assert_eq!(indexed.status().reorgs, 1, "depth {depth}");
        assert_eq!(indexed.proposals()?, fresh.proposals()?, "depth {depth}");
        assert_eq!(indexed.store().events(0, 100)?, fresh.store().events(0, 100)?, "depth {depth}");
    }
    Ok(())
}

#[tokio::test]
async fn bad_answers_are_errors_that_name_the_endpoint() -> Result<()> {
    let fake = Fake::serve(Chain::of(5)).await;
    let small = Limits { max_answer: 100, ..quick() };
    let narrow = Pool::new(&[endpoint("rpc-1", &fake.url)], small)?;
    let error = narrow.agreed_head(1).await.unwrap_err().to_string();
    assert!(error.contains("rpc-1") && error.contains("larger than 100 bytes"), "{error}");

    let plain = pool(&[&fake.url]);
    for body in [
        "",
        "no json",
        "[]",
        "{}",
        "null",
        r#"{"id":0,"result":{"number":"-1"}}"#,
        r#"{"id":0,"result":"0x1"}"#,
        r#"{"id":0,"error":{"code":-32000,"message":"\u001b[2J"}}"#,
        "[[[[[[[[",
    ] {
        fake.change(|chain| chain.body = Some(body.to_owned()));
        let error = plain.agreed_head(1).await.unwrap_err().to_string();
        assert!(error.contains("rpc-1") && !error.contains('\u{1b}'), "{body}: {error}");
    }
    fake.change(|chain| chain.body = None);
    assert_eq!(plain.agreed_head(1).await?.header.height, 4);

    fake.change(|chain| chain.chain_id = 1111);
    let (_dir, index) = index(pool(&[&fake.url]), 1, Finality::Instant)?;
    let error = index.pass().await.unwrap_err().to_string();
    assert!(error.contains("rpc-1 serves chain 1111, chain 1337 is configured"), "{error}");
    Ok(())
}

#[tokio::test]
async fn configurations_that_cannot_work_are_refused() {
    let fine = endpoint("rpc-1", "http://127.0.0.1:1");
    for (endpoints, says) in [
        (vec![], "1 endpoints must agree, 0 are given"),
        (vec![fine.clone(), fine.clone()], "rpc-1 is used twice"),
        (vec![endpoint("rpc-1", "ftp://x")], "http:// or https:// is expected"),
        (vec![endpoint("rpc-1", "not an address")], "no usable address"),
    ] {
        let error = Pool::new(&endpoints, quick()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    for required in [0, 2] {
        let error = index(pool(&["http://127.0.0.1:1"]), required, Finality::Instant).unwrap_err();
        assert!(matches!(error, IndexError::Rpc(RpcError::TooFewGiven { .. })), "{error}");
    }
}

#[tokio::test]
async fn a_failing_endpoint_is_tried_again_and_its_return_is_noticed() -> Result<()> {
    let fake = Fake::serve(governed(10, &[3])).await;
    let (_dir, index) = index(pool(&[&fake.url]), 1, Finality::Instant)?;
    fake.change(|chain| chain.down = true);
    let stop = tokio_util::sync::CancellationToken::new();
    let drive = async {
        let error = support::until("error", async || index.status().last_error).await;
        assert!(error.contains("rpc-1") && error.contains("500"), "{error}");
        fake.change(|chain| chain.down = false);
        support::until("return", async || index.proposals().ok().filter(|p| p.len() == 1)).await;
        support::until("clear", async || index.status().last_error.is_none().then_some(())).await;
        // The chain goes on, and so does the index.
        fake.change(|chain| chain.blocks.push(Block::default()));
        support::until("next", async || index.status().cursor.filter(|c| c.height == 10)).await;
        stop.cancel();
    };
    tokio::join!(index.run(stop.clone()), drive);
    assert_eq!(address(3), REGISTRY);
    Ok(())
}
