//! The one writer: requests that arrive within a window share one transaction of the backend, and so one sync of the disk.
use super::redb_backend::{META, ROWS};
use super::{Change, Committed, Condition, Op, StoreError};
use redb::{Database, ReadableTable, WriteTransaction};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Most requests in one transaction.
const MAX_GROUP: usize = 256;
/// Changes kept for watchers that come late.
const KEPT_CHANGES: usize = 20_000;

pub(super) struct Request {
    pub conditions: Vec<Condition>,
    pub ops: Vec<Op>,
    /// Epoch of the writer; 0 = never campaigned.
    pub epoch: u64,
    pub campaign: bool,
    pub reply: oneshot::Sender<Result<Committed, StoreError>>,
}

/// The newest changes, for watchers.
#[derive(Debug)]
pub(super) struct Log {
    /// Changes after this revision are complete.
    complete_after: u64,
    changes: VecDeque<Change>,
}

impl Log {
    pub fn new(revision: u64) -> Self {
        Log { complete_after: revision, changes: VecDeque::new() }
    }

    pub fn since(&self, from: u64) -> Option<VecDeque<Change>> {
        (from >= self.complete_after)
            .then(|| self.changes.iter().filter(|c| c.revision > from).cloned().collect())
    }

    fn push(&mut self, changes: &[Change]) {
        self.changes.extend(changes.iter().cloned());
        while self.changes.len() > KEPT_CHANGES {
            if let Some(gone) = self.changes.pop_front() {
                self.complete_after = gone.revision;
            }
        }
    }
}

pub(super) struct Writer {
    pub db: Arc<Database>,
    pub inbox: mpsc::Receiver<Request>,
    pub changes: broadcast::Sender<Arc<Vec<Change>>>,
    pub log: Arc<Mutex<Log>>,
    pub window: Duration,
    /// Marker to write after the first commit.
    pub used: Option<PathBuf>,
}

type Answer = Result<Committed, StoreError>;
type Reply = (oneshot::Sender<Answer>, Answer);
/// Conditions, operations, epoch, whether it is a campaign.
type Body = (Vec<Condition>, Vec<Op>, u64, bool);

impl Writer {
    pub fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            let mut group = vec![first];
            let end = Instant::now() + self.window;
            while group.len() < MAX_GROUP {
                match self.inbox.try_recv() {
                    Ok(request) => group.push(request),
                    Err(mpsc::error::TryRecvError::Disconnected) => break,
                    // A lone request is not made to wait: the window only matters once there is company.
                    Err(mpsc::error::TryRecvError::Empty) if group.len() == 1 || Instant::now() >= end => {
                        break;
                    }
                    Err(mpsc::error::TryRecvError::Empty) => std::thread::yield_now(),
                }
            }
            if !self.write(group) {
                return;
            }
        }
    }

    /// Writes a group. `false` after a failure: the outcome is unknown, and the store must be opened again.
    fn write(&mut self, group: Vec<Request>) -> bool {
        let mut replies: Vec<Reply> = Vec::with_capacity(group.len());
        match self.apply(group, &mut replies) {
            Ok(changes) => {
                if !changes.is_empty()
                    && let Some(marker) = self.used.take()
                    && let Err(e) = std::fs::write(&marker, b"in use\n")
                {
                    tracing::warn!(marker = %marker.display(), error = %e, "the marker of the store cannot be written");
                }
                // The log is extended and watchers are told under one lock, so that a new watch misses nothing.
                let mut log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                log.push(&changes);
                let _no_watcher = self.changes.send(Arc::new(changes));
                drop(log);
                for (reply, result) in replies {
                    let _gone = reply.send(result);
                }
                true
            }
            Err(e) => {
                tracing::error!(error = %e, "the store cannot be written");
                for (reply, _) in replies {
                    let _gone = reply.send(Err(e.clone()));
                }
                false
            }
        }
    }

    fn apply(&self, group: Vec<Request>, replies: &mut Vec<Reply>) -> Result<Vec<Change>, StoreError> {
        let mut replied: Vec<_> = Vec::with_capacity(group.len());
        let mut bodies = Vec::with_capacity(group.len());
        for r in group {
            replied.push(r.reply);
            bodies.push((r.conditions, r.ops, r.epoch, r.campaign));
        }
        let result = self.transaction(bodies);
        match result {
            Ok((changes, results)) => {
                replies.extend(replied.into_iter().zip(results));
                Ok(changes)
            }
            Err(e) => {
                replies.extend(replied.into_iter().map(|r| (r, Err(e.clone()))));
                Err(e)
            }
        }
    }

    fn transaction(&self, bodies: Vec<Body>) -> Result<(Vec<Change>, Vec<Answer>), StoreError> {
        let fail = |e: &dyn std::fmt::Display| StoreError::Write(e.to_string());
        let mut tx = self.db.begin_write().map_err(|e| fail(&e))?;
        tx.set_two_phase_commit(true);
        tx.set_quick_repair(true);
        let (mut changes, mut results) = (Vec::new(), Vec::new());
        for (conditions, ops, epoch, campaign) in bodies {
            let result = one(&tx, &conditions, &ops, epoch, campaign, &mut changes);
            match result {
                Err(StoreError::Fenced { mine, current }) => {
                    results.push(Err(StoreError::Fenced { mine, current }))
                }
                Err(e) => return Err(e),
                Ok(done) => results.push(Ok(done)),
            }
        }
        tx.commit().map_err(|e| fail(&e))?;
        Ok((changes, results))
    }
}

fn one(
    tx: &WriteTransaction,
    conditions: &[Condition],
    ops: &[Op],
    epoch: u64,
    campaign: bool,
    changes: &mut Vec<Change>,
) -> Result<Committed, StoreError> {
    let fail = |e: &dyn std::fmt::Display| StoreError::Write(e.to_string());
    let mut meta = tx.open_table(META).map_err(|e| fail(&e))?;
    let mut rows = tx.open_table(ROWS).map_err(|e| fail(&e))?;
    let read = |meta: &redb::Table<'_, &str, u64>, key: &str| -> Result<u64, StoreError> {
        Ok(meta.get(key).map_err(|e| fail(&e))?.map_or(0, |v| v.value()))
    };
    let current = read(&meta, "epoch")?;
    if campaign {
        meta.insert("epoch", current + 1).map_err(|e| fail(&e))?;
        return Ok(Committed::At(read(&meta, "revision")?));
    }
    if epoch != current {
        return Err(StoreError::Fenced { mine: epoch, current });
    }
    for condition in conditions {
        let holds = match condition {
            Condition::Absent(key) => rows.get(key.as_str()).map_err(|e| fail(&e))?.is_none(),
            Condition::Revision(key, revision) => {
                rows.get(key.as_str()).map_err(|e| fail(&e))?.is_some_and(|v| v.value().0 == *revision)
            }
        };
        if !holds {
            return Ok(Committed::Conflict);
        }
    }
    let revision = read(&meta, "revision")? + 1;
    meta.insert("revision", revision).map_err(|e| fail(&e))?;
    for op in ops {
        let (key, value) = match op {
            Op::Put(key, value) => {
                rows.insert(key.as_str(), (revision, value.as_slice())).map_err(|e| fail(&e))?;
                (key, Some(value.clone()))
            }
            Op::Delete(key) => {
                rows.remove(key.as_str()).map_err(|e| fail(&e))?;
                (key, None)
            }
        };
        changes.push(Change { revision, key: key.clone(), value });
    }
    Ok(Committed::At(revision))
}
