//! JSON-RPC over HTTP: one client for each endpoint, and a pool in which k of n must agree.
mod answer;
mod check;
mod client;
mod error;
mod heads;
mod pool;

pub use answer::{Header, RawLog, Seal, WbftExtra};
pub use client::{Call, Client, Limits};
pub use error::RpcError;
pub use heads::AgreedHead;
pub use pool::Pool;

use common::id::NodeName;
use serde::{Deserialize, Serialize};

/// One JSON-RPC endpoint and the node it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The node it belongs to, or a label where it belongs to none.
    pub label: NodeName,
    /// `http://` or `https://` address.
    pub url: String,
}
