//! Rounds: proposing, and changing to the next when a round brings no block.
use super::{Core, Effect, MAX_DOUBLINGS, vote_for};
use crate::devnode::message::Message;
use crate::devnode::record::Proposal;
use common::chain::Address;

impl Core {
    pub(super) fn enter_round(&mut self, round: u64, now_ms: u64, out: &mut Vec<Effect>) {
        self.round = round;
        self.proposal = None;
        let doubled = self.rules.request_timeout_ms << round.min(MAX_DOUBLINGS);
        self.deadline_ms = now_ms.saturating_add(doubled);
        self.repeat_ms = now_ms + self.rules.request_timeout_ms;
        self.wishes.insert(self.rules.me, round);
        out.push(Effect::RoundChange(round));
        out.push(Effect::Broadcast(Message::RoundChange { height: self.height(), round }));
    }

    /// Proposes when it is our turn: at round 0 when the block period is over, later when a quorum wants the round.
    pub(super) fn try_propose(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        if !self.active() || self.proposal.is_some() || self.proposer(self.round) != self.rules.me {
            return;
        }
        let wanted = self.wishes.values().filter(|r| **r >= self.round).count();
        let ready = if self.round == 0 { now_ms >= self.due_ms } else { wanted >= self.quorum() };
        // Having voted in this round already means that this process proposed in it before.
        if !ready || self.voted.is_some_and(|v| v >= self.round) {
            return;
        }
        let proposal = Proposal {
            height: self.height(),
            round: self.round,
            proposer: self.rules.me,
            fork: self.fork_id(self.height()),
            time_ms: now_ms,
            prev_committed: self.prev_committed(),
        };
        out.push(Effect::Broadcast(Message::Proposal(proposal.clone())));
        self.accept(proposal, out);
    }

    /// All who committed to the head: the first quorum, and who came later.
    fn prev_committed(&self) -> Vec<Address> {
        let Some(head) = &self.head else { return Vec::new() };
        let mut late = self.votes.voters(&vote_for(&head.proposal));
        late.extend(&head.committed);
        self.rules.validators.iter().copied().filter(|v| late.contains(v)).collect()
    }

    /// Takes a proposal as the one of this round and votes for it.
    fn accept(&mut self, proposal: Proposal, out: &mut Vec<Effect>) {
        let vote = vote_for(&proposal);
        self.voted = Some(proposal.round);
        self.proposal = Some(proposal);
        self.votes.put(self.rules.me, &vote);
        out.push(Effect::Broadcast(Message::Vote(vote)));
        self.try_commit(out);
    }

    /// A proposal arrived.
    pub fn on_proposal(&mut self, from: Address, proposal: Proposal, now_ms: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        let height = self.height();
        if proposal.height > height {
            out.push(Effect::Behind(from));
        }
        if proposal.height != height || proposal.proposer != from {
            return out;
        }
        let ours = self.fork_id(height);
        if proposal.fork != ours {
            out.push(Effect::BadBlock { height, from, theirs: proposal.fork, ours });
            return out;
        }
        let due = self.proposer(proposal.round) == from;
        let stale = proposal.round < self.round || self.voted.is_some_and(|v| v >= proposal.round);
        let known = proposal.prev_committed.iter().all(|v| self.rules.validators.contains(v));
        if !self.active() || self.committing || !due || stale || !known {
            return out;
        }
        if proposal.round > self.round {
            // Its proposer has heard a quorum that wants this round.
            self.enter_round(proposal.round, now_ms, &mut out);
        }
        self.accept(proposal, &mut out);
        out
    }

    /// A peer wants another round.
    pub fn on_round_change(&mut self, from: Address, height: u64, round: u64, now_ms: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        if height > self.height() {
            out.push(Effect::Behind(from));
        }
        if height != self.height() || !self.rules.validators.contains(&from) {
            return out;
        }
        let wish = self.wishes.entry(from).or_default();
        *wish = round.max(*wish);
        if !self.active() || self.committing {
            return out;
        }
        // One more than can be faulty wants a later round: join the highest that so many want.
        let faulty = (self.rules.validators.len() - 1) / 3;
        let mut later: Vec<u64> = self.wishes.values().copied().filter(|r| *r > self.round).collect();
        later.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(round) = later.get(faulty).copied() {
            self.enter_round(round, now_ms, &mut out);
        }
        self.try_propose(now_ms, &mut out);
        out
    }
}
