//! The quorum rule, pure. Facts: go-stablenet and current go-wbft need N - floor((N-1)/3) equal votes, older go-wbft
//! ceil(2N/3); the larger of the two is taken.
use crate::chain::Address;
use std::collections::BTreeSet;

/// Votes a set of `n` equal validators needs for a block.
pub fn quorum(n: u64) -> u64 {
    let tolerated = n.saturating_sub(1) / 3;
    (n - tolerated).max((2 * n).div_ceil(3))
}

/// A validator set with equal votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteSet {
    members: BTreeSet<Address>,
}

impl VoteSet {
    /// The set of these validators; an address named twice votes once.
    pub fn new(members: impl IntoIterator<Item = Address>) -> Self {
        Self { members: members.into_iter().collect() }
    }

    /// Votes in the set.
    pub fn total(&self) -> u64 {
        self.members.len() as u64
    }

    /// Votes needed for a block.
    pub fn quorum(&self) -> u64 {
        quorum(self.total())
    }

    /// Whether the validator votes in this set.
    pub fn contains(&self, validator: &Address) -> bool {
        self.members.contains(validator)
    }

    /// Votes that are up for certain. `nameless` votes are down as well, nobody knows whose.
    pub fn live(&self, down: &BTreeSet<Address>, nameless: u64) -> u64 {
        let named = self.members.iter().filter(|m| down.contains(m)).count() as u64;
        self.total().saturating_sub(named).saturating_sub(nameless)
    }

    /// Live votes above quorum; negative when quorum is lost.
    pub fn slack(&self, down: &BTreeSet<Address>, nameless: u64) -> i64 {
        signed(self.live(down, nameless)) - signed(self.quorum())
    }
}

fn signed(votes: u64) -> i64 {
    i64::try_from(votes).unwrap_or(i64::MAX)
}

/// Why one more validator must not be stopped. Votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// What the stop costs plus the reserve.
    pub need: i64,
    /// What is left above quorum.
    pub have: i64,
}

/// Whether `candidate` may be stopped as well, in every set; `Ok` is the smallest slack afterwards. A candidate that is
/// already down, or votes in no set, costs nothing.
///
/// # Errors
/// [`Shortage`] of the set that has the least to spare.
pub fn grantable(
    sets: &[VoteSet],
    down: &BTreeSet<Address>,
    nameless: u64,
    candidate: &Address,
    reserve: u64,
) -> Result<i64, Shortage> {
    let mut least = i64::MAX;
    let mut shortage: Option<Shortage> = None;
    for set in sets {
        let have = set.slack(down, nameless);
        let cost = i64::from(set.contains(candidate) && !down.contains(candidate));
        let need = cost.saturating_add(signed(reserve));
        least = least.min(have - cost);
        if have < need && shortage.is_none_or(|s| have - need < s.have - s.need) {
            shortage = Some(Shortage { need, have });
        }
    }
    shortage.map_or(Ok(least), Err)
}
