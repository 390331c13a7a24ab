//! A WBFT-like chain: a block only when quorum seals; a block holds a random quorum or more of the live seals.
use super::rng::Rng;
use crate::toy;
use common::chain::{Address, BlockRef, BlockSeals, ChainView, Hash32};
use common::quorum::quorum;
use common::time::UnixMs;
use std::collections::VecDeque;

#[derive(Debug)]
pub struct Chain {
    pub validators: Vec<Address>,
    pub window: VecDeque<BlockSeals>,
    pub advanced_at: u64,
}

impl Chain {
    pub fn head(&self) -> u64 {
        self.window.back().map_or(100, |b| b.block.height)
    }

    pub fn quorum(&self) -> usize {
        usize::try_from(quorum(self.validators.len() as u64)).unwrap()
    }

    /// Seals a block, if enough are live. Gives whether it did.
    pub fn seal(&mut self, live: &[Address], now: u64, rng: &mut Rng) -> bool {
        if live.len() < self.quorum() {
            return false;
        }
        let height = self.head() + 1;
        let turn = usize::try_from(height).unwrap() % self.validators.len();
        let order = self.validators[turn..].iter().chain(&self.validators[..turn]);
        let (round, proposer) = order.enumerate().find(|(_, v)| live.contains(v)).unwrap();
        let mut sealers = live.to_vec();
        while sealers.len() > self.quorum() && rng.chance(700) {
            let out = rng.range(0, sealers.len() as u64 - 1);
            sealers.remove(usize::try_from(out).unwrap());
        }
        let block = toy::roots(height, false);
        self.window.push_back(BlockSeals { block, proposer: *proposer, round: round as u64, sealers });
        if self.window.len() > 24 {
            self.window.pop_front();
        }
        self.advanced_at = now;
        true
    }

    pub fn view(&self, now: u64, chain_id: u64, genesis_hash: Hash32) -> Option<ChainView> {
        let head = self.window.back()?.block;
        let mut window: Vec<_> = self.window.iter().cloned().collect();
        window.last_mut()?.sealers.clear();
        Some(ChainView {
            observed_at: UnixMs(now),
            head_advanced_at: UnixMs(self.advanced_at),
            chain_id,
            genesis_hash,
            head: BlockRef { height: head.height, hash: head.hash },
            agreeing: vec![toy::name("ep-1"), toy::name("ep-2")],
            required: 2,
            bft: true,
            validators: self.validators.clone(),
            next_validators: vec![],
            epoch_length: 0,
            window,
        })
    }
}
