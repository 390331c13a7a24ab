//! The embedded backend: redb in one file, one writer with group commit.
//!
//! Every commit is two-phase (agents write facts into it, so a checksum alone is not enough) with quick repair, so that
//! opening after a crash does not walk the file. A marker beside the file says that it was in use: redb once opened a
//! damaged file as an empty one, and an empty store must never be taken for a new fleet.
use super::writer::{Log, Request, Writer};
use super::{Change, Committed, Condition, MAX_COMMIT_BYTES, MAX_OPS, Op, StoreError, Versioned};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};

pub(super) const ROWS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("rows");
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The embedded store. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct RedbStore {
    db: Arc<Database>,
    requests: mpsc::Sender<Request>,
    changes: broadcast::Sender<Arc<Vec<Change>>>,
    log: Arc<Mutex<Log>>,
    epoch: Arc<std::sync::atomic::AtomicU64>,
    // Last: dropped when this handle's way to the writer is gone already.
    _writer: Arc<WriterThread>,
}

/// The writer's thread. It ends when the last handle is dropped, and that drop waits for it: whoever opens the file next
/// must not find it open still.
#[derive(Debug)]
struct WriterThread(Option<std::thread::JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        if self.0.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of the store panicked");
        }
    }
}

/// Everything under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Revision of the newest commit in it.
    pub revision: u64,
    /// Rows by key.
    pub rows: BTreeMap<String, Versioned>,
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let fail = |why: String| StoreError::Open { path: path.to_owned(), why };
    let db = Database::builder().create(path).map_err(|e| {
        fail(match e {
            redb::DatabaseError::DatabaseAlreadyOpen => "another process has it open".into(),
            other => other.to_string(),
        })
    })?;
    let tx = db.begin_write().map_err(|e| fail(e.to_string()))?;
    {
        tx.open_table(ROWS).map_err(|e| fail(e.to_string()))?;
        tx.open_table(META).map_err(|e| fail(e.to_string()))?;
    }
    tx.commit().map_err(|e| fail(e.to_string()))?;
    Ok(db)
}

fn marker(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".used");
    name.into()
}

impl RedbStore {
    /// Opens or creates the store. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the file is in use or unreadable, [`StoreError::OpensEmpty`] when it lost its content.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Arc::new(open(path)?);
        let revision = read_meta(&db, "revision")?;
        if marker(path).exists() {
            if revision == 0 {
                return Err(StoreError::OpensEmpty { path: path.to_owned() });
            }
        } else if revision > 0 {
            mark(path)?;
        }
        let (requests, inbox) = mpsc::channel(1024);
        let (changes, _) = broadcast::channel(4096);
        let log = Arc::new(Mutex::new(Log::new(revision)));
        let writer = Writer {
            db: db.clone(),
            inbox,
            changes: changes.clone(),
            log: log.clone(),
            window: Duration::from_millis(2),
            used: Some(marker(path)).filter(|m| !m.exists()),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|e| StoreError::Open { path: path.to_owned(), why: e.to_string() })?;
        let writer = Arc::new(WriterThread(Some(thread)));
        Ok(RedbStore { db, requests, changes, log, epoch: Arc::default(), _writer: writer })
    }

    /// Everything under `prefix`, consistent.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn snapshot(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let fail = |e: &dyn std::fmt::Display| StoreError::Read(e.to_string());
        let tx = self.db.begin_read().map_err(|e| fail(&e))?;
        let meta = tx.open_table(META).map_err(|e| fail(&e))?;
        let revision = meta.get("revision").map_err(|e| fail(&e))?.map_or(0, |v| v.value());
        let table = tx.open_table(ROWS).map_err(|e| fail(&e))?;
        let mut rows = BTreeMap::new();
        for row in table.range(prefix..).map_err(|e| fail(&e))? {
            let (key, value) = row.map_err(|e| fail(&e))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (revision, bytes) = value.value();
            rows.insert(key.value().to_owned(), Versioned { revision, value: bytes.to_vec() });
        }
        Ok(Snapshot { revision, rows })
    }

    /// Applies `ops` if every condition holds, all or nothing. When this returns `At`, the change is durable.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Write`] the outcome is unknown.
    pub async fn commit(&self, conditions: Vec<Condition>, ops: Vec<Op>) -> Result<Committed, StoreError> {
        let bytes = ops
            .iter()
            .map(|op| match op {
                Op::Put(k, v) => k.len() + v.len(),
                Op::Delete(k) => k.len(),
            })
            .sum();
        if ops.len() > MAX_OPS || bytes > MAX_COMMIT_BYTES {
            return Err(StoreError::TooLarge { ops: ops.len(), bytes });
        }
        let (reply, answer) = oneshot::channel();
        let epoch = self.epoch.load(std::sync::atomic::Ordering::Acquire);
        let request = Request { conditions, ops, epoch, campaign: false, reply };
        self.requests.send(request).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Becomes the writer: later commits of anybody who campaigned before are refused as [`StoreError::Fenced`].
    /// Gives the new epoch.
    ///
    /// # Errors
    /// As [`RedbStore::commit`].
    pub async fn campaign(&self) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { conditions: vec![], ops: vec![], epoch: 0, campaign: true, reply };
        self.requests.send(request).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)??;
        let epoch = read_meta(&self.db, "epoch")?;
        self.epoch.store(epoch, std::sync::atomic::Ordering::Release);
        Ok(epoch)
    }

    /// A handle with no epoch of its own, as another coordinator would have.
    pub fn unfenced(&self) -> Self {
        RedbStore { epoch: Arc::default(), ..self.clone() }
    }

    /// Changes under `prefix` after revision `from`, in order and without gaps: first those already made, then those to
    /// come. `None` when `from` is older than what is kept in memory: take a snapshot and watch from its revision.
    pub fn watch(&self, prefix: &str, from: u64) -> Option<Watch> {
        let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let backlog = log.since(from)?;
        Some(Watch { prefix: prefix.to_owned(), backlog, next: self.changes.subscribe() })
    }
}

fn mark(path: &Path) -> Result<(), StoreError> {
    std::fs::write(marker(path), b"in use\n")
        .map_err(|e| StoreError::Open { path: path.to_owned(), why: e.to_string() })
}

pub(super) fn read_meta(db: &Database, key: &str) -> Result<u64, StoreError> {
    let fail = |e: &dyn std::fmt::Display| StoreError::Read(e.to_string());
    let tx = db.begin_read().map_err(|e| fail(&e))?;
    let meta = tx.open_table(META).map_err(|e| fail(&e))?;
    let value = meta.get(key).map_err(|e| fail(&e))?.map_or(0, |v| v.value());
    Ok(value)
}

/// A stream of changes.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    backlog: std::collections::VecDeque<Change>,
    next: broadcast::Receiver<Arc<Vec<Change>>>,
}

impl Watch {
    /// The next change; `None` when the store was closed or this watcher fell too far behind (watch again).
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.backlog.pop_front() {
                if change.key.starts_with(&self.prefix) {
                    return Some(change);
                }
                continue;
            }
            let batch = self.next.recv().await.ok()?;
            self.backlog.extend(batch.iter().cloned());
        }
    }
}
