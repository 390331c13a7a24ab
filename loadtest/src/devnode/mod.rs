//! One process of the development network: a validator or an RPC node that behaves like a geth of the WBFT family
//! where a supervisor, a coordinator or an indexer can tell the difference.
//!
//! Consensus is ours and runs between these processes over TCP; execution is one anvil that only they may mine.
//! A validator that votes is trusted (votes carry no signatures): this is a test network, not a chain.
pub mod args;
pub mod commit;
pub mod consensus;
pub mod datadir;
pub mod execution;
pub mod genesis;
pub mod ledger;
pub mod links;
pub mod message;
pub mod metrics;
pub mod record;
pub mod release;
pub mod rpc;
pub mod run;
pub mod runner;

pub use genesis::Genesis;
pub use record::SealRecord;
pub use release::{Behaviour, Release};

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
