//! The fleet in memory: everything stored, decoded, plus what was observed. Reads are served from here; every write goes
//! through [`Fleet::transact`], which commits to the store first and shows the change only when it is durable.
mod known;
mod write;

pub use known::{CheckRecord, EventHead, Known, Row};
pub use write::Write;

use crate::store::{Committed, RedbStore, StoreError};
use common::chain::ChainView;
use common::id::NodeName;
use common::inventory::Observation;
use common::planner::Plan;
use common::time::UnixMs;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Why a write to the fleet did not happen.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else wrote first; nothing was changed.
    #[error("somebody else changed the same thing at the same moment; nothing was changed, try again")]
    Conflict,
    /// A stored row cannot be read.
    #[error("the stored row {key} cannot be read: {why}")]
    Row {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
    /// The request is refused; the code is stable.
    #[error("{detail}")]
    Refused {
        /// HTTP status that fits.
        status: u16,
        /// Stable code.
        code: &'static str,
        /// In words.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl FleetError {
    /// A refusal.
    pub fn refused(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        FleetError::Refused { status, code, detail: detail.into(), hint: None }
    }

    /// A refusal with advice.
    pub fn refused_with(
        status: u16,
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        FleetError::Refused { status, code, detail: detail.into(), hint: Some(hint.into()) }
    }
}

/// The coordinator's clock.
pub fn now() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
}

/// The fleet. Shared by every handler and task.
#[derive(Debug)]
pub struct Fleet {
    store: RedbStore,
    known: RwLock<Known>,
    writing: tokio::sync::Mutex<()>,
    observed: RwLock<BTreeMap<NodeName, Observation>>,
    waiters: RwLock<BTreeMap<NodeName, Arc<Notify>>>,
    chain: RwLock<Option<Arc<ChainView>>>,
    plans: Mutex<BTreeMap<common::id::RolloutId, (UnixMs, Plan)>>,
    poke: Notify,
}

impl Fleet {
    /// Reads everything from the store.
    ///
    /// # Errors
    /// [`FleetError`] when the store or a row cannot be read.
    pub fn load(store: RedbStore) -> Result<Self, FleetError> {
        let known = Known::load(&store.snapshot("")?)?;
        Ok(Fleet {
            store,
            known: RwLock::new(known),
            writing: tokio::sync::Mutex::default(),
            observed: RwLock::default(),
            waiters: RwLock::default(),
            chain: RwLock::default(),
            plans: Mutex::default(),
            poke: Notify::new(),
        })
    }

    /// What is stored, as of now. Hold it briefly.
    pub fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on what is stored and writes the result in one commit. `decide` gives the writes and an answer; nothing is
    /// committed when there are no writes. Refusals of `decide` change nothing.
    ///
    /// # Errors
    /// [`FleetError`].
    pub async fn transact<T>(
        &self,
        decide: impl FnOnce(&Known) -> Result<(Vec<Write>, T), FleetError>,
    ) -> Result<T, FleetError> {
        let _one_at_a_time = self.writing.lock().await;
        let (staged, answer) = {
            let known = self.known();
            let (writes, answer) = decide(&known)?;
            if writes.is_empty() {
                return Ok(answer);
            }
            (known.stage(writes)?, answer)
        };
        match self.store.commit(staged.conditions.clone(), staged.ops.clone()).await? {
            Committed::Conflict => return Err(FleetError::Conflict),
            Committed::At(revision) => {
                let woken =
                    self.known.write().unwrap_or_else(PoisonError::into_inner).apply(staged, revision);
                for node in &woken {
                    self.waiter(node).notify_waiters();
                }
            }
        }
        self.poke.notify_one();
        Ok(answer)
    }

    /// What wakes a held sync of this node.
    pub fn waiter(&self, node: &NodeName) -> Arc<Notify> {
        if let Some(found) = self.waiters.read().unwrap_or_else(PoisonError::into_inner).get(node) {
            return found.clone();
        }
        self.waiters.write().unwrap_or_else(PoisonError::into_inner).entry(node.clone()).or_default().clone()
    }

    /// Wakes every held sync, so that a shutdown answers them.
    pub fn wake_all(&self) {
        for waiter in self.waiters.read().unwrap_or_else(PoisonError::into_inner).values() {
            waiter.notify_waiters();
        }
    }

    /// Takes a report. Gives whether it says anything that decisions depend on and that the last one did not.
    pub fn observe(&self, node: &NodeName, observation: Observation) -> bool {
        let mut observed = self.observed.write().unwrap_or_else(PoisonError::into_inner);
        let news = observed.get(node).is_none_or(|old| {
            let (a, b) = (&old.report, &observation.report);
            (a.phase, &a.running, a.health.rpc_up, &a.fault, old.generation)
                != (b.phase, &b.running, b.health.rpc_up, &b.fault, observation.generation)
        });
        observed.insert(node.clone(), observation);
        drop(observed);
        if news {
            self.poke();
        }
        news
    }

    /// The last report of a node.
    pub fn observation(&self, node: &NodeName) -> Option<Observation> {
        self.observed.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// Wakes the reconciliation.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Waits for a poke.
    pub async fn poked(&self) {
        self.poke.notified().await;
    }

    /// The newest chain view.
    pub fn chain(&self) -> Option<Arc<ChainView>> {
        self.chain.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a new chain view.
    pub fn set_chain(&self, view: Option<Arc<ChainView>>) {
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = view;
        self.poke();
    }

    /// The newest plan of a rollout, with when it was made.
    pub fn plan_of(&self, rollout: &common::id::RolloutId) -> Option<(UnixMs, Plan)> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(rollout).cloned()
    }

    /// Publishes the newest plan of a rollout, for `status` and `why`.
    pub fn publish_plan(&self, at: UnixMs, plan: Plan) {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.rollout.id.clone(), (at, plan));
    }

    /// The store itself, for tests and `doctor`.
    pub fn store(&self) -> &RedbStore {
        &self.store
    }
}
