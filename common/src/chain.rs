//! What the chain says of itself, as far as decisions need it.
use crate::id::NodeName;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A 20-byte account or validator address, written `0x` and 40 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(pub [u8; 20]);

/// A 32-byte hash of the chain (block, transaction, state root), written `0x` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash32(pub [u8; 32]);

/// A text that is not hexadecimal data of the length asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}: 0x and {digits} hexadecimal digits are expected")]
pub struct HexError {
    text: String,
    kind: &'static str,
    digits: usize,
}

macro_rules! hex_type {
    ($type:ident, $len:literal, $kind:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        impl FromStr for $type {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0; $len];
                text.strip_prefix("0x")
                    .and_then(|t| hex::decode_to_slice(t, &mut bytes).ok())
                    .ok_or_else(|| HexError { text: text.to_owned(), kind: $kind, digits: $len * 2 })?;
                Ok(Self(bytes))
            }
        }
        impl TryFrom<String> for $type {
            type Error = HexError;
            fn try_from(text: String) -> Result<Self, HexError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}
hex_type!(Address, 20, "address");
hex_type!(Hash32, 32, "hash");

/// A block by height and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height.
    pub height: u64,
    /// Hash as the RPC gives it; never recomputed (a WBFT hash is not the hash of the header as served).
    pub hash: Hash32,
}

/// A block with what two honest nodes must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRoots {
    /// Height.
    pub height: u64,
    /// Hash.
    pub hash: Hash32,
    /// State root.
    pub state_root: Hash32,
    /// Receipts root.
    pub receipts_root: Hash32,
    /// Block time in seconds since 1970.
    pub timestamp_s: u64,
}

/// A block with who proposed and who sealed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSeals {
    /// The block.
    pub block: BlockRoots,
    /// Its proposer (`header.miner`).
    pub proposer: Address,
    /// Round in which it was sealed; 0 is the undisturbed case.
    pub round: u64,
    /// Who committed to it, as the canonical proof tells: `prevCommittedSeal` of the next block.
    /// Empty for the newest block, whose proof does not exist yet.
    pub sealers: Vec<Address>,
}

/// The network's consensus as several endpoints agree on it at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainView {
    /// When this view was completed, by the observer's clock.
    pub observed_at: UnixMs,
    /// When the head's height was last seen to grow, by the observer's clock.
    pub head_advanced_at: UnixMs,
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: Hash32,
    /// Newest block on which at least `agreeing` endpoints agree.
    pub head: BlockRef,
    /// Endpoints that agree on `head` and the window, by the node they belong to (or their label).
    pub agreeing: Vec<NodeName>,
    /// How many endpoints must agree (k of n).
    pub required: usize,
    /// Whether the chain has a BFT validator set. If not, the quorum rule is `none`.
    pub bft: bool,
    /// Validators that may seal the next block, in proposer order.
    pub validators: Vec<Address>,
    /// Validators of the next epoch when it is already known and differs; empty otherwise.
    pub next_validators: Vec<Address>,
    /// Blocks in an epoch; 0 when the set does not change by epoch.
    pub epoch_length: u64,
    /// Newest consecutive blocks, oldest first.
    pub window: Vec<BlockSeals>,
}

/// A fork a node's binary knows, by name and height.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fork {
    /// Name as in the chain configuration without the `Block` suffix, for example `boho`.
    pub name: String,
    /// Height at which its rules start.
    pub height: u64,
}
