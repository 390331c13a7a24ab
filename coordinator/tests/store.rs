//! The conformance suite on the embedded backend, and what only a file can go through.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]
use coordinator::store::{Committed, Op, RedbStore, StoreError, conformance};

fn store() -> (tempfile::TempDir, RedbStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&dir.path().join("s.redb")).unwrap();
    (dir, store)
}

#[tokio::test]
async fn compare_and_set() {
    conformance::compare_and_set(&store().1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_counters() {
    conformance::concurrent_counters(&store().1, 4, 25).await.unwrap();
}

#[tokio::test]
async fn watch_without_gaps() {
    conformance::watch_without_gaps(&store().1).await.unwrap();
}

#[tokio::test]
async fn limits() {
    conformance::limits(&store().1).await.unwrap();
}

#[tokio::test]
async fn fencing() {
    conformance::fencing(&store().1).await.unwrap();
}

/// A copy of the file taken while it is open is what a kill leaves: acknowledged commits are in it.
#[tokio::test]
async fn acknowledged_commits_survive_a_kill() {
    let (dir, store) = store();
    for i in 0..20 {
        let done = store.commit(vec![], vec![Op::Put(format!("k{i}"), vec![i])]).await.unwrap();
        assert!(matches!(done, Committed::At(_)));
    }
    let copy = dir.path().join("after-kill.redb");
    std::fs::copy(dir.path().join("s.redb"), &copy).unwrap();
    assert_eq!(RedbStore::open(&copy).unwrap().snapshot("k").unwrap().rows.len(), 20);
}

/// The file vanished but the fleet was in use: an empty store would forget every permission.
#[tokio::test]
async fn a_store_that_opens_empty_is_refused() {
    let (dir, store) = store();
    let path = dir.path().join("s.redb");
    store.commit(vec![], vec![Op::Put("k".into(), vec![1])]).await.unwrap();
    drop(store);
    std::fs::remove_file(&path).unwrap();
    let said = RedbStore::open(&path).unwrap_err();
    assert!(matches!(said, StoreError::OpensEmpty { .. }), "{said}");
}

#[tokio::test]
async fn a_second_process_is_told() {
    let (dir, _store) = store();
    let said = RedbStore::open(&dir.path().join("s.redb")).unwrap_err().to_string();
    assert!(said.contains("another process has it open"), "{said}");
}
