//! The head: which records are accepted on top of it, and what a new one resets.
use super::{Core, proposer};
use crate::devnode::record::SealRecord;
use common::chain::Address;

/// A record that is not the next block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is for another height.
    #[error("block {found} does not follow head {head}")]
    Height {
        /// Our head.
        head: u64,
        /// Its height.
        found: u64,
    },
    /// It follows other rules.
    #[error("bad block {height}: it follows fork {theirs}, this release follows {ours}")]
    Fork {
        /// Its height.
        height: u64,
        /// Its rules.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Its proposer was not due.
    #[error("bad block {height}: {found} was not the proposer of round {round}")]
    Proposer {
        /// Its height.
        height: u64,
        /// Its round.
        round: u64,
        /// Who proposed.
        found: Address,
    },
    /// Its commit seals are not a quorum of different validators.
    #[error("bad block {height}: its seals are no quorum of validators")]
    Seals {
        /// Its height.
        height: u64,
    },
}

impl Core {
    /// Whether a record is the next block by our rules.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self, record: &SealRecord) -> Result<(), RecordError> {
        let p = &record.proposal;
        let height = self.height();
        if p.height != height {
            return Err(RecordError::Height { head: height - 1, found: p.height });
        }
        let ours = self.fork_id(height);
        if p.fork != ours {
            return Err(RecordError::Fork { height, theirs: p.fork.clone(), ours });
        }
        let last = self.head.as_ref().map(|r| r.proposal.proposer);
        if p.proposer != proposer(&self.rules.validators, last, p.round) {
            return Err(RecordError::Proposer { height, round: p.round, found: p.proposer });
        }
        let mut seals = record.committed.clone();
        seals.sort_unstable();
        seals.dedup();
        let known = |seals: &[Address]| seals.iter().all(|s| self.rules.validators.contains(s));
        if seals.len() != record.committed.len()
            || seals.len() < self.quorum()
            || !known(&seals)
            || !known(&p.prev_committed)
        {
            return Err(RecordError::Seals { height });
        }
        Ok(())
    }

    /// Takes the next block, which [`Core::check`] accepted.
    pub fn new_head(&mut self, record: SealRecord, now_ms: u64) {
        self.settle(Some(record), now_ms);
    }

    pub(super) fn settle(&mut self, head: Option<SealRecord>, now_ms: u64) {
        self.head = head;
        self.round = 0;
        self.proposal = None;
        self.voted = None;
        self.committing = false;
        self.wishes.clear();
        let last_ms = self.head.as_ref().map_or(0, |r| r.proposal.time_ms);
        // A head from the future (another clock) must not stop this node for longer than a block.
        self.due_ms = last_ms.min(now_ms) + self.rules.block_ms;
        self.deadline_ms = self.due_ms.max(now_ms) + self.rules.request_timeout_ms;
        self.repeat_ms = self.deadline_ms;
        self.votes.forget_below(self.height() - 1);
    }
}
