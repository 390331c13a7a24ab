//! Runs the index: agreed head, tracker, logs, adapter, one commit; again and again.
mod error;
mod pass;

pub use error::IndexError;

use crate::adapter::{Adapter, RegistryV1};
use crate::proposal::{Proposal, Record};
use crate::ranges::Ranges;
use crate::rpc::Pool;
use crate::store::{Identity, Progress, Store, StoreError};
use crate::tracker::Branch;
use common::chain::{Address, BlockRef, Hash32};
use common::id::NodeName;
use common::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longest wait between two tries while endpoints fail.
const LONGEST_WAIT: Span = Span::secs(30);
/// Blocks in the first range of a backfill, and the most a range grows to.
const FIRST_RANGE: u64 = 1000;
const LARGEST_RANGE: u64 = 100_000;

/// When a block cannot be taken back any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finality {
    /// As soon as it is sealed (WBFT).
    Instant,
    /// When this many blocks are on top of it.
    Confirmations(u64),
    /// When the chain's `finalized` tag has reached it.
    FinalizedTag,
}

/// What to index, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexConfig {
    /// Chain id (EIP-155); endpoints of another chain are refused.
    pub chain_id: u64,
    /// Address of the `UpgradeRegistry`.
    pub registry: Address,
    /// First height to read; the contract's block, or any below.
    pub from_height: u64,
    /// When a block is final.
    pub finality: Finality,
    /// Wait between two looks at the head.
    pub poll: Span,
    /// Endpoints that must agree on every block and every log.
    pub required: usize,
}

/// How the index stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexStatus {
    /// Newest block whose logs are stored.
    pub cursor: Option<BlockRef>,
    /// Newest agreed height.
    pub head: Option<u64>,
    /// Blocks between the two.
    pub lag: Option<u64>,
    /// Newest final height that is stored.
    pub final_height: Option<u64>,
    /// Logs that were read.
    pub events: u64,
    /// Logs among them that the adapter does not know.
    pub unknown: u64,
    /// Times that blocks were taken back.
    pub reorgs: u64,
    /// Endpoints that agree on the newest block.
    pub agreeing: Vec<NodeName>,
    /// What the last pass failed with; `None` after one that did not.
    pub last_error: Option<String>,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    branch: Branch,
    ranges: Ranges,
    records: BTreeMap<Hash32, Record>,
    head: Option<u64>,
    agreeing: Vec<NodeName>,
    last_error: Option<String>,
    /// Whether the endpoints were seen to serve the configured chain.
    checked: bool,
}

