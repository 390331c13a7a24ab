//! The registry contract on a real EVM, and its index.
#![allow(clippy::unwrap_used)] // Helpers of tests are not seen as tests.

mod support;

use anyhow::Result;
use common::release::Digest;
use indexer::adapter::Decoded;
use indexer::proposal::ProposalState;
use indexer::registry_calls;
use indexer::run::{Finality, IndexError, Indexer};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use support::{Anvil, Registry, pool, until};
use tokio_util::sync::CancellationToken;

/// Passes until there is nothing more to read.
async fn catch_up(index: &Indexer) -> Result<()> {
    while index.pass().await? {}
    Ok(())
}

/// What an index that reads the chain as it is now knows; an index with a history must know the same.
async fn assert_like_fresh(
    index: &Indexer,
    anvil: &Anvil,
    registry: &Registry,
    finality: Finality,
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fresh = Indexer::open(&dir.path().join("fresh"), registry.config(finality), pool(&[&anvil.url]))?;
    catch_up(&fresh).await?;
    assert_eq!(index.proposals()?, fresh.proposals()?);
    assert_eq!(index.store().events(0, 10_000)?, fresh.store().events(0, 10_000)?);
    assert_eq!(index.status().cursor, fresh.status().cursor);
    assert_eq!(index.status().events, fresh.status().events);
    Ok(())
}

