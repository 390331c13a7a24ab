//! 1,000 simulated agents over the real protocol: every sync is answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use loadtest::agents::{LoadSpec, against_process};
use loadtest::fleet::Programs;
use std::path::Path;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sync_of_a_thousand_agents_is_answered() {
    let _once = rustls::crypto::ring::default_provider().install_default();
    let programs = Programs::beside(Path::new(env!("CARGO_BIN_EXE_loadtest")).parent().unwrap()).unwrap();
    let spec = LoadSpec { count: 1000, rounds: 2, steady: Duration::from_secs(11), connecting: 128 };
    let result = against_process(&programs, &spec).await.unwrap();
    println!("{result}");
    assert_eq!(result.failed.0, 0, "{:?}", result.failed.1);
    assert_eq!((result.count, result.burst.count), (1000, 2000));
    assert!(result.steady_syncs >= 1000, "{} long polls were answered", result.steady_syncs);
}