/// The index of one registry on one chain.
pub struct Indexer {
    config: IndexConfig,
    pool: Arc<Pool>,
    adapter: Box<dyn Adapter>,
    store: Arc<Store>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    /// Held by the one that runs.
    running: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Indexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Indexer {
    /// Opens the index file, or creates it. No endpoint is asked yet.
    ///
    /// # Errors
    /// [`IndexError::Store`] when the file cannot be opened or is the index of something else,
    /// [`IndexError::Rpc`] when more endpoints must agree than there are.
    pub fn open(path: &Path, config: IndexConfig, pool: Arc<Pool>) -> Result<Self, IndexError> {
        pool.require(config.required)?;
        let identity = Identity {
            chain_id: config.chain_id,
            contract: config.registry,
            from_height: config.from_height,
        };
        let store = Store::open(path, identity)?;
        let state = State {
            progress: store.progress()?,
            branch: store.branch()?,
            ranges: Ranges::new(FIRST_RANGE, LARGEST_RANGE),
            records: by_plan(store.proposals()?),
            head: None,
            agreeing: Vec::new(),
            last_error: None,
            checked: false,
        };
        Ok(Self {
            adapter: Box::new(RegistryV1::new(config.registry)),
            config,
            pool,
            store: Arc::new(store),
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            running: tokio::sync::Mutex::new(()),
        })
    }

    /// Indexes until `shutdown`. Trouble with endpoints never ends it: it is logged, kept in the status, and
    /// tried again after a growing wait. A write that has begun is waited for, so that the file is closed when
    /// the indexer is dropped after this.
    pub async fn run(&self, shutdown: CancellationToken) {
        let Some(_only) = shutdown.run_until_cancelled(self.running.lock()).await else { return };
        let mut wait = self.config.poll;
        loop {
            let Some(seen) = shutdown.run_until_cancelled(pass::prepare(self)).await else { return };
            let outcome = match seen {
                Ok(step) => pass::settle(self, step).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(more) => {
                    self.state().last_error = None;
                    wait = self.config.poll;
                    if more {
                        continue;
                    }
                }
                Err(error) => {
                    self.note(&error);
                    wait = Span(wait.0.saturating_mul(2).min(LONGEST_WAIT.0)).max(self.config.poll);
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(wait.to_std())).await.is_none() {
                return;
            }
        }
    }

    /// One look at the chain; `true` when there is more to read at once. [`Indexer::run`] calls it; tests and
    /// one-shot tools may.
    ///
    /// # Errors
    /// [`IndexError`]; nothing of a failed pass is stored.
    pub async fn pass(&self) -> Result<bool, IndexError> {
        let step = pass::prepare(self).await?;
        pass::settle(self, step).await
    }

    /// All proposals as they stand at the newest indexed block, the oldest first.
    ///
    /// # Errors
    /// None today; the signature leaves room for reading from disk.
    pub fn proposals(&self) -> Result<Vec<Proposal>, IndexError> {
        let state = self.state();
        let mut proposals: Vec<Proposal> = state.records.values().map(|r| state.view(r)).collect();
        proposals.sort_by_key(|p| (p.proposed_at.height, p.plan_id));
        Ok(proposals)
    }

    /// One proposal as it stands at the newest indexed block.
    ///
    /// # Errors
    /// None today; the signature leaves room for reading from disk.
    pub fn proposal(&self, plan_id: Hash32) -> Result<Option<Proposal>, IndexError> {
        let state = self.state();
        Ok(state.records.get(&plan_id).map(|r| state.view(r)))
    }

    /// How the index stands.
    pub fn status(&self) -> IndexStatus {
        let state = self.state();
        let cursor = state.progress.cursor;
        IndexStatus {
            cursor,
            head: state.head,
            lag: state.head.zip(cursor).map(|(head, cursor)| head.saturating_sub(cursor.height)),
            final_height: state.progress.final_height,
            events: state.progress.events,
            unknown: state.progress.unknown,
            reorgs: state.progress.reorgs,
            agreeing: state.agreeing.clone(),
            last_error: state.last_error.clone(),
        }
    }

    /// Grows each time a proposal has changed: by an event, by being taken back, by expiring, by becoming
    /// final.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The file behind the index, for audits.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps what a pass failed with; says it once.
    fn note(&self, error: &IndexError) {
        let text = error.to_string();
        let news = self.state().last_error.replace(text.clone()).is_none_or(|before| before != text);
        if news {
            tracing::warn!(chain_id = self.config.chain_id, error = %text, "the chain index cannot go on");
        }
        if matches!(error, IndexError::Store(StoreError::OutOfTurn { .. }))
            && let Err(error) = self.reload()
        {
            tracing::warn!(chain_id = self.config.chain_id, %error, "the chain index cannot be read");
        }
    }

    /// Takes over what is stored: a pass that was dropped while it stored left the memory behind the file.
    fn reload(&self) -> Result<(), IndexError> {
        let (progress, branch) = (self.store.progress()?, self.store.branch()?);
        let records = by_plan(self.store.proposals()?);
        let mut state = self.state();
        (state.progress, state.branch, state.records) = (progress, branch, records);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn view(&self, record: &Record) -> Proposal {
        let indexed = self.progress.cursor.map_or(0, |c| c.height);
        record.at(indexed, self.progress.final_height)
    }

    fn views(&self) -> Vec<Proposal> {
        self.records.values().map(|r| self.view(r)).collect()
    }
}

fn by_plan(records: Vec<Record>) -> BTreeMap<Hash32, Record> {
    records.into_iter().map(|r| (r.plan_id, r)).collect()
}
