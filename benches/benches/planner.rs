//! One pass of the planner and of its second opinion over 1,000 nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a bench")]
#[path = "../../common/tests/toy/mod.rs"]
mod toy;

use common::chain::Address;
use common::fleet::{NodeRecord, Role};
use common::manifest::Activation;
use common::planner::{PlanInput, check, plan};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use toy::World;

/// 100 validators and 900 RPC nodes.
fn thousand() -> Vec<NodeRecord> {
    let validator = |i: u8| toy::record(&format!("val-{i:03}"), Role::Validator, Some(Address([i; 20])));
    let rpc = |i: u32| toy::record(&format!("rpc-{i:03}"), Role::Rpc, None);
    (0..100).map(validator).chain((0..900).map(rpc)).collect()
}

fn measure(c: &mut Criterion, name: &str, input: &PlanInput) {
    c.bench_function(&format!("planner/plan/{name}"), |b| b.iter(|| plan(black_box(input))));
    let planned = plan(input);
    c.bench_function(&format!("planner/check/{name}"), |b| {
        b.iter(|| check(black_box(input), black_box(&planned)))
    });
}

fn passes(c: &mut Criterion) {
    let mut world = World::with(thousand(), toy::POLICY, Activation::Anytime, 0);
    let first = world.input();
    assert!(plan(&first).changed, "the first pass gives instructions");
    measure(c, "first-of-1000", &first);
    // Everything is staged and the first waves are under way; the last tick left nothing to plan.
    for _ in 0..60 {
        world.tick();
    }
    let going = world.input();
    assert!(!plan(&going).changed, "the pass is at rest");
    assert!(!world.over());
    measure(c, "at-rest-of-1000", &going);
}

criterion_group!(benches, passes);
criterion_main!(benches);
