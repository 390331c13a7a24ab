use super::{Memory, ObserveError, ObserverConfig};
use crate::rpc::{AgreedHead, Pool, RpcError};
use common::chain::{Address, ChainView};
use common::time::UnixMs;

/// One look at the consensus.
pub(super) async fn look(
    pool: &Pool,
    config: &ObserverConfig,
    clock: fn() -> UnixMs,
    memory: &mut Memory,
) -> Result<ChainView, ObserveError> {
    let required = config.required;
    let (chain_id, genesis_hash) = match memory.chain {
        Some(known) => known,
        None => {
            let chain_id = pool.chain_id(None, required).await?;
            let genesis = pool.headers(pool.clients(), required, &[0]).await?;
            let hash = genesis.first().map(|b| b.hash).ok_or(super::WindowError::NotThere { height: 0 })?;
            *memory.chain.insert((chain_id, hash))
        }
    };
    let head = pool.agreed_head(required).await?;
    let moved = memory.window.tip() != Some(head.header.block());
    if moved {
        if !memory.bft || memory.highest.is_none() {
            memory.bft = pool.has_validators(&head.agreeing, required).await?;
        }
        blocks(pool, config, &head, memory).await?;
        if memory.bft {
            seals(pool, config, &head, memory).await?;
        }
    }
    let validators = if memory.bft { validators(pool, config, &head).await? } else { Vec::new() };
    let now = clock();
    advance(memory, &head, now);
    Ok(ChainView {
        observed_at: now,
        head_advanced_at: memory.head_advanced_at,
        chain_id,
        genesis_hash,
        head: head.header.block(),
        agreeing: head.labels(),
        required,
        bft: memory.bft,
        validators,
        // WBFT fixes the set of an epoch in its last block, from which on it is the set of the next block.
        next_validators: Vec::new(),
        epoch_length: config.epoch_length,
        window: memory.window.blocks(),
    })
}

/// Notes growth of the head. The first head seen may be an old one of a chain that stands still, so its own
/// time is taken, never one in the future.
fn advance(memory: &mut Memory, head: &AgreedHead, now: UnixMs) {
    let height = head.header.height;
    match memory.highest {
        None => memory.head_advanced_at = UnixMs(head.header.timestamp_s.saturating_mul(1000)).min(now),
        Some(highest) if height > highest => memory.head_advanced_at = now,
        Some(_) => return,
    }
    memory.highest = Some(height);
}

/// Brings the window up to the head; from scratch when the new blocks do not continue it.
async fn blocks(
    pool: &Pool,
    config: &ObserverConfig,
    head: &AgreedHead,
    memory: &mut Memory,
) -> Result<(), ObserveError> {
    let top = head.header.height;
    let size = memory.window.size() as u64;
    if let Some(tip) = memory.window.tip().filter(|tip| tip.height < top && top - tip.height < size) {
        let heights: Vec<u64> = (tip.height + 1..top).collect();
        let new = pool.headers(&head.agreeing, config.required, &heights).await?;
        let mut window = memory.window.clone();
        if new.iter().chain([&head.header]).try_for_each(|header| window.push(header)).is_ok() {
            memory.window = window;
            return Ok(());
        }
    }
    memory.window.clear();
    memory.sealed = None;
    let heights: Vec<u64> = (top.saturating_sub(size - 1)..top).collect();
    let new = pool.headers(&head.agreeing, config.required, &heights).await?;
    new.iter().chain([&head.header]).try_for_each(|header| memory.window.push(header))?;
    Ok(())
}

/// Reads who sealed the blocks below the new ones.
async fn seals(
    pool: &Pool,
    config: &ObserverConfig,
    head: &AgreedHead,
    memory: &mut Memory,
) -> Result<(), ObserveError> {
    let proofs = memory.window.proofs(memory.sealed);
    let extras = pool.extras(&head.agreeing, config.required, &proofs).await.map_err(closed)?;
    for (proof, extra) in proofs.iter().zip(&extras) {
        memory.window.seal(proof.height - 1, extra.prev_round, extra.prev_committed_seal.sealers.clone())?;
    }
    memory.sealed = Some(head.header.block());
    Ok(())
}

/// Who may seal the block after the head: the set the head itself installs when it ends an epoch, else the set
/// that could seal the head.
async fn validators(
    pool: &Pool,
    config: &ObserverConfig,
    head: &AgreedHead,
) -> Result<Vec<Address>, ObserveError> {
    let block = head.header.block();
    if block.height > 0 {
        let extra = pool.extras(&head.agreeing, config.required, &[block]).await.map_err(closed)?;
        if let Some(installed) = extra.first().and_then(|e| e.epoch_validators()) {
            return Ok(installed);
        }
    }
    let list = pool.validators(&head.agreeing, config.required, block).await.map_err(closed)?;
    if list.is_empty() {
        return Err(ObserveError::NoValidators { height: block.height });
    }
    Ok(list.to_vec())
}

/// A chain that once answered has not lost its validators: the namespace was closed.
fn closed(error: RpcError) -> ObserveError {
    if error.is_missing_method() { ObserveError::NamespaceClosed } else { error.into() }
}
