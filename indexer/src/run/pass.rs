use super::{Finality, IndexError, Indexer, State, by_plan};
use crate::adapter::Decoded;
use crate::proposal::Record;
use crate::rpc::{AgreedHead, Header, RawLog};
use crate::store::{Batch, Progress, StoreError};
use crate::tracker::{Branch, Change, Link, TrackError};
use common::chain::{BlockRef, Hash32};
use common::time::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Most blocks whose headers are all read in one pass.
const DENSE: u64 = 64;
/// Known blocks kept below the final one.
const KEPT_BELOW_FINAL: u64 = 256;
/// Known blocks compared in one request while looking for the place where two branches part.
const WALK: usize = 16;

/// What a pass saw of the chain.
struct Seen {
    links: Vec<Link>,
    /// Whether no endpoint has anything above the last of them.
    complete: bool,
}

/// What a pass has to store. Reading the chain may be given up at any moment, storing may not: so the two are
/// apart.
pub(super) enum Step {
    /// Nothing to store; whether to look again at once.
    Idle(bool),
    /// The first step of an empty index.
    Begin { genesis: Hash32, anchor: BlockRef, more: bool },
    /// Blocks to store or take back.
    Commit { batch: Box<Batch>, change: Change, more: bool },
}

/// Looks at the chain.
pub(super) async fn prepare(index: &Indexer) -> Result<Step, IndexError> {
    check(index).await?;
    let head = index.pool.agreed_head(index.config.required).await?;
    let (cursor, branch) = {
        let mut state = index.state();
        state.head = Some(head.header.height);
        state.agreeing = head.labels();
        (state.progress.cursor, state.branch.clone())
    };
    let Some(cursor) = cursor else { return begin(index, &head).await };
    let final_height = finality(index, &head).await;
    let seen = look(index, &head, cursor, final_height).await?;
    let change = match branch.follow(&seen.links, seen.complete) {
        Err(TrackError::NoAncestor { lowest }) => {
            let seen = walk(index, &head, &branch, lowest).await?;
            branch.follow(&seen.links, seen.complete)?
        }
        other => other?,
    };
    refuse_final(index, &change, &head)?;
    batch_of(index, &head, cursor, final_height, change).await
}

/// Stores what was seen; `true` when there is more to read at once.
pub(super) async fn settle(index: &Indexer, step: Step) -> Result<bool, IndexError> {
    match step {
        Step::Idle(more) => Ok(more),
        Step::Begin { genesis, anchor, more } => {
            let progress = write(index, move |store| store.begin(genesis, anchor)).await?;
            let mut state = index.state();
            state.progress = progress;
            state.branch = Branch::new(vec![anchor]);
            Ok(more)
        }
        Step::Commit { batch, change, more } => {
            let forget_below = batch.forget_below;
            let touched = batch.back_to.is_some() || !batch.logs.is_empty();
            let (progress, records) = write(index, move |store| {
                let progress = store.commit(&batch)?;
                let records = if touched { Some(by_plan(store.proposals()?)) } else { None };
                Ok((progress, records))
            })
            .await?;
            adopt(index, progress, records, &change, forget_below);
            Ok(more)
        }
    }
}

/// Once in a run: do the endpoints serve the chain that is indexed?
async fn check(index: &Indexer) -> Result<(), IndexError> {
    if index.state().checked {
        return Ok(());
    }
    let required = index.config.required;
    index.pool.chain_id(Some(index.config.chain_id), required).await?;
    let genesis = index.pool.headers(index.pool.clients(), required, &[0]).await?;
    let known = index.state().progress.genesis;
    if let (Some(expected), Some(block)) = (known, genesis.first())
        && expected != block.hash
    {
        return Err(IndexError::OtherGenesis { expected, found: block.hash });
    }
    index.state().checked = true;
    Ok(())
}

/// The block below the first one that is read. Block 0 has no logs, so it can always be that.
async fn begin(index: &Indexer, head: &AgreedHead) -> Result<Step, IndexError> {
    let anchor = index.config.from_height.saturating_sub(1);
    if head.header.height < anchor {
        return Ok(Step::Idle(false));
    }
    let headers = index.pool.headers(&head.agreeing, index.config.required, &[0, anchor]).await?;
    let [genesis, anchor] = headers.as_slice() else { return Ok(Step::Idle(false)) };
    let more = head.header.height > anchor.height;
    Ok(Step::Begin { genesis: genesis.hash, anchor: anchor.block(), more })
}

