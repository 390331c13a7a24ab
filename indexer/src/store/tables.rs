use super::{Identity, Progress, StoreError};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A log's place: height, then index in the block.
pub(super) type Place = (u64, u32);
/// A raw log and its reading, as JSON.
pub(super) type EventRow = (&'static [u8], &'static [u8]);
/// An abandoned log's place: height, block hash, index.
pub(super) type OrphanPlace = (u64, &'static [u8; 32], u32);
/// An event's place in the history of its plan.
pub(super) type PlanPlace = (&'static [u8; 32], u64, u32);

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8; 32]> = TableDefinition::new("blocks");
pub(super) const EVENTS: TableDefinition<'_, Place, EventRow> = TableDefinition::new("events");
pub(super) const BY_PLAN: TableDefinition<'_, PlanPlace, ()> = TableDefinition::new("by_plan");
pub(super) const PROPOSALS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("proposals");
/// Logs of abandoned branches: an endpoint may not serve them any more, so they are kept.
pub(super) const ORPHANS: TableDefinition<'_, OrphanPlace, &[u8]> = TableDefinition::new("orphans");

const SCHEMA_KEY: &str = "schema";
const IDENTITY_KEY: &str = "identity";
const PROGRESS_KEY: &str = "progress";

pub(super) fn from_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Broken { what, why: e.to_string() })
}

pub(super) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Broken { what, why: e.to_string() })
}

/// Makes a new file that of `identity`, or checks that it is.
pub(super) fn claim(
    txn: &WriteTransaction,
    path: &Path,
    schema: u32,
    identity: Identity,
) -> Result<(), StoreError> {
    let fail = |e: redb::TableError| StoreError::write("tables", e);
    let mut meta = txn.open_table(META).map_err(fail)?;
    txn.open_table(BLOCKS).map_err(fail)?;
    txn.open_table(EVENTS).map_err(fail)?;
    txn.open_table(BY_PLAN).map_err(fail)?;
    txn.open_table(PROPOSALS).map_err(fail)?;
    txn.open_table(ORPHANS).map_err(fail)?;
    if let Some(found) = read_json::<u32>(&meta, SCHEMA_KEY)?.filter(|found| *found != schema) {
        return Err(StoreError::Schema { path: path.to_owned(), found, expected: schema });
    }
    let Some(found) = read_json::<Identity>(&meta, IDENTITY_KEY)? else {
        put(&mut meta, SCHEMA_KEY, &schema)?;
        put(&mut meta, IDENTITY_KEY, &identity)?;
        return put(&mut meta, PROGRESS_KEY, &Progress::default());
    };
    let other = |what, found: String, expected: String| {
        Err(StoreError::Other { path: path.to_owned(), what, found, expected })
    };
    if found.chain_id != identity.chain_id {
        return other("chain", found.chain_id.to_string(), identity.chain_id.to_string());
    }
    if found.contract != identity.contract {
        return other("contract", found.contract.to_string(), identity.contract.to_string());
    }
    if found.from_height != identity.from_height {
        return other("first height", found.from_height.to_string(), identity.from_height.to_string());
    }
    Ok(())
}

pub(super) fn progress(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Progress, StoreError> {
    read_json(meta, PROGRESS_KEY)?
        .ok_or_else(|| StoreError::Broken { what: "progress", why: "it is missing".to_owned() })
}

pub(super) fn set_progress(
    meta: &mut redb::Table<'_, &'static str, &'static [u8]>,
    progress: &Progress,
) -> Result<(), StoreError> {
    put(meta, PROGRESS_KEY, progress)
}

fn read_json<T: DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> Result<Option<T>, StoreError> {
    let value = meta.get(key).map_err(|e| StoreError::read(key, e))?;
    value.map(|v| from_json(key, v.value())).transpose()
}

fn put<T: Serialize>(
    meta: &mut redb::Table<'_, &'static str, &'static [u8]>,
    key: &'static str,
    value: &T,
) -> Result<(), StoreError> {
    let bytes = to_json(key, value)?;
    meta.insert(key, bytes.as_slice()).map_err(|e| StoreError::write(key, e))?;
    Ok(())
}
