//! Reading `PlanProposed` logs as the chain serves them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a bench")]
use common::chain::{Address, BlockRef, Hash32};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use indexer::adapter::{Adapter, Decoded, PlanEvent, RegistryV1};
use indexer::rpc::RawLog;
use std::hint::black_box;

fn word(value: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&value.to_be_bytes());
    word
}

/// A dynamic value of the contract ABI: its length, then its bytes in whole words.
fn dynamic(text: &str) -> Vec<u8> {
    let mut bytes = word(text.len() as u64).to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

fn proposed(adapter: &RegistryV1, n: u64) -> RawLog {
    let name = dynamic(&format!("boho-{n}"));
    let uri = dynamic("https://releases.example.org/gstable/v1.2.3/manifest.json");
    let mut data = word(4 * 32).to_vec();
    data.extend(word(1_000_000 + n));
    data.extend([8; 32]);
    data.extend(word((4 * 32 + name.len()) as u64));
    data.extend(name);
    data.extend(uri);
    RawLog {
        block: BlockRef { height: n, hash: Hash32([1; 32]) },
        index: 0,
        transaction: Hash32([2; 32]),
        address: adapter.contract(),
        topics: vec![adapter.topics()[0], Hash32(word(n))],
        data,
    }
}

fn decode(c: &mut Criterion) {
    let adapter = RegistryV1::new(Address([3; 20]));
    let logs: Vec<_> = (0..1000).map(|n| proposed(&adapter, n)).collect();
    let read = adapter.decode(&logs[7]);
    let Decoded::Event { event: PlanEvent::Proposed { name, height, .. } } = &read else {
        panic!("the log is not read: {read:?}")
    };
    assert_eq!((name.as_str(), *height), ("boho-7", 1_000_007));
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(logs.len() as u64));
    group.bench_function("plan-proposed-1000", |b| {
        b.iter(|| logs.iter().map(|log| adapter.decode(black_box(log))).collect::<Vec<_>>())
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
