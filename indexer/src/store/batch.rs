use super::tables::{self, BLOCKS, BY_PLAN, EVENTS, META, ORPHANS, PROPOSALS};
use super::{Progress, StoreError};
use crate::adapter::Decoded;
use crate::proposal::Record;
use crate::rpc::RawLog;
use common::chain::{BlockRef, Hash32};
use redb::{ReadableTable, WriteTransaction};
use std::collections::BTreeSet;

/// What one step of the index stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The stored cursor this batch follows.
    pub after: BlockRef,
    /// Known block to go back to first: everything above it is taken back.
    pub back_to: Option<BlockRef>,
    /// Known blocks to remember, ascending; the last one is the new cursor. May be empty.
    pub blocks: Vec<BlockRef>,
    /// Logs of the new blocks, in their order on chain.
    pub logs: Vec<(RawLog, Decoded)>,
    /// Newest final height; never goes back.
    pub final_height: Option<u64>,
    /// Known blocks below this height are forgotten, except the newest at or below it.
    pub forget_below: u64,
}

pub(super) fn begin(
    txn: &WriteTransaction,
    genesis: Hash32,
    anchor: BlockRef,
) -> Result<Progress, StoreError> {
    let mut meta = txn.open_table(META).map_err(|e| StoreError::write("progress", e))?;
    let mut progress = tables::progress(&meta)?;
    if progress.cursor.is_some() {
        return Err(StoreError::OutOfTurn { expected: None, found: progress.cursor });
    }
    progress.cursor = Some(anchor);
    progress.genesis = Some(genesis);
    let mut blocks = txn.open_table(BLOCKS).map_err(|e| StoreError::write("blocks", e))?;
    blocks.insert(anchor.height, &anchor.hash.0).map_err(|e| StoreError::write("blocks", e))?;
    tables::set_progress(&mut meta, &progress)?;
    Ok(progress)
}

pub(super) fn commit(txn: &WriteTransaction, batch: &Batch) -> Result<Progress, StoreError> {
    let mut meta = txn.open_table(META).map_err(|e| StoreError::write("progress", e))?;
    let mut progress = tables::progress(&meta)?;
    if progress.cursor != Some(batch.after) {
        return Err(StoreError::OutOfTurn { expected: Some(batch.after), found: progress.cursor });
    }
    let mut touched = BTreeSet::new();
    if let Some(ancestor) = batch.back_to {
        let undone = unwind(txn, ancestor, &mut touched)?;
        progress.events = progress.events.saturating_sub(undone.events);
        progress.unknown = progress.unknown.saturating_sub(undone.unknown);
        progress.reorgs += 1;
        progress.cursor = Some(ancestor);
    }
    remember(txn, batch)?;
    let stored = insert(txn, &batch.logs, &mut touched)?;
    for plan in touched {
        rebuild(txn, plan)?;
    }
    progress.events += stored.events;
    progress.unknown += stored.unknown;
    progress.cursor = batch.blocks.last().copied().or(progress.cursor);
    let reached = progress.cursor.map(|c| c.height);
    progress.final_height = progress.final_height.max(batch.final_height.min(reached));
    tables::set_progress(&mut meta, &progress)?;
    Ok(progress)
}

#[derive(Default)]
struct Count {
    events: u64,
    unknown: u64,
}

/// Takes back every log above `ancestor`; what was decoded is gone, what was read is kept as orphan.
fn unwind(
    txn: &WriteTransaction,
    ancestor: BlockRef,
    touched: &mut BTreeSet<Hash32>,
) -> Result<Count, StoreError> {
    let fail = |e: redb::StorageError| StoreError::write("unwinding", e);
    let open = |e: redb::TableError| StoreError::write("unwinding", e);
    let mut events = txn.open_table(EVENTS).map_err(open)?;
    let mut by_plan = txn.open_table(BY_PLAN).map_err(open)?;
    let mut orphans = txn.open_table(ORPHANS).map_err(open)?;
    let mut blocks = txn.open_table(BLOCKS).map_err(open)?;
    let Some(first) = ancestor.height.checked_add(1) else { return Ok(Count::default()) };
    let mut count = Count::default();
    for row in events.extract_from_if((first, 0).., |_, _| true).map_err(fail)? {
        let (place, value) = row.map_err(fail)?;
        let (height, index) = place.value();
        let (raw_bytes, decoded_bytes) = value.value();
        let raw: RawLog = tables::from_json("a log", raw_bytes)?;
        orphans.insert((height, &raw.block.hash.0, index), raw_bytes).map_err(fail)?;
        count.events += 1;
        match tables::from_json("an event", decoded_bytes)? {
            Decoded::Event { event } => {
                let plan = event.plan_id();
                by_plan.remove((&plan.0, height, index)).map_err(fail)?;
                touched.insert(plan);
            }
            Decoded::Unknown { .. } => count.unknown += 1,
        }
    }
    blocks.retain_in(first.., |_, _| false).map_err(fail)?;
    Ok(count)
}

