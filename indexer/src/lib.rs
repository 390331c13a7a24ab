//! Reads chains: governance events and validator seals, reorg-safe, into an embedded store.
//!
//! One pass is `heads agreed by k of n endpoints -> tracker -> logs of the new blocks -> adapter ->
//! proposal reducer -> one write transaction`. Backfill and live following are the same pass with
//! ranges of different sizes. [`seals::Observer`] is the second reader: who sealed the newest blocks.
pub mod adapter;
pub mod proposal;
pub mod ranges;
pub mod registry_calls;
pub mod rpc;
pub mod run;
pub mod seals;
pub mod store;
pub mod tracker;