fn open(path: &Path, anvil: &Anvil, registry: &Registry, finality: Finality) -> Result<Indexer, IndexError> {
    Indexer::open(path, registry.config(finality), pool(&[&anvil.url]))
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_by_votes_and_seen_while_following() -> Result<()> {
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let dir = tempfile::tempdir()?;
    let index = Arc::new(open(&dir.path().join("index"), &anvil, &registry, Finality::Instant)?);
    let mut changed = index.changed();
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (index, stop) = (Arc::clone(&index), stop.clone());
        async move { index.run(stop).await }
    });
    let uri = "https://example.org/boho.json";
    let plan = registry.propose(&anvil, "boho", 500, uri).await?;
    let open = until("proposal", async || index.proposal(plan).ok().flatten()).await;
    assert_eq!((open.state, open.final_, open.votes, open.required), (ProposalState::Voting, false, 1, 2));
    assert_eq!((open.name.as_str(), open.height, open.uri.as_str()), ("boho", 500, uri));
    assert_eq!(open.manifest_hash, Digest::of(b"boho"));
    assert_eq!(open.voters, [anvil.accounts[0]]);
    assert!(*changed.borrow_and_update() > 0);

    registry.vote(&anvil, 1, plan).await?;
    let approved_height = anvil.height().await?;
    let approved = until("approval", async || {
        index.proposal(plan).ok().flatten().filter(|p| p.state == ProposalState::Approved)
    })
    .await;
    assert!(approved.final_ && approved.votes == 2 && approved.contradictions == 0, "{approved:?}");
    assert_eq!(approved.approved_at.map(|b| b.height), Some(approved_height));
    assert!(changed.has_changed()?);

    // An approved plan needs as many members to cancel as to approve.
    registry.cancel(&anvil, 0, plan).await?;
    registry.cancel(&anvil, 2, plan).await?;
    let state = until("cancel", async || {
        index.proposal(plan).ok().flatten().filter(|p| p.state == ProposalState::Cancelled)
    });
    assert_eq!(state.await.approved_at, approved.approved_at);
    // A plan nobody approves expires with its height; no event says so.
    let height = anvil.height().await? + 3;
    let late = registry.propose(&anvil, "late", height, "").await?;
    until("late", async || index.proposal(late).ok().flatten()).await;
    anvil.mine(5).await?;
    until("expiry", async || {
        index.proposal(late).ok().flatten().filter(|p| p.state == ProposalState::Expired && p.final_)
    })
    .await;
    stop.cancel();
    task.await?;
    assert_eq!((index.status().last_error, index.status().unknown), (None, 0));
    assert_like_fresh(&index, &anvil, &registry, Finality::Instant).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_opened_again_at_every_step() -> Result<()> {
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("index");
    for turn in 0..12 {
        let plan = registry.propose(&anvil, &format!("plan-{turn}"), 10_000, "").await?;
        if turn % 2 == 0 {
            registry.vote(&anvil, 1, plan).await?;
        }
        anvil.mine(turn).await?;
        // One pass, not to the end: the next opening goes on in the middle.
        let index = open(&path, &anvil, &registry, Finality::Confirmations(3))?;
        index.pass().await?;
    }
    let index = Arc::new(open(&path, &anvil, &registry, Finality::Confirmations(3))?);
    // A run that is stopped, and one after it on the same value.
    for _ in 0..2 {
        let stop = CancellationToken::new();
        stop.cancel();
        index.run(stop).await;
    }
    catch_up(&index).await?;
    assert_eq!(index.proposals()?.len(), 12);
    assert_eq!(index.status().reorgs, 0);
    assert_like_fresh(&index, &anvil, &registry, Finality::Confirmations(3)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reorg_under_a_proposal_is_unwound_and_indexed_again() -> Result<()> {
    let finality = Finality::Confirmations(30);
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    anvil.mine(5).await?;
    let kept = registry.propose(&anvil, "kept", 10_000, "").await?;
    let dir = tempfile::tempdir()?;
    let index = open(&dir.path().join("index"), &anvil, &registry, finality)?;
    let lost = registry.propose(&anvil, "lost", 10_000, "").await?;
    registry.vote(&anvil, 1, kept).await?;
    catch_up(&index).await?;
    assert_eq!(index.proposals()?.len(), 2);
    assert_eq!(index.proposal(kept)?.map(|p| p.state), Some(ProposalState::Approved));
    let mut changed = index.changed();
    changed.mark_unchanged();

    // Two blocks, the lost proposal and the approval, are replaced by empty ones.
    anvil.rpc("anvil_reorg", json!([2, []])).await?;
    catch_up(&index).await?;
    assert_eq!(index.status().reorgs, 1);
    assert!(changed.has_changed()?, "who waits for proposals is told");
    assert_eq!(index.proposal(lost)?, None);
    let open_again = index.proposal(kept)?.map(|p| (p.state, p.votes, p.approved_at));
    assert_eq!(open_again, Some((ProposalState::Voting, 1, None)));
    assert_like_fresh(&index, &anvil, &registry, finality).await?;

    // The same members vote again on the new branch, in another block.
    registry.vote(&anvil, 1, kept).await?;
    catch_up(&index).await?;
    assert_eq!(index.proposal(kept)?.map(|p| p.state), Some(ProposalState::Approved));
    assert!(index.store().orphans()? >= 4, "what was read of the lost branch is kept");
    assert_like_fresh(&index, &anvil, &registry, finality).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_gets_shorter_takes_proposals_back() -> Result<()> {
    let finality = Finality::Confirmations(50);
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("index");
    let index = open(&path, &anvil, &registry, finality)?;
    catch_up(&index).await?;
    let snapshot = anvil.rpc("evm_snapshot", json!([])).await?;
    let plan = registry.propose(&anvil, "gone", 10_000, "").await?;
    catch_up(&index).await?;
    assert!(index.proposal(plan)?.is_some());
    anvil.rpc("evm_revert", json!([snapshot])).await?;
    catch_up(&index).await?;
    assert_eq!(index.proposals()?, []);
    assert_eq!(index.status().cursor.map(|c| c.height), Some(anvil.height().await?));
    drop(index);

    // The same while nobody looks: the chain is shorter, then longer again, when the index is opened.
    let snapshot = anvil.rpc("evm_snapshot", json!([])).await?;
    registry.propose(&anvil, "gone again", 10_000, "").await?;
    anvil.mine(20).await?;
    catch_up(&open(&path, &anvil, &registry, finality)?).await?;
    anvil.rpc("evm_revert", json!([snapshot])).await?;
    let stays = registry.propose(&anvil, "stays", 10_000, "").await?;
    anvil.mine(40).await?;
    let index = open(&path, &anvil, &registry, finality)?;
    catch_up(&index).await?;
    assert_eq!(index.proposals()?.iter().map(|p| p.plan_id).collect::<Vec<_>>(), [stays]);
    assert_eq!(index.status().reorgs, 2);
    assert_like_fresh(&index, &anvil, &registry, finality).await
}

#[tokio::test(flavor = "multi_thread")]
async fn final_blocks_are_not_taken_back() -> Result<()> {
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let plan = registry.propose(&anvil, "final", 10_000, "").await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("index");
    let index = open(&path, &anvil, &registry, Finality::Instant)?;
    catch_up(&index).await?;
    anvil.rpc("anvil_reorg", json!([1, []])).await?;
    let error = index.pass().await.unwrap_err();
    assert!(matches!(error, IndexError::FinalChanged { .. }), "{error}");
    assert!(index.proposal(plan)?.is_some(), "the incident is for people to settle");
    // The error is in the status of a run, which goes on.
    let stop = CancellationToken::new();
    let run = index.run(stop.clone());
    let seen = async {
        let text = until("error", async || index.status().last_error).await;
        stop.cancel();
        text
    };
    let ((), text) = tokio::join!(run, seen);
    assert!(text.contains("has changed at or below the final block"), "{text}");
    drop(index);
    // The file is of this chain only.
    let other = Anvil::start(&["--timestamp", "1700000000"]).await?;
    let index = open(&path, &other, &registry, Finality::Instant)?;
    let error = index.pass().await.unwrap_err();
    assert!(matches!(error, IndexError::OtherGenesis { .. }), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_finalized_tag_settles_an_approval() -> Result<()> {
    let anvil = Anvil::start(&["--slots-in-an-epoch", "2"]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let dir = tempfile::tempdir()?;
    let index = open(&dir.path().join("index"), &anvil, &registry, Finality::FinalizedTag)?;
    anvil.mine(6).await?;
    let plan = registry.propose(&anvil, "boho", 10_000, "").await?;
    registry.vote(&anvil, 2, plan).await?;
    catch_up(&index).await?;
    let approved = index.proposal(plan)?.unwrap();
    assert_eq!((approved.state, approved.final_), (ProposalState::Approved, false));
    let mut changed = index.changed();
    changed.mark_unchanged();
    anvil.mine(10).await?;
    catch_up(&index).await?;
    assert!(index.proposal(plan)?.unwrap().final_);
    assert!(changed.has_changed()?);
    assert_like_fresh(&index, &anvil, &registry, Finality::FinalizedTag).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_and_strange_logs_are_data() -> Result<()> {
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let dir = tempfile::tempdir()?;
    let index = open(&dir.path().join("index"), &anvil, &registry, Finality::Instant)?;
    let names = [
        "\u{1b}[2J\u{1b}]0;pwned\u{7}",
        "<script>alert(1)</script>",
        "'; DROP TABLE x; --",
        "a\0b\r\n\u{202e}",
    ];
    let uri = "http://169.254.169.254/latest?".to_owned() + &"\u{1f4a3}".repeat(500);
    for name in names {
        registry.propose(&anvil, name, u64::MAX, &uri).await?;
    }
    // A contract that was replaced may emit what nobody announced: PUSH1 42, PUSH1 0, MSTORE, then LOG1 with a
    // strange topic, at the same address.
    let code = format!("0x602a6000527f{}60206000a100", "ab".repeat(32));
    anvil.rpc("anvil_setCode", json!([registry.address, code])).await?;
    anvil.send(anvil.accounts[3], Some(registry.address), &[]).await?;
    catch_up(&index).await?;
    let proposals = index.proposals()?;
    assert_eq!(proposals.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), names);
    assert!(proposals.iter().all(|p| p.uri == uri && p.height == u64::MAX && !p.cut));
    assert_eq!(index.status().unknown, 1);
    let events = index.store().events(0, 100)?;
    let last = events.last().unwrap();
    assert!(matches!(last.decoded, Decoded::Unknown { .. }) && last.raw.data[31] == 42, "{last:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_refuses_what_it_says_it_refuses() -> Result<()> {
    let anvil = Anvil::start(&[]).await?;
    let registry = Registry::deploy(&anvil).await?;
    let (member, stranger) = (anvil.accounts[0], anvil.accounts[3]);
    let plan = registry.propose(&anvil, "boho", 30, "").await?;
    let digest = Digest([1; 32]);
    let propose = |name: &str, height, digest, uri: &str| registry_calls::propose(name, height, digest, uri);
    let unknown = common::chain::Hash32([9; 32]);
    for (from, input, name) in [
        (stranger, propose("x", 99, digest, ""), "NotMember"),
        (stranger, registry_calls::vote(plan), "NotMember"),
        (stranger, registry_calls::cancel(plan), "NotMember"),
        (member, propose("", 99, digest, ""), "BadNameLength"),
        (member, propose(&"x".repeat(129), 99, digest, ""), "BadNameLength"),
        (member, propose("x", 99, digest, &"x".repeat(2049)), "UriTooLong"),
        (member, propose("x", 99, Digest([0; 32]), ""), "NoManifestHash"),
        (member, propose("x", 1, digest, ""), "HeightNotAhead"),
        (member, registry_calls::vote(unknown), "NoSuchPlan"),
        (member, registry_calls::cancel(unknown), "NoSuchPlan"),
        (member, registry_calls::vote(plan), "AlreadyVoted"),
    ] {
        let refusal = anvil.refusal(from, registry.address, &input).await?;
        assert!(refusal.contains(&selector(name)), "{name}: {refusal}");
    }
    registry.cancel(&anvil, 1, plan).await?;
    let refusal = anvil.refusal(anvil.accounts[1], registry.address, &registry_calls::cancel(plan)).await?;
    assert!(refusal.contains(&selector("AlreadyAskedToCancel")), "{refusal}");
    registry.vote(&anvil, 1, plan).await?;
    let refusal = anvil.refusal(anvil.accounts[2], registry.address, &registry_calls::vote(plan)).await?;
    assert!(refusal.contains(&selector("NotVoting")), "{refusal}");
    registry.cancel(&anvil, 2, plan).await?;
    let refusal = anvil.refusal(member, registry.address, &registry_calls::cancel(plan)).await?;
    assert!(refusal.contains(&selector("AlreadyCancelled")), "{refusal}");

    let own = registry.propose(&anvil, "own", anvil.height().await? + 5, "").await?;
    anvil.mine(5).await?;
    let refusal = anvil.refusal(anvil.accounts[1], registry.address, &registry_calls::vote(own)).await?;
    assert!(refusal.contains(&selector("HeightNotAhead")), "too late to vote: {refusal}");
    registry.cancel(&anvil, 0, own).await?;

    for (members, threshold) in
        [(&anvil.accounts[..0], 0), (&anvil.accounts[..2], 3), (&anvil.accounts[..2], 0)]
    {
        let input = registry_calls::deploy(members, threshold)?;
        assert!(anvil.send(member, None, &input).await.is_err(), "{threshold} of {}", members.len());
    }
    let twice = registry_calls::deploy(&[member, member], 1)?;
    assert!(anvil.send(member, None, &twice).await.is_err());
    Ok(())
}

/// What the answer of a call refused with the named error starts with.
fn selector(name: &str) -> String {
    let artifact: serde_json::Value =
        serde_json::from_str(include_str!("../contracts/artifacts/UpgradeRegistry.json")).unwrap();
    let entry =
        artifact["abi"].as_array().unwrap().iter().find(|e| e["type"] == "error" && e["name"] == name);
    let inputs = entry.unwrap()["inputs"].as_array().unwrap();
    let types: Vec<&str> = inputs.iter().map(|i| i["type"].as_str().unwrap()).collect();
    let signature = format!("{name}({})", types.join(","));
    hex::encode(&alloy::primitives::keccak256(signature)[..4])
}
