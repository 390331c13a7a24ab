//! A sync of one agent among 1,000 through the coordinator's routes: access, decoding, observing, answering.
//! Without TLS, network and hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a bench")]
#[path = "../../common/tests/toy/mod.rs"]
mod toy;

use axum::Router;
use axum::body::Body;
use common::fleet::Role;
use common::release::Digest;
use common::wire::v1::{SyncRequest, SyncResponse};
use coordinator::api::{App, Connection, router};
use coordinator::artifacts::Mirror;
use coordinator::config::Config;
use coordinator::enrol::{Authority, Peer};
use coordinator::fleet::{Fleet, Write};
use coordinator::metrics::Metrics;
use coordinator::store::RedbStore;
use criterion::{Criterion, criterion_group, criterion_main};
use http_body_util::BodyExt as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tower::ServiceExt as _;
use toy::World;

const NODES: u32 = 1000;
const NODE: &str = "rpc-0500";

fn config(dir: &Path) -> Config {
    let zeros = "0".repeat(64);
    let text = format!(
        "schema = 1\ndata_dir = \"data\"\nlisten = \"127.0.0.1:0\"\n[network]\nname = \"toynet\"\nchain_id = 7\ngenesis_hash = \"0x{zeros}\"\n"
    );
    Config::parse(&text, &dir.join("wemixfleet.toml"), |_| None).expect("a configuration")
}

/// A coordinator with 1,000 registered nodes, all with the same key.
async fn coordinator(dir: &Path, key: Digest) -> Router {
    let config = config(dir);
    std::fs::create_dir_all(&config.data_dir).expect("a directory");
    Authority::create(&config.data_dir).expect("a CA");
    let store = RedbStore::open(&config.data_dir.join("fleet.redb")).expect("a store");
    store.campaign().await.expect("an epoch");
    let fleet = Arc::new(Fleet::load(store).expect("a fleet"));
    let mut records: Vec<_> = (0..NODES)
        .map(|i| {
            let mut record = toy::record(&format!("rpc-{i:04}"), Role::Rpc, None);
            record.agent_key = Some(key);
            Write::Node(record)
        })
        .collect();
    while !records.is_empty() {
        let some = records.split_off(records.len().saturating_sub(25));
        fleet.transact(|_| Ok((some, ()))).await.expect("nodes");
    }
    let authority = Authority::open(&config).expect("the CA");
    let mirror =
        Mirror::open(&config.data_dir.join("artifacts"), config.artifacts.clone()).expect("a mirror");
    let metrics = Metrics::new().expect("metrics");
    let addr = SocketAddr::from(([127, 0, 0, 1], 7443));
    router(Arc::new(App::new(config, fleet, authority, mirror, metrics, None, addr)))
}

fn connection(key: Digest) -> Connection {
    let peer = Peer { node: toy::name(NODE), key_der: vec![], key, not_after_s: i64::MAX };
    Connection { peer: Some(Arc::new(peer)), from: SocketAddr::from(([127, 0, 0, 1], 40_000)) }
}

/// The full report of a node that follows the chain.
fn body() -> Vec<u8> {
    let world = World::new(4);
    let report = world.views[&toy::name("rpc-1")].observed.clone().expect("a report").report;
    let request = SyncRequest { node: toy::name(NODE), generation: 0, hold: false, report };
    serde_json::to_vec(&request).expect("JSON")
}

async fn sync(router: Router, connection: Connection, body: Vec<u8>) -> (http::StatusCode, Vec<u8>) {
    let request = http::Request::post(format!("/v1/nodes/{NODE}/sync"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .extension(connection)
        .body(Body::from(body))
        .expect("a request");
    let answer = router.oneshot(request).await.expect("an answer");
    let status = answer.status();
    (status, answer.into_body().collect().await.expect("a body").to_bytes().to_vec())
}

fn syncs(c: &mut Criterion) {
    rustls::crypto::ring::default_provider().install_default().expect("the first provider");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let key = Digest([4; 32]);
    let router = runtime.block_on(coordinator(dir.path(), key));
    let (connection, body) = (connection(key), body());
    let (status, answer) = runtime.block_on(sync(router.clone(), connection.clone(), body.clone()));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    serde_json::from_slice::<SyncResponse>(&answer).expect("an instruction");
    c.bench_function("sync/one-of-1000", |b| {
        b.to_async(&runtime).iter(|| sync(router.clone(), connection.clone(), body.clone()));
    });
}

criterion_group!(benches, syncs);
criterion_main!(benches);