/// Stores the block references and forgets old ones.
fn remember(txn: &WriteTransaction, batch: &Batch) -> Result<(), StoreError> {
    let fail = |e: redb::StorageError| StoreError::write("blocks", e);
    let mut blocks = txn.open_table(BLOCKS).map_err(|e| StoreError::write("blocks", e))?;
    for block in &batch.blocks {
        blocks.insert(block.height, &block.hash.0).map_err(fail)?;
    }
    let keep = blocks.range(..=batch.forget_below).map_err(fail)?.next_back().transpose().map_err(fail)?;
    if let Some(keep) = keep.map(|(height, _)| height.value()) {
        blocks.retain_in(..keep, |_, _| false).map_err(fail)?;
    }
    Ok(())
}

fn insert(
    txn: &WriteTransaction,
    logs: &[(RawLog, Decoded)],
    touched: &mut BTreeSet<Hash32>,
) -> Result<Count, StoreError> {
    let fail = |e: redb::StorageError| StoreError::write("events", e);
    let open = |e: redb::TableError| StoreError::write("events", e);
    let mut events = txn.open_table(EVENTS).map_err(open)?;
    let mut by_plan = txn.open_table(BY_PLAN).map_err(open)?;
    let mut count = Count::default();
    for (raw, decoded) in logs {
        let (height, index) = (raw.block.height, raw.index);
        let raw_bytes = tables::to_json("a log", raw)?;
        let decoded_bytes = tables::to_json("an event", decoded)?;
        let row = (raw_bytes.as_slice(), decoded_bytes.as_slice());
        if events.insert((height, index), row).map_err(fail)?.is_some() {
            return Err(StoreError::Twice { height, index });
        }
        count.events += 1;
        match decoded {
            Decoded::Event { event } => {
                let plan = event.plan_id();
                by_plan.insert((&plan.0, height, index), ()).map_err(fail)?;
                touched.insert(plan);
            }
            Decoded::Unknown { .. } => count.unknown += 1,
        }
    }
    Ok(count)
}

/// Folds a plan's events from the first: one code path for news and for what is left after unwinding. Plans
/// have a few dozen events.
fn rebuild(txn: &WriteTransaction, plan: Hash32) -> Result<(), StoreError> {
    let fail = |e: redb::StorageError| StoreError::write("proposals", e);
    let open = |e: redb::TableError| StoreError::write("proposals", e);
    let events = txn.open_table(EVENTS).map_err(open)?;
    let by_plan = txn.open_table(BY_PLAN).map_err(open)?;
    let mut proposals = txn.open_table(PROPOSALS).map_err(open)?;
    let mut record: Option<Record> = None;
    for row in by_plan.range((&plan.0, 0, 0)..=(&plan.0, u64::MAX, u32::MAX)).map_err(fail)? {
        let (place, _) = row.map_err(fail)?;
        let (_, height, index) = place.value();
        let Some(value) = events.get((height, index)).map_err(fail)? else {
            let why = format!("event {index} of block {height} is missing");
            return Err(StoreError::Broken { what: "a plan's history", why });
        };
        let (raw, decoded) = value.value();
        let raw: RawLog = tables::from_json("a log", raw)?;
        if let Decoded::Event { event } = tables::from_json("an event", decoded)? {
            record = Record::fold(record, &event, raw.block);
        }
    }
    match record {
        Some(record) => {
            let bytes = tables::to_json("a proposal", &record)?;
            proposals.insert(&plan.0, bytes.as_slice()).map_err(fail)?;
        }
        None => {
            proposals.remove(&plan.0).map_err(fail)?;
        }
    }
    Ok(())
}
