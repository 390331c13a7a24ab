//! The chain observer against endpoints of a WBFT-like chain.
#![allow(clippy::unwrap_used)] // Helpers of tests are not seen as tests.

mod support;

use anyhow::Result;
use common::chain::Address;
use common::time::{Span, UnixMs};
use indexer::seals::{ObserveError, Observer, ObserverConfig};
use std::sync::atomic::{AtomicU64, Ordering};
use support::fake::{Block, Chain, Fake, address};
use support::pool;

static NOW: AtomicU64 = AtomicU64::new(5_000_000);

/// A clock that a test moves; each look is later than the one before.
fn clock() -> UnixMs {
    UnixMs(NOW.fetch_add(1000, Ordering::SeqCst))
}

fn sealed(by: &[u8], round: u64) -> Block {
    Block { sealers: by.iter().map(|n| address(*n)).collect(), round, ..Block::default() }
}

fn wbft(length: usize) -> Chain {
    let mut chain = Chain::of(length);
    chain.validators = Some((1..=4).map(address).collect());
    for (height, block) in chain.blocks.iter_mut().enumerate() {
        *block = sealed(&[1, 2, 3], (height % 3) as u64);
    }
    chain
}

fn config(window: usize, required: usize) -> ObserverConfig {
    ObserverConfig { poll: Span(10), window, required, epoch_length: 10 }
}

fn names(sealers: &[Address]) -> Vec<u8> {
    sealers.iter().map(|a| a.0[0]).collect()
}

#[tokio::test]
async fn the_window_slides_and_seals_come_from_the_next_block() -> Result<()> {
    let chain = wbft(20);
    let fakes = [Fake::serve(chain.clone()).await, Fake::serve(chain.clone()).await];
    let observer = Observer::new(pool(&[&fakes[0].url, &fakes[1].url]), config(8, 2)).with_clock(clock);
    let view = observer.look().await?;
    assert_eq!((view.chain_id, view.genesis_hash, view.head.height), (1337, chain.hash(0), 19));
    assert_eq!((view.required, view.agreeing.len(), view.bft, view.epoch_length), (2, 2, true, 10));
    assert_eq!(names(&view.validators), [1, 2, 3, 4]);
    assert_eq!(view.head_advanced_at, UnixMs(1_019_000), "the time of the block, not of the start");
    let heights: Vec<u64> = view.window.iter().map(|b| b.block.height).collect();
    assert_eq!(heights, (12..20).collect::<Vec<u64>>());
    for block in &view.window[..7] {
        assert_eq!(names(&block.sealers), [1, 2, 3]);
        assert_eq!(
            (block.round, block.proposer),
            (block.block.height % 3, address(block.block.height as u8))
        );
    }
    assert!(view.window[7].sealers.is_empty(), "its proof does not exist yet");

    // The newest block was sealed by others; three blocks follow.
    for fake in &fakes {
        fake.change(|chain| {
            chain.blocks[19] = sealed(&[2, 3, 4], 5);
            chain.blocks.extend([sealed(&[1, 2, 4], 0), sealed(&[1, 2], 0), sealed(&[], 0)]);
            chain.requests = 0;
        });
    }
    let view = observer.look().await?;
    let heights: Vec<u64> = view.window.iter().map(|b| b.block.height).collect();
    assert_eq!(heights, (15..23).collect::<Vec<u64>>());
    let sealers: Vec<Vec<u8>> = view.window[4..].iter().map(|b| names(&b.sealers)).collect();
    assert_eq!(sealers, [vec![2, 3, 4], vec![1, 2, 4], vec![1, 2], vec![]]);
    assert_eq!(view.window[4].round, 5);
    assert!(view.head_advanced_at >= UnixMs(5_000_000), "it was seen to grow");
    let spent = fakes[0].chain.lock().unwrap().requests;
    assert!(spent <= 5, "only new blocks are read, in few requests: {spent}");

    let again = observer.look().await?;
    assert_eq!((again.head_advanced_at, again.head), (view.head_advanced_at, view.head));
    assert!(again.observed_at > view.observed_at);
    assert_eq!(observer.view().borrow().as_ref().map(|v| v.observed_at), Some(again.observed_at));
    Ok(())
}

