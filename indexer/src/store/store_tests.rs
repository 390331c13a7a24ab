use super::*;
use crate::adapter::PlanEvent;
use crate::proposal::ProposalState;
use proptest::prelude::*;

const IDENTITY: Identity = Identity { chain_id: 1337, contract: Address([3; 20]), from_height: 1 };

fn block(height: u64, branch: u8) -> BlockRef {
    let mut hash = [branch; 32];
    hash[..8].copy_from_slice(&height.to_be_bytes());
    BlockRef { height, hash: Hash32(hash) }
}

fn log(at: BlockRef, index: u32, event: PlanEvent) -> (RawLog, Decoded) {
    let address = IDENTITY.contract;
    let raw = RawLog {
        block: at,
        index,
        transaction: Hash32([2; 32]),
        address,
        topics: Vec::new(),
        data: vec![1, 2],
    };
    (raw, Decoded::Event { event })
}

fn propose(plan: u8) -> PlanEvent {
    let manifest_hash = common::release::Digest([4; 32]);
    let (name, uri) = ("boho\u{1b}[2J\0".to_owned(), String::new());
    PlanEvent::Proposed { plan_id: Hash32([plan; 32]), name, height: 900, manifest_hash, uri, cut: false }
}

fn approve(plan: u8) -> PlanEvent {
    PlanEvent::Approved { plan_id: Hash32([plan; 32]) }
}

fn batch(after: BlockRef, blocks: Vec<BlockRef>, logs: Vec<(RawLog, Decoded)>) -> Batch {
    Batch { after, back_to: None, blocks, logs, final_height: None, forget_below: 0 }
}

fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("index.redb"), IDENTITY).unwrap();
    store.begin(block(0, 0).hash, block(0, 0)).unwrap();
    (dir, store)
}

#[test]
fn a_batch_is_all_or_nothing() {
    let (_dir, store) = fresh();
    let (one, two) = (block(1, 0), block(2, 0));
    store.commit(&batch(block(0, 0), vec![one], vec![log(one, 0, propose(1))])).unwrap();
    let before = (store.progress().unwrap(), store.proposals().unwrap(), store.branch().unwrap());

    let again = store.commit(&batch(block(0, 0), vec![one], vec![log(one, 0, propose(1))]));
    assert!(matches!(again, Err(StoreError::OutOfTurn { .. })), "{again:?}");
    let twice = vec![log(two, 0, approve(1)), log(two, 0, approve(1))];
    let twice = store.commit(&batch(one, vec![two], twice));
    assert!(matches!(twice, Err(StoreError::Twice { height: 2, index: 0 })), "{twice:?}");

    let after = (store.progress().unwrap(), store.proposals().unwrap(), store.branch().unwrap());
    assert_eq!(before, after, "a refused batch leaves no trace");
    assert_eq!(after.1[0].state, ProposalState::Voting);
}

#[test]
fn unwinding_restores_what_was_before_and_keeps_orphans() {
    let (_dir, store) = fresh();
    let (one, two, other) = (block(1, 0), block(2, 0), block(2, 1));
    let before = store.commit(&batch(block(0, 0), vec![one], vec![log(one, 0, propose(1))])).unwrap();
    let records = store.proposals().unwrap();
    let unknown = (log(two, 2, approve(1)).0, Decoded::Unknown { why: "test".into() });
    let logs = vec![log(two, 0, approve(1)), log(two, 1, propose(2)), unknown];
    let progress = store.commit(&batch(one, vec![two], logs)).unwrap();
    assert_eq!((progress.events, progress.unknown), (4, 1));
    assert_eq!(store.proposals().unwrap().len(), 2);

    let back = Batch { back_to: Some(one), ..batch(two, Vec::new(), Vec::new()) };
    let progress = store.commit(&back).unwrap();
    assert_eq!(progress, Progress { reorgs: 1, ..before });
    assert_eq!(store.proposals().unwrap(), records);
    assert_eq!(store.orphans().unwrap(), 3);
    assert_eq!(store.branch().unwrap().tip(), Some(one));

    let approved = log(other, 0, approve(1));
    store.commit(&batch(one, vec![other], vec![approved])).unwrap();
    assert_eq!(store.proposals().unwrap()[0].approved_at, Some(other));
}

