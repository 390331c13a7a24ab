//! The store: a small ordered key-value interface, cut to etcd's limits so that etcd is a backend and not a rewrite.
//!
//! Linearizable: a commit that was acknowledged is durable and seen by every later snapshot. Each key carries the
//! revision of the commit that last wrote it; a commit can be made to depend on those.
pub mod conformance;
mod redb_backend;
mod writer;

pub use redb_backend::{RedbStore, Snapshot, Watch};

use std::path::PathBuf;

/// Most operations in one commit.
pub const MAX_OPS: usize = 100;
/// Most bytes of keys and values in one commit.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// A value with the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// Revision of the commit that last wrote this key.
    pub revision: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// What must hold for a commit to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key was last written by this revision.
    Revision(String, u64),
    /// The key does not exist.
    Absent(String),
}

/// A change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Write a value.
    Put(String, Vec<u8>),
    /// Remove a key; nothing when it is not there.
    Delete(String),
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Applied and durable, with this revision.
    At(u64),
    /// A condition did not hold; nothing was changed. A normal result: read again.
    Conflict,
}

/// A change as watchers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Revision of the commit.
    pub revision: u64,
    /// The key.
    pub key: String,
    /// The new value; `None` for a removal.
    pub value: Option<Vec<u8>>,
}

/// Why the store cannot do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("the store {path} cannot be opened: {why}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file opens empty although it was written before.
    #[error(
        "the store {path} opens empty although it was in use; restore it from a backup, or remove {path}.used to begin anew"
    )]
    OpensEmpty {
        /// The file.
        path: PathBuf,
    },
    /// More than [`MAX_OPS`] operations or [`MAX_COMMIT_BYTES`] bytes.
    #[error("a commit of {ops} operations and {bytes} bytes is over the limit of 100 and 1048576")]
    TooLarge {
        /// Operations.
        ops: usize,
        /// Bytes of keys and values.
        bytes: usize,
    },
    /// Reading failed.
    #[error("reading the store: {0}")]
    Read(String),
    /// Writing failed; whether the commit was applied is not known. The store must be opened again.
    #[error("writing the store: {0}")]
    Write(String),
    /// Another writer took over.
    #[error("this writer's epoch {mine} was replaced by {current}")]
    Fenced {
        /// Epoch of this writer.
        mine: u64,
        /// Epoch in the store.
        current: u64,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
