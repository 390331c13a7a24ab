use crate::rpc::RpcError;
use crate::store::StoreError;
use crate::tracker::TrackError;
use common::chain::{BlockRef, Hash32};

/// What a pass of the index failed with.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The endpoints.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The index file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain moved between two requests of a pass; the next one sees it whole.
    #[error("the chain moved while it was read: {0}")]
    Moved(#[from] TrackError),
    /// A log's block is not the block of that height which was agreed on.
    #[error("a log of block {height} is of {found}, the chain has {expected} there")]
    Astray {
        /// Height of the block.
        height: u64,
        /// The agreed block's hash.
        expected: Hash32,
        /// The hash the log names.
        found: Hash32,
    },
    /// Endpoints agree on a chain that has another block where one was final. No index can settle that.
    #[error(
        "the chain has changed at or below the final block {final_height}: the index is on {known:?}; endpoints \
         restored from elsewhere? Remove the index file to accept the chain as it is now"
    )]
    FinalChanged {
        /// Newest height that was final.
        final_height: u64,
        /// Newest known block.
        known: Option<BlockRef>,
    },
    /// The endpoints' chain starts with another block 0.
    #[error("block 0 of the chain is {found}, the index is of the chain that starts with {expected}")]
    OtherGenesis {
        /// The index's.
        expected: Hash32,
        /// The chain's.
        found: Hash32,
    },
    /// No endpoint has a block above, but final blocks are indexed there: the endpoints lag.
    #[error("the endpoints are at block {head}, final blocks up to {final_height} are indexed: they lag")]
    Behind {
        /// Newest agreed height.
        head: u64,
        /// Newest height that was final.
        final_height: u64,
    },
    /// The thread that writes the file ended early.
    #[error("the write of the index was interrupted: {0}")]
    Interrupted(String),
}