/// Newest final height by the chain's rule; `None` while there is none.
async fn finality(index: &Indexer, head: &AgreedHead) -> Option<u64> {
    match index.config.finality {
        Finality::Instant => Some(head.header.height),
        Finality::Confirmations(depth) => head.header.height.checked_sub(depth),
        Finality::FinalizedTag => {
            let tagged = index.pool.finalized(&head.agreeing, index.config.required).await;
            tagged.map(|height| height.min(head.header.height))
        }
    }
}

/// Reads the headers the next step needs: of a whole range when it is final, of every block when it is not.
async fn look(
    index: &Indexer,
    head: &AgreedHead,
    cursor: BlockRef,
    final_height: Option<u64>,
) -> Result<Seen, IndexError> {
    let top = head.header.height;
    let nothing_above = head.all_answered && head.furthest <= top;
    if top <= cursor.height {
        // Usually nothing happened and the head is known: no block has to be read.
        let below = {
            let state = index.state();
            let on_branch = state.branch.at(top) == Some(head.header.block());
            state.branch.newest_first().find(|b| b.height < top && !on_branch).map(|b| b.height)
        };
        let heights: Vec<u64> = below.into_iter().chain([top]).collect();
        let links = read(index, head, &heights).await?;
        return Ok(Seen { links, complete: nothing_above });
    }
    let next = cursor.height + 1;
    let settled = final_height.unwrap_or_else(|| top.saturating_sub(DENSE));
    let (limit, sparse) =
        if next <= settled { (settled, true) } else { (top.min(cursor.height.saturating_add(DENSE)), false) };
    let end = index.state().ranges.end(next, limit).unwrap_or(next);
    let heights: Vec<u64> = match (sparse, end == next) {
        // The parent's hash ties a single block to the cursor.
        (_, true) => vec![next],
        (true, false) => vec![cursor.height, end],
        (false, false) => (next..=end).collect(),
    };
    let links = read(index, head, &heights).await?;
    Ok(Seen { links, complete: nothing_above && end == top })
}

/// The blocks of the chain at the given ascending heights.
async fn read(index: &Indexer, head: &AgreedHead, heights: &[u64]) -> Result<Vec<Link>, IndexError> {
    let link = |h: &Header| Link { block: h.block(), parent: h.parent_hash };
    let below = heights.strip_suffix(&[head.header.height]);
    let headers = index.pool.headers(&head.agreeing, index.config.required, below.unwrap_or(heights)).await?;
    let top = below.map(|_| link(&head.header));
    Ok(headers.iter().map(link).chain(top).collect())
}

/// Goes down the known blocks to the newest one the chain still has, and reads the new branch from there.
async fn walk(index: &Indexer, head: &AgreedHead, branch: &Branch, lowest: u64) -> Result<Seen, IndexError> {
    let top = head.header.height;
    let known: Vec<BlockRef> = branch.newest_first().filter(|b| b.height <= top.min(lowest)).collect();
    let mut parted = top;
    for chunk in known.chunks(WALK) {
        let heights: Vec<u64> = chunk.iter().rev().map(|b| b.height).collect();
        let links = read(index, head, &heights).await?;
        for (known, seen) in chunk.iter().zip(links.iter().rev()) {
            if known.hash != seen.block.hash {
                parted = known.height;
                continue;
            }
            // With gaps between the known blocks, the new branch has the same gaps.
            let heights: Vec<u64> = if parted == known.height + 1 {
                (known.height..=top.min(known.height.saturating_add(DENSE))).collect()
            } else {
                vec![known.height, parted]
            };
            let links = read(index, head, &heights).await?;
            let last = heights.last().copied().unwrap_or(top);
            return Ok(Seen { links, complete: head.all_answered && head.furthest <= last });
        }
    }
    let state = index.state();
    let final_height = state.progress.final_height.unwrap_or_default();
    Err(IndexError::FinalChanged { final_height, known: state.branch.tip() })
}

