use common::chain::BlockRef;
use std::path::PathBuf;

/// What an operation on the index file failed with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("the index file {path} cannot be opened: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::DatabaseError>,
    },
    /// The file was written by another version.
    #[error("the index file {path} has layout {found}, this version reads layout {expected}: remove the file, it is rebuilt from the chain", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Layout in the file.
        found: u32,
        /// Layout of this version.
        expected: u32,
    },
    /// The file is the index of something else.
    #[error("the index file {path} is of {what} {found}, {expected} is configured: use another file, or remove it to build it again", path = path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the file.
        found: String,
        /// In the configuration.
        expected: String,
    },
    /// Reading failed.
    #[error("the index's {what} cannot be read: {source}")]
    Read {
        /// What was being read.
        what: &'static str,
        /// Why.
        source: Box<redb::Error>,
    },
    /// Writing failed; nothing of it was stored.
    #[error("the index's {what} cannot be written: {source}")]
    Write {
        /// What was being written.
        what: &'static str,
        /// Why.
        source: Box<redb::Error>,
    },
    /// A stored value cannot be understood.
    #[error(
        "the index holds {what} that cannot be understood: {why}; remove the file, it is rebuilt from the chain"
    )]
    Broken {
        /// What kind of value.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A batch does not follow what is stored.
    #[error("a batch after {expected:?} cannot be stored on top of {found:?}")]
    OutOfTurn {
        /// What the batch follows.
        expected: Option<BlockRef>,
        /// What is stored.
        found: Option<BlockRef>,
    },
    /// A log would be stored twice.
    #[error("log {index} of block {height} is stored already")]
    Twice {
        /// Its block.
        height: u64,
        /// Its place in the block.
        index: u32,
    },
}

impl StoreError {
    pub(super) fn read(what: &'static str, source: impl Into<redb::Error>) -> Self {
        Self::Read { what, source: Box::new(source.into()) }
    }

    pub(super) fn write(what: &'static str, source: impl Into<redb::Error>) -> Self {
        Self::Write { what, source: Box::new(source.into()) }
    }
}
