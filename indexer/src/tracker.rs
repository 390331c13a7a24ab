//! Follows one branch of the chain: known blocks and newly seen ones in, what to apply and what to undo out.
//! Pure. Backfill and live following use it alike; in backfill the known blocks have gaps.
use common::chain::{BlockRef, Hash32};

/// A block as seen now, with its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The block.
    pub block: BlockRef,
    /// Hash of the block before.
    pub parent: Hash32,
}

/// What new headers mean for what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing new.
    Nothing,
    /// New blocks on top of the known ones.
    Committed {
        /// Blocks to apply, ascending.
        apply: Vec<BlockRef>,
    },
    /// Known blocks are replaced.
    Reorged {
        /// Known block both branches share.
        ancestor: BlockRef,
        /// Known blocks to undo, newest first.
        unwind: Vec<BlockRef>,
        /// Blocks to apply after that, ascending.
        apply: Vec<BlockRef>,
    },
    /// The chain got shorter and nothing replaced the blocks yet.
    Reverted {
        /// Known block that stays the newest.
        ancestor: BlockRef,
        /// Known blocks to undo, newest first.
        unwind: Vec<BlockRef>,
    },
}

/// Why headers could not be put in relation to the known branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrackError {
    /// Two headers of one answer do not belong to one chain; the chain moved between two requests.
    #[error("block {child} does not follow the block {parent} that was read with it")]
    NotLinked {
        /// Height of the earlier block.
        parent: u64,
        /// Height of the later block.
        child: u64,
    },
    /// No seen block is known: look further down.
    #[error("no block from {lowest} up is known: the chains part below")]
    NoAncestor {
        /// Lowest height that was seen.
        lowest: u64,
    },
}

/// The known branch, oldest first; heights ascend and may have gaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Branch {
    blocks: Vec<BlockRef>,
}

impl Branch {
    /// A branch of known blocks, in any order.
    pub fn new(mut blocks: Vec<BlockRef>) -> Self {
        blocks.sort_by_key(|b| b.height);
        Self { blocks }
    }

    /// The newest known block.
    pub fn tip(&self) -> Option<BlockRef> {
        self.blocks.last().copied()
    }

    /// Known blocks, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = BlockRef> + '_ {
        self.blocks.iter().rev().copied()
    }

    /// The known block at a height.
    pub fn at(&self, height: u64) -> Option<BlockRef> {
        self.blocks.binary_search_by_key(&height, |b| b.height).ok().map(|at| self.blocks[at])
    }

    /// Puts seen blocks (ascending, of one chain) in relation to the known ones. `complete` says that no
    /// endpoint has any block above the last seen one; only then are known blocks above it gone.
    ///
    /// # Errors
    /// [`TrackError::NotLinked`] when the seen blocks are not one chain; [`TrackError::NoAncestor`] when they
    /// do not reach down to a block both share.
    pub fn follow(&self, seen: &[Link], complete: bool) -> Result<Change, TrackError> {
        for pair in seen.windows(2) {
            let (below, above) = (pair[0].block, pair[1]);
            let adjacent = below.height + 1 == above.block.height;
            if above.block.height <= below.height || (adjacent && above.parent != below.hash) {
                return Err(TrackError::NotLinked { parent: below.height, child: above.block.height });
            }
        }
        let Some(first) = seen.first() else { return Ok(Change::Nothing) };
        let Some(ancestor) = self.shared(seen) else {
            return Err(TrackError::NoAncestor { lowest: first.block.height });
        };
        let last = seen.last().unwrap_or(first).block;
        let apply: Vec<BlockRef> =
            seen.iter().map(|l| l.block).filter(|b| b.height > ancestor.height).collect();
        let above: Vec<BlockRef> = self.newest_first().take_while(|b| b.height > ancestor.height).collect();
        // Known blocks above the last seen one say nothing against the branch, unless a replaced block or the
        // end of the chain does.
        let contradicted = above.iter().any(|known| known.height <= last.height);
        Ok(match (apply.is_empty(), above.is_empty()) {
            (true, true) => Change::Nothing,
            (false, true) => Change::Committed { apply },
            (true, false) if complete => Change::Reverted { ancestor, unwind: above },
            (true, false) => Change::Nothing,
            // Seen blocks between two known ones of a branch with gaps: not news.
            (false, false) if !contradicted && !complete => Change::Nothing,
            (false, false) => Change::Reorged { ancestor, unwind: above, apply },
        })
    }

    /// The newest known block that is on the seen chain too.
    fn shared(&self, seen: &[Link]) -> Option<BlockRef> {
        seen.iter().rev().find_map(|link| {
            let itself = self.at(link.block.height).filter(|known| known.hash == link.block.hash);
            let parent = || {
                let below = link.block.height.checked_sub(1)?;
                self.at(below).filter(|known| known.hash == link.parent)
            };
            itself.or_else(parent)
        })
    }

    /// Makes the change its own.
    pub fn take(&mut self, change: &Change) {
        let (ancestor, apply): (Option<BlockRef>, &[BlockRef]) = match change {
            Change::Nothing => return,
            Change::Committed { apply } => (None, apply),
            Change::Reorged { ancestor, apply, .. } => (Some(*ancestor), apply),
            Change::Reverted { ancestor, .. } => (Some(*ancestor), &[]),
        };
        if let Some(ancestor) = ancestor {
            self.blocks.retain(|b| b.height <= ancestor.height);
        }
        self.blocks.extend_from_slice(apply);
    }

    /// Forgets blocks below `height`, but always keeps the newest one at or below it: it is the place the
    /// next unwinding may have to go back to.
    pub fn prune(&mut self, height: u64) {
        let keep = self.blocks.partition_point(|b| b.height <= height).saturating_sub(1);
        self.blocks.drain(..keep);
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