/// A final block is never taken back by the index itself.
fn refuse_final(index: &Indexer, change: &Change, head: &AgreedHead) -> Result<(), IndexError> {
    let state = index.state();
    let Some(final_height) = state.progress.final_height else { return Ok(()) };
    match change {
        Change::Reorged { ancestor, .. } if ancestor.height < final_height => {
            Err(IndexError::FinalChanged { final_height, known: state.branch.tip() })
        }
        Change::Reverted { ancestor, .. } if ancestor.height < final_height => {
            Err(IndexError::Behind { head: head.header.height, final_height })
        }
        _ => Ok(()),
    }
}

/// Reads the logs of the change.
async fn batch_of(
    index: &Indexer,
    head: &AgreedHead,
    cursor: BlockRef,
    final_height: Option<u64>,
    change: Change,
) -> Result<Step, IndexError> {
    let (back_to, blocks) = match &change {
        Change::Nothing => (None, Vec::new()),
        Change::Committed { apply } => (None, apply.clone()),
        Change::Reorged { ancestor, apply, .. } => (Some(*ancestor), apply.clone()),
        Change::Reverted { ancestor, .. } => (Some(*ancestor), Vec::new()),
    };
    let below = back_to.unwrap_or(cursor);
    let reached = blocks.last().map_or(below.height, |b| b.height);
    let final_height = final_height.map(|h| h.min(reached));
    if change == Change::Nothing && final_height <= index.state().progress.final_height {
        return Ok(Step::Idle(false));
    }
    let Some(logs) = logs_of(index, head, below, &blocks).await? else { return Ok(Step::Idle(true)) };
    let forget_below = final_height.unwrap_or_default().saturating_sub(KEPT_BELOW_FINAL);
    let more = reached < head.header.height;
    let batch = Box::new(Batch { after: cursor, back_to, blocks, logs, final_height, forget_below });
    Ok(Step::Commit { batch, change, more })
}

/// Takes over what was stored, and wakes those who wait for a proposal when one reads differently now.
fn adopt(
    index: &Indexer,
    progress: Progress,
    records: Option<BTreeMap<Hash32, Record>>,
    change: &Change,
    forget_below: u64,
) {
    let mut state = index.state();
    let state: &mut State = &mut state;
    let before = state.views();
    state.progress = progress;
    if let Some(records) = records {
        state.records = records;
    }
    state.branch.take(change);
    state.branch.prune(forget_below);
    if before != state.views() {
        index.changed.send_modify(|version| *version += 1);
    }
}

type DecodedLogs = Vec<(RawLog, Decoded)>;

/// Logs of the blocks above `below`, decoded. `None` when the range was too much and a smaller one is next.
async fn logs_of(
    index: &Indexer,
    head: &AgreedHead,
    below: BlockRef,
    blocks: &[BlockRef],
) -> Result<Option<DecodedLogs>, IndexError> {
    let Some(to) = blocks.last().copied() else { return Ok(Some(Vec::new())) };
    let from = below.height + 1;
    let count = to.height - below.height;
    let started = Instant::now();
    let contract = index.adapter.contract();
    let logs = match index.pool.logs(&head.agreeing, index.config.required, contract, from, to).await {
        Ok(logs) => logs,
        Err(error) if error.is_too_much() && index.state().ranges.refused(count) => {
            tracing::debug!(from, to = to.height, %error, "range refused, a smaller one is next");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let elapsed = Span(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    index.state().ranges.answered(count, logs.len() as u64, elapsed);
    let mut decoded = Vec::with_capacity(logs.len());
    for log in logs {
        let agreed = blocks.binary_search_by_key(&log.block.height, |b| b.height).ok().map(|at| blocks[at]);
        if let Some(block) = agreed.filter(|b| b.hash != log.block.hash) {
            let (expected, found) = (block.hash, log.block.hash);
            return Err(IndexError::Astray { height: block.height, expected, found });
        }
        let reading = index.adapter.decode(&log);
        decoded.push((log, reading));
    }
    Ok(Some(decoded))
}

/// Runs a write on a thread that may block.
async fn write<T: Send + 'static>(
    index: &Indexer,
    work: impl FnOnce(&crate::store::Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, IndexError> {
    let store = Arc::clone(&index.store);
    let joined = tokio::task::spawn_blocking(move || work(&store)).await;
    Ok(joined.map_err(|e| IndexError::Interrupted(e.to_string()))??)
}