#[test]
fn finality_never_goes_back_and_never_ahead() {
    let (_dir, store) = fresh();
    let with =
        |after, blocks, height| Batch { final_height: Some(height), ..batch(after, blocks, Vec::new()) };
    let progress = store.commit(&with(block(0, 0), vec![block(1, 0)], 50)).unwrap();
    assert_eq!(progress.final_height, Some(1), "what is not stored is not final here");
    let progress = store.commit(&with(block(1, 0), vec![block(2, 0)], 0)).unwrap();
    assert_eq!(progress.final_height, Some(1));
}

#[test]
fn files_of_something_else_are_refused() {
    let (dir, store) = fresh();
    let path = dir.path().join("index.redb");
    let busy = Store::open(&path, IDENTITY).unwrap_err().to_string();
    assert!(busy.contains("index.redb"), "{busy}");
    drop(store);
    for (identity, says) in [
        (Identity { chain_id: 1, ..IDENTITY }, "chain 1337, 1 is configured"),
        (Identity { contract: Address([4; 20]), ..IDENTITY }, "contract 0x0303"),
        (Identity { from_height: 9, ..IDENTITY }, "first height 1, 9 is configured"),
    ] {
        let error = Store::open(&path, identity).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("index.redb"), "{error}");
    }
    assert!(Store::open(&path, IDENTITY).is_ok(), "a refusal changes nothing");
    std::fs::write(dir.path().join("text"), b"this is no database").unwrap();
    assert!(matches!(Store::open(&dir.path().join("text"), IDENTITY), Err(StoreError::Open { .. })));
}

#[test]
fn old_blocks_are_forgotten_but_one_to_go_back_to() {
    let (_dir, store) = fresh();
    let mut after = block(0, 0);
    for height in [10, 20, 30] {
        let next = block(height, 0);
        let step = Batch { forget_below: 25, ..batch(after, vec![next], Vec::new()) };
        store.commit(&step).unwrap();
        after = next;
    }
    let heights: Vec<u64> = store.branch().unwrap().newest_first().map(|b| b.height).collect();
    assert_eq!(heights, [30, 20]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// After any mixture of growth and reorgs, with the file reopened in between, the index equals one that
    /// read only the last branch.
    #[test]
    fn equals_an_index_of_the_last_branch(steps in prop::collection::vec((0usize..4, 1usize..4, prop::bool::ANY), 1..10)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let mut store = Store::open(&path, IDENTITY).unwrap();
        store.begin(block(0, 0).hash, block(0, 0)).unwrap();
        let mut chain = vec![block(0, 0)];
        for (turn, (back, forward, reopen)) in steps.into_iter().enumerate() {
            let after = *chain.last().unwrap();
            chain.truncate(chain.len().saturating_sub(back).max(1));
            let ancestor = *chain.last().unwrap();
            let new: Vec<BlockRef> =
                (1..=forward as u64).map(|n| block(ancestor.height + n, turn as u8 + 1)).collect();
            let logs = new.iter().flat_map(|b| [log(*b, 0, propose(b.height as u8)), log(*b, 1, approve(1))]);
            let step = Batch {
                back_to: (ancestor != after).then_some(ancestor),
                ..batch(after, new.clone(), logs.collect())
            };
            store.commit(&step).unwrap();
            chain.extend(new);
            if reopen {
                drop(store);
                store = Store::open(&path, IDENTITY).unwrap();
            }
        }
        let (_dir, plain) = fresh();
        let logs = chain[1..].iter().flat_map(|b| [log(*b, 0, propose(b.height as u8)), log(*b, 1, approve(1))]);
        plain.commit(&batch(chain[0], chain[1..].to_vec(), logs.collect())).unwrap();
        prop_assert_eq!(store.proposals().unwrap(), plain.proposals().unwrap());
        prop_assert_eq!(store.events(0, 1000).unwrap(), plain.events(0, 1000).unwrap());
        prop_assert_eq!(store.branch().unwrap(), plain.branch().unwrap());
        prop_assert_eq!(store.progress().unwrap().events, plain.progress().unwrap().events);
        prop_assert_eq!(store.progress().unwrap().cursor, plain.progress().unwrap().cursor);
    }
}
