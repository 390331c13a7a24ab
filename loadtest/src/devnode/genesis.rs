//! The genesis file of a development network.
use common::chain::Address;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Most validators a development network may have.
pub const MAX_VALIDATORS: usize = 100;

/// What all nodes of one network agree on before the first block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Chain configuration, in the shape of a geth's.
    pub config: ChainConfig,
    /// Where the network's shared parts are; only a development network has this section.
    pub devnet: Shared,
}

/// Chain configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainConfig {
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// Consensus section.
    pub anzeon: Anzeon,
}

/// Consensus section of the chain configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anzeon {
    /// Timing.
    pub wbft: Timing,
    /// The validator set; it never changes here.
    pub init: Validators,
}

/// Consensus timing. A WBFT genesis counts in seconds; tests need finer steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Shortest time between two blocks, milliseconds, 20 to 600,000.
    pub block_period_ms: u64,
    /// Time-out of round 0, milliseconds, 50 to 600,000; each further round doubles it.
    pub request_timeout_ms: u64,
}

/// The validator set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Addresses in proposer order, 1 to 100.
    pub validators: Vec<Address>,
}

/// What the processes of one development network share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    /// URL of the execution layer.
    pub execution: String,
    /// Folder of the commit point: a lock and one seal record per height.
    pub commit_dir: PathBuf,
}

/// A genesis file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// It cannot be read.
    #[error("cannot read the genesis file {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no genesis of a development network.
    #[error("{path} is no genesis of a development network")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A value is outside its range.
    #[error("the genesis cannot be used: {0}")]
    Range(String),
}

impl Genesis {
    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// The file cannot be read, is something else, or holds a value outside its range.
    pub fn read(path: &Path) -> Result<Self, GenesisError> {
        let text = std::fs::read(path).map_err(|source| GenesisError::Read { path: path.into(), source })?;
        let genesis: Self = serde_json::from_slice(&text)
            .map_err(|source| GenesisError::Parse { path: path.into(), source })?;
        genesis.check()?;
        Ok(genesis)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first value outside its range.
    pub fn check(&self) -> Result<(), GenesisError> {
        let timing = self.config.anzeon.wbft;
        let set = self.validators();
        let mut sorted = set.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let refuse = |text: String| Err(GenesisError::Range(text));
        if set.is_empty() || set.len() > MAX_VALIDATORS {
            return refuse(format!("{} validators, 1 to {MAX_VALIDATORS} are possible", set.len()));
        }
        if sorted.len() != set.len() {
            return refuse("a validator is named twice".to_owned());
        }
        if !(20..=600_000).contains(&timing.block_period_ms) {
            return refuse(format!("blockPeriodMs is {}, 20 to 600000 is possible", timing.block_period_ms));
        }
        if !(50..=600_000).contains(&timing.request_timeout_ms) {
            return refuse(format!(
                "requestTimeoutMs is {}, 50 to 600000 is possible",
                timing.request_timeout_ms
            ));
        }
        Ok(())
    }

    /// The validators in proposer order.
    pub fn validators(&self) -> &[Address] {
        &self.config.anzeon.init.validators
    }

    /// Consensus timing.
    pub fn timing(&self) -> Timing {
        self.config.anzeon.wbft
    }
}

/// Votes a block needs: N - floor((N-1)/3).
pub fn quorum(validators: usize) -> usize {
    validators - validators.saturating_sub(1) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_follows_the_table() {
        for (n, q) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7), (21, 15)] {
            assert_eq!(quorum(n), q, "{n}");
        }
    }
}
