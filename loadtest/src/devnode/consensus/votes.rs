//! Votes: counted for the running height, kept for the one before so that late seals are not lost.
use super::{Core, Effect};
use crate::devnode::message::Vote;
use common::chain::Address;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds of one height that are remembered; more than any network here lives through.
const MAX_ROUNDS: usize = 256;

/// Who voted for what, by height and round.
#[derive(Debug, Default)]
pub(super) struct VoteBook(BTreeMap<(u64, u64), BTreeMap<Address, String>>);

impl VoteBook {
    /// Notes a vote; `false` when this validator already voted for something else in that round.
    pub(super) fn put(&mut self, from: Address, vote: &Vote) -> bool {
        if self.0.len() >= MAX_ROUNDS && !self.0.contains_key(&(vote.height, vote.round)) {
            return true;
        }
        let round = self.0.entry((vote.height, vote.round)).or_default();
        let first = round.entry(from).or_insert_with(|| vote.digest.clone());
        *first == vote.digest
    }

    /// Who voted for exactly this.
    pub(super) fn voters(&self, vote: &Vote) -> BTreeSet<Address> {
        let round = self.0.get(&(vote.height, vote.round));
        round.into_iter().flatten().filter(|(_, d)| **d == vote.digest).map(|(a, _)| *a).collect()
    }

    pub(super) fn forget_below(&mut self, height: u64) {
        self.0 = self.0.split_off(&(height, 0));
    }
}

impl Core {
    /// A vote arrived.
    pub fn on_vote(&mut self, from: Address, vote: &Vote) -> Vec<Effect> {
        let mut out = Vec::new();
        let height = self.height();
        if vote.height > height {
            out.push(Effect::Behind(from));
        }
        let near = vote.height + 1 >= height && vote.height <= height + 1;
        if !near || vote.digest.len() > 64 || !self.rules.validators.contains(&from) {
            return out;
        }
        if !self.votes.put(from, vote) {
            out.push(Effect::DoubleVote(from));
            return out;
        }
        self.try_commit(&mut out);
        out
    }

    /// Commits our own proposal once a quorum has voted for it.
    pub(super) fn try_commit(&mut self, out: &mut Vec<Effect>) {
        let Some(proposal) = self.proposal.as_ref().filter(|p| p.proposer == self.rules.me) else { return };
        if self.committing {
            return;
        }
        let voters = self.votes.voters(&super::vote_for(proposal));
        if voters.len() >= self.quorum() {
            let committed = self.rules.validators.iter().copied().filter(|v| voters.contains(v)).collect();
            out.push(Effect::Commit(proposal.clone(), committed));
            self.committing = true;
        }
    }
}
