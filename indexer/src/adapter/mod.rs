//! Versioned interface adapters: one for each generation of governance contracts. An adapter is data
//! (addresses, topics) and a decoder from logs to typed events.
mod registry;

pub use registry::RegistryV1;

use crate::rpc::RawLog;
use common::chain::{Address, Hash32};
use common::release::Digest;
use serde::{Deserialize, Serialize};

/// What a governance contract said of an upgrade plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PlanEvent {
    /// A plan was proposed.
    Proposed {
        /// The plan.
        plan_id: Hash32,
        /// Its name: a stranger's text, cut to [`MAX_NAME`] bytes and otherwise as it is on chain.
        name: String,
        /// First block of the new rules.
        height: u64,
        /// SHA-256 of the manifest's bytes.
        manifest_hash: Digest,
        /// Where the manifest is said to be: a stranger's text, cut to [`MAX_URI`] bytes.
        uri: String,
        /// Whether a text was longer than it is kept.
        cut: bool,
    },
    /// A member voted.
    Voted {
        /// The plan.
        plan_id: Hash32,
        /// Who voted.
        voter: Address,
        /// Votes so far, this one included.
        votes: u64,
        /// Votes that approve it.
        required: u64,
    },
    /// The plan has enough votes.
    Approved {
        /// The plan.
        plan_id: Hash32,
    },
    /// The plan was voted down (generations that can).
    Rejected {
        /// The plan.
        plan_id: Hash32,
    },
    /// The plan was taken back, before or after it was approved.
    Cancelled {
        /// The plan.
        plan_id: Hash32,
    },
}

impl PlanEvent {
    /// The plan the event is about.
    pub fn plan_id(&self) -> Hash32 {
        match self {
            Self::Proposed { plan_id, .. }
            | Self::Voted { plan_id, .. }
            | Self::Approved { plan_id }
            | Self::Rejected { plan_id }
            | Self::Cancelled { plan_id } => *plan_id,
        }
    }
}

/// Longest name that is kept, in bytes.
pub const MAX_NAME: usize = 256;
/// Longest URI that is kept, in bytes.
pub const MAX_URI: usize = 4096;

/// A log as the adapter understands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "read", rename_all = "snake_case")]
pub enum Decoded {
    /// An event of the interface.
    Event {
        /// The event.
        event: PlanEvent,
    },
    /// Nothing this adapter knows; the raw log is kept and counted.
    Unknown {
        /// Why it is not known.
        why: String,
    },
}

/// Reads one generation of governance contracts.
pub trait Adapter: Send + Sync {
    /// Name and version of the interface, for example `registry.v1`.
    fn interface(&self) -> &'static str;

    /// The contract whose logs are read. All of them: a contract that is replaced at a fork may emit events
    /// nobody announced.
    fn contract(&self) -> Address;

    /// First topics the decoder knows.
    fn topics(&self) -> &[Hash32];

    /// Reads one log. Never fails: what cannot be read is [`Decoded::Unknown`].
    fn decode(&self, log: &RawLog) -> Decoded;
}

/// Text cut to at most `longest` bytes at a character's end, and whether it was cut.
fn keep(text: String, longest: usize) -> (String, bool) {
    if text.len() <= longest {
        return (text, false);
    }
    let mut end = longest;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (text[..end].to_owned(), true)
}