#[tokio::test]
async fn the_head_is_what_enough_endpoints_have() -> Result<()> {
    let chain = wbft(30);
    let mut behind = chain.clone();
    behind.blocks.truncate(25);
    let mut forked = wbft(40);
    forked.blocks[10].salt = 9;
    let fakes =
        [Fake::serve(forked).await, Fake::serve(behind.clone()).await, Fake::serve(chain.clone()).await];
    let urls: Vec<&str> = fakes.iter().map(|f| f.url.as_str()).collect();
    let observer = Observer::new(pool(&urls), config(8, 2)).with_clock(clock);
    // Of the two highest, one is on a fork: the view is of the block that two have, found below.
    let outcome = observer.look().await;
    assert!(matches!(outcome, Err(ObserveError::Rpc(_))), "30 and 40 agree on nothing: {outcome:?}");
    assert!(observer.view().borrow().is_none());

    fakes[1].change(|chain| chain.blocks = wbft(29).blocks);
    let view = observer.look().await?;
    let labels: Vec<&str> = view.agreeing.iter().map(|n| n.as_str()).collect();
    assert_eq!((view.head.height, labels), (28, vec!["rpc-2", "rpc-3"]));
    assert_eq!(view.head.hash, chain.hash(28));

    // An endpoint that goes away leaves the last view; nothing fresh is claimed.
    fakes[1].change(|chain| chain.down = true);
    assert!(observer.look().await.is_err());
    assert_eq!(observer.view().borrow().as_ref().map(|v| v.observed_at), Some(view.observed_at));
    Ok(())
}

#[tokio::test]
async fn a_replaced_block_rebuilds_the_window() -> Result<()> {
    let fake = Fake::serve(wbft(20)).await;
    let observer = Observer::new(pool(&[&fake.url]), config(8, 1)).with_clock(clock);
    observer.look().await?;
    fake.change(|chain| {
        chain.blocks[17] = Block { salt: 5, ..sealed(&[4], 1) };
        chain.blocks.push(sealed(&[1], 0));
    });
    let view = observer.look().await?;
    let blocks = &view.window;
    assert_eq!(blocks.len(), 8);
    assert!(blocks.windows(2).all(|pair| pair[0].block.height + 1 == pair[1].block.height));
    assert_eq!(names(&blocks.iter().find(|b| b.block.height == 17).unwrap().sealers), [4]);
    assert_eq!(view.head.hash, fake.chain.lock().unwrap().hash(20));
    Ok(())
}

#[tokio::test]
async fn without_the_namespace_there_is_no_validator_set() -> Result<()> {
    let plain = [Fake::serve(Chain::of(5)).await, Fake::serve(Chain::of(5)).await];
    let observer = Observer::new(pool(&[&plain[0].url, &plain[1].url]), config(8, 2)).with_clock(clock);
    let view = observer.look().await?;
    assert!(!view.bft && view.validators.is_empty() && view.window.len() == 5);

    // Once it was there it cannot go: `bft = false` would switch the quorum rule off.
    let closing = Fake::serve(wbft(5)).await;
    let observer = Observer::new(pool(&[&closing.url]), config(8, 1)).with_clock(clock);
    assert!(observer.look().await?.bft);
    closing.change(|chain| {
        chain.validators = None;
        chain.blocks.push(Block::default());
    });
    assert_eq!(observer.look().await.unwrap_err(), ObserveError::NamespaceClosed);

    // One of two has it closed from the start: that is no proof that the chain has none.
    let mixed = [Fake::serve(wbft(5)).await, Fake::serve(Chain::of(5)).await];
    mixed[1].change(|chain| chain.blocks = wbft(5).blocks);
    let observer = Observer::new(pool(&[&mixed[0].url, &mixed[1].url]), config(8, 2)).with_clock(clock);
    assert!(observer.look().await.is_err());
    assert!(observer.view().borrow().is_none());
    Ok(())
}

#[tokio::test]
async fn endpoints_that_differ_on_seals_make_no_view() -> Result<()> {
    let mut lying = wbft(10);
    lying.blocks[7].sealers = vec![address(1)];
    let fakes = [Fake::serve(wbft(10)).await, Fake::serve(lying).await];
    let observer = Observer::new(pool(&[&fakes[0].url, &fakes[1].url]), config(8, 2)).with_clock(clock);
    let error = observer.look().await.unwrap_err().to_string();
    assert!(error.contains("disagree") && error.contains("rpc-1 against rpc-2"), "{error}");
    Ok(())
}

#[tokio::test]
async fn runs_until_it_is_told_to_stop() -> Result<()> {
    let fake = Fake::serve(wbft(10)).await;
    fake.change(|chain| chain.down = true);
    let observer = Observer::new(pool(&[&fake.url]), config(8, 1)).with_clock(clock);
    let stop = tokio_util::sync::CancellationToken::new();
    let drive = async {
        support::until("error", async || observer.last_error()).await;
        fake.change(|chain| chain.down = false);
        let mut views = observer.view();
        support::until("view", async || views.borrow_and_update().clone()).await;
        support::until("clear", async || observer.last_error().is_none().then_some(())).await;
        stop.cancel();
    };
    tokio::join!(observer.run(stop.clone()), drive);
    Ok(())
}
