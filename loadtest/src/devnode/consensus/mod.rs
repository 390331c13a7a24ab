//! The consensus of one node, pure: time and messages in, messages and commits out. Shaped after WBFT where an
//! observer can tell: round-robin proposer, N - floor((N-1)/3) votes, round changes with doubling time-outs.
//! One vote phase is enough because the commit point (one record per height) makes two blocks impossible.
mod head;
mod rounds;
#[cfg(test)]
mod tests;
mod votes;

pub use head::RecordError;

use super::genesis::quorum;
use super::message::{Message, Vote};
use super::record::{Proposal, SealRecord};
use super::release::fork_id;
use common::chain::{Address, Fork};
use std::collections::BTreeMap;
use votes::VoteBook;

/// Round beyond which time-outs stop doubling, so that they stay finite.
const MAX_DOUBLINGS: u64 = 24;

/// What does not change while the process runs.
#[derive(Debug, Clone)]
pub struct Rules {
    /// This node.
    pub me: Address,
    /// Validators in proposer order.
    pub validators: Vec<Address>,
    /// Shortest time between blocks, milliseconds.
    pub block_ms: u64,
    /// Time-out of round 0, milliseconds.
    pub request_timeout_ms: u64,
    /// Forks this node's release knows.
    pub forks: Vec<Fork>,
    /// Whether this node proposes and votes.
    pub sealing: bool,
}

/// Something the surroundings must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send to every validator.
    Broadcast(Message),
    /// Send to one node.
    Send(Address, Message),
    /// Take this proposal to the commit point.
    Commit(Proposal, Vec<Address>),
    /// This peer knows blocks that we lack.
    Behind(Address),
    /// A proposal follows other rules than ours; log it.
    BadBlock {
        /// Height.
        height: u64,
        /// Who proposed it.
        from: Address,
        /// The rules it follows.
        theirs: String,
        /// The rules we follow.
        ours: String,
    },
    /// A validator voted twice in one round for different blocks.
    DoubleVote(Address),
    /// A round ended without a block; log it.
    RoundChange(u64),
}

/// The consensus state of one node.
#[derive(Debug)]
pub struct Core {
    rules: Rules,
    head: Option<SealRecord>,
    round: u64,
    /// When round 0 of the next height may be proposed, milliseconds since 1970.
    due_ms: u64,
    /// When this round ends without a block, milliseconds since 1970.
    deadline_ms: u64,
    /// When the wish for this round is said again, milliseconds since 1970.
    repeat_ms: u64,
    /// The proposal of this round, once it is known.
    proposal: Option<Proposal>,
    /// Highest round in which this node voted at this height.
    voted: Option<u64>,
    wishes: BTreeMap<Address, u64>,
    votes: VoteBook,
    committing: bool,
}

impl Core {
    /// Consensus at the head given (`None`: nothing sealed yet).
    pub fn new(rules: Rules, head: Option<SealRecord>, now_ms: u64) -> Self {
        let mut core = Self {
            rules,
            head: None,
            round: 0,
            due_ms: now_ms,
            deadline_ms: 0,
            repeat_ms: 0,
            proposal: None,
            voted: None,
            wishes: BTreeMap::new(),
            votes: VoteBook::default(),
            committing: false,
        };
        core.settle(head, now_ms);
        core
    }

    /// Height that is being decided.
    pub fn height(&self) -> u64 {
        self.head.as_ref().map_or(0, SealRecord::height) + 1
    }

    /// Round that is running.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Identity of our rules at `height`.
    pub fn fork_id(&self, height: u64) -> String {
        fork_id(&self.rules.forks, height)
    }

    /// When [`Core::tick`] wants to be called next, milliseconds since 1970; `None` when only messages matter.
    pub fn next_wake_ms(&self) -> Option<u64> {
        if !self.active() || self.committing {
            return None;
        }
        let mut wake = self.deadline_ms;
        if self.round > 0 {
            wake = wake.min(self.repeat_ms);
        } else if self.proposal.is_none() && self.proposer(0) == self.rules.me {
            wake = wake.min(self.due_ms);
        }
        Some(wake)
    }

    fn active(&self) -> bool {
        self.rules.sealing && self.rules.validators.contains(&self.rules.me)
    }

    fn quorum(&self) -> usize {
        quorum(self.rules.validators.len())
    }

    /// Who proposes the next block in `round`.
    fn proposer(&self, round: u64) -> Address {
        proposer(&self.rules.validators, self.head.as_ref().map(|r| r.proposal.proposer), round)
    }

    /// Time passed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.active() || self.committing {
            return out;
        }
        if now_ms >= self.deadline_ms {
            self.enter_round(self.round + 1, now_ms, &mut out);
        } else if self.round > 0 && now_ms >= self.repeat_ms {
            self.repeat_ms = now_ms + self.rules.request_timeout_ms;
            let (height, round) = (self.height(), self.round);
            out.push(Effect::Broadcast(Message::RoundChange { height, round }));
        }
        self.try_propose(now_ms, &mut out);
        out
    }

    /// A link to a peer is up: what it needs in order to take part.
    pub fn peer_up(&self, peer: Address) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.active() {
            return out;
        }
        let height = self.height();
        if self.round > 0 {
            out.push(Effect::Send(peer, Message::RoundChange { height, round: self.round }));
        }
        if let Some(proposal) = &self.proposal {
            if proposal.proposer == self.rules.me {
                out.push(Effect::Send(peer, Message::Proposal(proposal.clone())));
            }
            if self.voted == Some(proposal.round) {
                out.push(Effect::Send(peer, Message::Vote(vote_for(proposal))));
            }
        }
        out
    }

    /// The commit point failed; the round goes on and ends by its time-out.
    pub fn commit_failed(&mut self) {
        self.committing = false;
    }
}

/// Who proposes after `last` in `round`; the first validator when nothing was sealed yet.
pub fn proposer(validators: &[Address], last: Option<Address>, round: u64) -> Address {
    let n = validators.len() as u64;
    let next = last.and_then(|l| validators.iter().position(|v| *v == l)).map_or(0, |i| i as u64 + 1);
    let index = (next % n + round % n) % n;
    validators[usize::try_from(index).unwrap_or(0)]
}

fn vote_for(proposal: &Proposal) -> Vote {
    Vote { height: proposal.height, round: proposal.round, digest: proposal.digest() }
}
