//! The commit point: one record per height, written once, whoever dies at whatever moment.
//!
//! A record is linked into place complete, so that it exists or does not. Only after that the block is mined, and
//! whoever finds a record without its block mines it. All of it happens under one lock, so the execution layer's head is
//! always the number of records, or one less for the moment between the two steps.
use super::execution::{Execution, ExecutionError};
use super::record::{Proposal, SealRecord};
use common::chain::Address;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time that a request of a dead proposer has to take effect in the execution layer.
const RECOVERY_PAUSE: Duration = Duration::from_millis(100);

/// A commit did not come to its end; the next one completes it.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A file of the commit point.
    #[error("commit point: cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A record cannot be read.
    #[error("commit point: {path} is no seal record")]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The execution layer.
    #[error("commit point: block {height}")]
    Execution {
        /// Height being mined.
        height: u64,
        /// Why.
        source: ExecutionError,
    },
    /// The execution layer and the records have nothing to do with each other.
    #[error("commit point: the execution layer is at {head}, but height {height} is being committed")]
    Apart {
        /// Its head.
        head: u64,
        /// Height being committed.
        height: u64,
    },
    /// The thread that waits for the lock died.
    #[error("commit point: waiting for the lock was interrupted")]
    Interrupted,
}

/// The commit point of one network.
#[derive(Debug, Clone)]
pub struct CommitPoint {
    dir: PathBuf,
    execution: Execution,
}

impl CommitPoint {
    /// The commit point in `dir`.
    pub fn new(dir: &Path, execution: Execution) -> Self {
        Self { dir: dir.to_owned(), execution }
    }

    /// Where the record of a height is.
    pub fn record_path(dir: &Path, height: u64) -> PathBuf {
        dir.join("seals").join(format!("{height}.json"))
    }

    /// Commits a proposal, unless another was committed for that height: the record that stands is returned, mined.
    ///
    /// # Errors
    /// A file or the execution layer failed. What was written stands and is completed by whoever comes next.
    pub async fn commit(
        &self,
        proposal: Proposal,
        committed: Vec<Address>,
    ) -> Result<SealRecord, CommitError> {
        let lock_path = self.dir.join("lock");
        let lock = tokio::task::spawn_blocking(move || take_lock(&lock_path))
            .await
            .map_err(|_| CommitError::Interrupted)??;
        let (record, found) = self.place(SealRecord { proposal, committed, hash: None })?;
        let record = self.complete(record, found).await?;
        drop(lock);
        Ok(record)
    }

    /// Puts the record in its place unless there is one; returns the one that stands, and whether it was found.
    fn place(&self, record: SealRecord) -> Result<(SealRecord, bool), CommitError> {
        let path = Self::record_path(&self.dir, record.height());
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(|record| (record, true))
                .map_err(|source| CommitError::Record { path, source }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let temp = self.write_temp(&record)?;
                // A link fails when the name exists: the same promise as O_EXCL, but the content is complete.
                std::fs::hard_link(&temp, &path).map_err(file("link", &path))?;
                std::fs::remove_file(&temp).map_err(file("remove", &temp))?;
                Ok((record, false))
            }
            Err(source) => Err(CommitError::File { what: "read", path, source }),
        }
    }

    /// Mines the record's block unless it is mined, and notes its hash.
    async fn complete(&self, mut record: SealRecord, found: bool) -> Result<SealRecord, CommitError> {
        if record.hash.is_some() {
            return Ok(record);
        }
        let height = record.height();
        let failed = |source| CommitError::Execution { height, source };
        if found {
            // Who placed it may have died after asking for the block and before it was mined: let that happen first.
            tokio::time::sleep(RECOVERY_PAUSE).await;
        }
        let head = self.execution.head().await.map_err(failed)?;
        let hash = if head + 1 == height {
            let p = &record.proposal;
            self.execution.mine(height, p.proposer, p.time_ms).await.map_err(failed)?
        } else if head == height {
            self.execution.block(height).await.map_err(failed)?.0
        } else {
            return Err(CommitError::Apart { head, height });
        };
        record.hash = Some(hash);
        let temp = self.write_temp(&record)?;
        let path = Self::record_path(&self.dir, height);
        std::fs::rename(&temp, &path).map_err(file("replace", &path))?;
        Ok(record)
    }

    fn write_temp(&self, record: &SealRecord) -> Result<PathBuf, CommitError> {
        let path = self.dir.join("seals").join(".new");
        let text = serde_json::to_vec(record)
            .map_err(|source| CommitError::Record { path: path.clone(), source })?;
        // A leftover of a process that died while it held the lock may be there: start from nothing.
        let _ = std::fs::remove_file(&path);
        let mut temp = File::create_new(&path).map_err(file("create", &path))?;
        temp.write_all(&text).map_err(file("write", &path))?;
        Ok(path)
    }
}

/// Waits for the lock; it is held until the file is dropped or the process ends.
fn take_lock(path: &Path) -> Result<File, CommitError> {
    let lock =
        File::options().create(true).truncate(false).write(true).open(path).map_err(file("open", path))?;
    loop {
        match flock(&lock, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(file("lock", path)(errno.into())),
        }
    }
}

fn file(what: &'static str, path: &Path) -> impl Fn(io::Error) -> CommitError {
    let path = path.to_owned();
    move |source| CommitError::File { what, path: path.clone(), source }
}
