//! Durable commits: one after the other, and 64 at once, which share the disk's flush.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a bench")]
use coordinator::store::{Committed, Op, RedbStore};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

/// Commits at once.
const WRITERS: usize = 64;

async fn put(store: RedbStore, key: usize) {
    let ops = vec![Op::Put(format!("bench/{key:03}"), vec![7; 256])];
    let done = store.commit(vec![], ops).await;
    assert!(matches!(done, Ok(Committed::At(_))), "{done:?}");
}

async fn put_all(store: &RedbStore) {
    let commits: Vec<_> = (0..WRITERS).map(|key| tokio::spawn(put(store.clone(), key))).collect();
    for commit in commits {
        commit.await.expect("a commit");
    }
}

fn commits(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let store = runtime.block_on(async {
        let store = RedbStore::open(&dir.path().join("bench.redb")).expect("a store");
        store.campaign().await.expect("an epoch");
        store
    });
    let mut group = c.benchmark_group("store");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(1));
    group.bench_function("commit-1", |b| b.to_async(&runtime).iter(|| put(store.clone(), 0)));
    group.throughput(Throughput::Elements(WRITERS as u64));
    group.bench_function("commit-64-at-once", |b| b.to_async(&runtime).iter(|| put_all(&store)));
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
