use crate::rpc::Header;
use common::chain::{Address, BlockRef, BlockSeals};
use std::collections::VecDeque;

/// New blocks do not continue the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A block does not follow the one before it.
    #[error("block {height} does not follow the newest block that was seen")]
    NotLinked {
        /// Its height.
        height: u64,
    },
    /// A proof is of a block the window does not have.
    #[error("block {height} is not in the window")]
    NotThere {
        /// Its height.
        height: u64,
    },
}

/// The newest consecutive blocks with their seals, oldest first. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    size: usize,
    blocks: VecDeque<BlockSeals>,
}

impl Window {
    /// An empty window of at most `size` blocks, at least one.
    pub fn new(size: usize) -> Self {
        Self { size: size.max(1), blocks: VecDeque::new() }
    }

    /// Most blocks it holds.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The newest block.
    pub fn tip(&self) -> Option<BlockRef> {
        self.blocks.back().map(|b| BlockRef { height: b.block.height, hash: b.block.hash })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.blocks.clear();
    }

    /// Adds the next block; the oldest one leaves when there is no room.
    ///
    /// # Errors
    /// [`WindowError::NotLinked`] when it does not follow the newest one; nothing is changed.
    pub fn push(&mut self, header: &Header) -> Result<(), WindowError> {
        if let Some(tip) = self.tip()
            && (header.height != tip.height + 1 || header.parent_hash != tip.hash)
        {
            return Err(WindowError::NotLinked { height: header.height });
        }
        if self.blocks.len() == self.size {
            self.blocks.pop_front();
        }
        self.blocks.push_back(BlockSeals {
            block: header.roots(),
            proposer: header.miner,
            round: 0,
            sealers: Vec::new(),
        });
        Ok(())
    }

    /// Sets who sealed a block and in which round, as the block after it proves.
    ///
    /// # Errors
    /// [`WindowError::NotThere`] when the block is not in the window.
    pub fn seal(&mut self, height: u64, round: u64, sealers: Vec<Address>) -> Result<(), WindowError> {
        let block = self.blocks.iter_mut().find(|b| b.block.height == height);
        let block = block.ok_or(WindowError::NotThere { height })?;
        (block.round, block.sealers) = (round, sealers);
        Ok(())
    }

    /// Blocks whose proof of seals is in the extra data of `proofs` blocks: every block but the oldest.
    pub fn proofs(&self, above: Option<BlockRef>) -> Vec<BlockRef> {
        let reference = |b: &BlockSeals| BlockRef { height: b.block.height, hash: b.block.hash };
        let from = above.map_or(0, |b| b.height);
        self.blocks.iter().skip(1).map(reference).filter(|b| b.height > from).collect()
    }

    /// The blocks, oldest first.
    pub fn blocks(&self) -> Vec<BlockSeals> {
        self.blocks.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::chain::Hash32;

    fn header(height: u64, branch: u8, parent_branch: u8) -> Header {
        let hash = |height: u64, branch: u8| Hash32([branch.wrapping_mul(64).wrapping_add(height as u8); 32]);
        Header {
            height,
            hash: hash(height, branch),
            parent_hash: hash(height - 1, parent_branch),
            miner: Address([height as u8; 20]),
            state_root: Hash32([0; 32]),
            receipts_root: Hash32([0; 32]),
            timestamp_s: height,
        }
    }

    #[test]
    fn slides_over_consecutive_blocks() {
        let mut window = Window::new(3);
        for height in 1..=5 {
            window.push(&header(height, 0, 0)).unwrap();
        }
        let heights: Vec<u64> = window.blocks().iter().map(|b| b.block.height).collect();
        assert_eq!(heights, [3, 4, 5]);
        assert_eq!(window.push(&header(7, 0, 0)), Err(WindowError::NotLinked { height: 7 }));
        assert_eq!(window.push(&header(6, 1, 1)), Err(WindowError::NotLinked { height: 6 }));
        assert_eq!(window.blocks().len(), 3, "a refused block changes nothing");
    }

    #[test]
    fn seals_come_from_the_block_after() {
        let mut window = Window::new(4);
        for height in 1..=4 {
            window.push(&header(height, 0, 0)).unwrap();
        }
        let proofs: Vec<u64> = window.proofs(None).iter().map(|b| b.height).collect();
        assert_eq!(proofs, [2, 3, 4]);
        let newer = window.proofs(Some(window.proofs(None)[1]));
        assert_eq!(newer.iter().map(|b| b.height).collect::<Vec<_>>(), [4]);
        window.seal(3, 2, vec![Address([9; 20])]).unwrap();
        let blocks = window.blocks();
        assert_eq!((blocks[2].round, blocks[2].sealers.len()), (2, 1));
        assert!(blocks[3].sealers.is_empty(), "the newest block has no proof yet");
        assert_eq!(window.seal(9, 0, Vec::new()), Err(WindowError::NotThere { height: 9 }));
    }
}
