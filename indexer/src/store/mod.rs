//! The index on disk: one redb file for one contract of one chain. Everything of one batch (raw logs, decoded
//! events, proposals, block references, cursor) is one write transaction; so is taking it back.
mod batch;
mod error;
mod tables;

pub use batch::Batch;
pub use error::StoreError;

use crate::adapter::Decoded;
use crate::proposal::Record;
use crate::rpc::RawLog;
use crate::tracker::Branch;
use common::chain::{Address, BlockRef, Hash32};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Layout of the tables; a file of another layout is refused.
const SCHEMA: u32 = 1;
/// The file is read mostly through its newest pages.
const CACHE_BYTES: usize = 16 << 20;

/// What a file is the index of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Chain id.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
    /// First height that is read.
    pub from_height: u64,
}

/// How far the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Newest block whose logs are stored; `None` before the first.
    pub cursor: Option<BlockRef>,
    /// Hash of block 0.
    pub genesis: Option<Hash32>,
    /// Newest height that is final and stored.
    pub final_height: Option<u64>,
    /// Logs that were read.
    pub events: u64,
    /// Logs among them that the adapter does not know.
    pub unknown: u64,
    /// Times that blocks were taken back.
    pub reorgs: u64,
}

/// A stored log with its reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// As the chain serves it.
    pub raw: RawLog,
    /// As the adapter reads it.
    pub decoded: Decoded,
}

/// An open index file. Only one process can have it open.
#[derive(Debug)]
pub struct Store {
    db: Database,
}

impl Store {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it cannot be opened; [`StoreError::Schema`], [`StoreError::Other`] when it is
    /// the index of something else.
    pub fn open(path: &Path, identity: Identity) -> Result<Self, StoreError> {
        let open = |source: redb::DatabaseError| StoreError::Open {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(open)?;
        let store = Self { db };
        store.write("identity", |txn| tables::claim(txn, path, SCHEMA, identity))?;
        Ok(store)
    }

    /// How far the index is.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Broken`].
    pub fn progress(&self) -> Result<Progress, StoreError> {
        let txn = self.read_txn("progress")?;
        let meta = txn.open_table(tables::META).map_err(|e| StoreError::read("progress", e))?;
        tables::progress(&meta)
    }

    /// The known blocks.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn branch(&self) -> Result<Branch, StoreError> {
        let fail = |e: redb::StorageError| StoreError::read("blocks", e);
        let txn = self.read_txn("blocks")?;
        let table = txn.open_table(tables::BLOCKS).map_err(|e| StoreError::read("blocks", e))?;
        let mut blocks = Vec::new();
        for row in table.iter().map_err(fail)? {
            let (height, hash) = row.map_err(fail)?;
            blocks.push(BlockRef { height: height.value(), hash: Hash32(*hash.value()) });
        }
        Ok(Branch::new(blocks))
    }

    /// All proposals, by plan id.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Broken`].
    pub fn proposals(&self) -> Result<Vec<Record>, StoreError> {
        let fail = |e: redb::StorageError| StoreError::read("proposals", e);
        let txn = self.read_txn("proposals")?;
        let table = txn.open_table(tables::PROPOSALS).map_err(|e| StoreError::read("proposals", e))?;
        let mut records = Vec::new();
        for row in table.iter().map_err(fail)? {
            records.push(tables::from_json("a proposal", row.map_err(fail)?.1.value())?);
        }
        Ok(records)
    }

    /// The stored logs from a height up, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Broken`].
    pub fn events(&self, from: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let fail = |e: redb::StorageError| StoreError::read("events", e);
        let txn = self.read_txn("events")?;
        let table = txn.open_table(tables::EVENTS).map_err(|e| StoreError::read("events", e))?;
        let mut events = Vec::new();
        for row in table.range((from, 0)..).map_err(fail)?.take(limit) {
            let (_, value) = row.map_err(fail)?;
            let (raw, decoded) = value.value();
            events.push(StoredEvent {
                raw: tables::from_json("a log", raw)?,
                decoded: tables::from_json("an event", decoded)?,
            });
        }
        Ok(events)
    }

    /// How many logs of abandoned branches are kept.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn orphans(&self) -> Result<u64, StoreError> {
        let txn = self.read_txn("orphans")?;
        let table = txn.open_table(tables::ORPHANS).map_err(|e| StoreError::read("orphans", e))?;
        table.len().map_err(|e| StoreError::read("orphans", e))
    }

    /// Fixes the genesis and the block before the first one that is read.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::OutOfTurn`] when the index has begun already.
    pub fn begin(&self, genesis: Hash32, anchor: BlockRef) -> Result<Progress, StoreError> {
        self.write("anchor", |txn| batch::begin(txn, genesis, anchor))
    }

    /// Stores a batch. All of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::OutOfTurn`] when the batch does not follow what is stored; [`StoreError::Twice`] when a
    /// log is stored already; [`StoreError::Write`], [`StoreError::Broken`].
    pub fn commit(&self, batch: &Batch) -> Result<Progress, StoreError> {
        self.write("batch", |txn| batch::commit(txn, batch))
    }

    fn read_txn(&self, what: &'static str) -> Result<redb::ReadTransaction, StoreError> {
        self.db.begin_read().map_err(|e| StoreError::read(what, e))
    }

    /// One write transaction; an error leaves the file as it was.
    fn write<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let txn = self.db.begin_write().map_err(|e| StoreError::write(what, e))?;
        let value = work(&txn)?;
        txn.commit().map_err(|e| StoreError::write(what, e))?;
        Ok(value)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
