//! Proposals, and what remains of them: the seal record of a block.
use common::chain::{Address, Hash32};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a proposer asks the others to commit to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Height of the block.
    pub height: u64,
    /// Round in which it is proposed.
    pub round: u64,
    /// Who proposes.
    pub proposer: Address,
    /// Identity of the rules the proposer's release follows at this height.
    pub fork: String,
    /// When it was proposed, milliseconds since 1970.
    pub time_ms: u64,
    /// All who committed to the block before, as far as the proposer has heard.
    pub prev_committed: Vec<Address>,
}

impl Proposal {
    /// A short identity: two proposals with the same digest are the same.
    pub fn digest(&self) -> String {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(&Sha256::digest(bytes)[..16])
    }
}

/// A sealed block. Written once per height at the commit point; the chain is the sequence of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRecord {
    /// What was proposed.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// The first quorum that committed.
    pub committed: Vec<Address>,
    /// Hash of the block; absent between the decision and the mining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash32>,
}

impl SealRecord {
    /// Height of the block.
    pub fn height(&self) -> u64 {
        self.proposal.height
    }
}
