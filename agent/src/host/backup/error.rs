//! What can go wrong with a backup.
use crate::host::{disk, lock};
use std::io;
use std::path::{Path, PathBuf};

/// Why a backup could not be planned, made, sealed, verified, removed or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is to be saved cannot be.
    #[error("[backup] include {what:?} cannot be saved: {why}")]
    Include {
        /// As the settings say it; the data folder when they say nothing.
        what: String,
        /// Why.
        why: String,
    },
    /// A pattern makes no sense.
    #[error("[backup] exclude {pattern:?} is no pattern: {why}")]
    Exclude {
        /// The pattern.
        pattern: String,
        /// Why.
        why: &'static str,
    },
    /// A label cannot be part of a folder's name.
    #[error("{0:?} is no label: up to 80 letters, digits, '.', '_' and '-', a letter or digit first")]
    Label(String),
    /// The backup would hold itself.
    #[error(
        "the folder of the backups {dir} is inside {root}, which is saved, so each backup would hold the ones before: set [backup] dir to a folder elsewhere"
    )]
    DirInside {
        /// Folder of the backups.
        dir: PathBuf,
        /// What is saved.
        root: PathBuf,
    },
    /// The folder of the backups cannot be used.
    #[error(
        "the folder of the backups {dir} cannot be used: {cause}; set [backup] dir to one that can be written"
    )]
    Dir {
        /// Folder of the backups.
        dir: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is not enough space, seen before anything was done.
    #[error(
        "{need} bytes are needed in {dir} and {free} are free: remove old backups (`wemixvisor backup prune`), or set [backup] dir to another disk"
    )]
    NoSpace {
        /// Where they are needed.
        dir: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk filled up on the way.
    #[error(
        "the disk is full: {path} cannot be written; what was begun is removed again: remove old backups (`wemixvisor backup prune`), or set [backup] dir to another disk"
    )]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// Something cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Something cannot be written.
    #[error("{path} cannot be written: {cause}")]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file changed under the copy.
    #[error(
        "{0} changed while it was copied, so the backup would be worth nothing: stop whatever writes there"
    )]
    Moving(PathBuf),
    /// The name leads to nothing.
    #[error("there is no backup {name:?} in {dir}: `wemixvisor backup list` shows what there is")]
    NoSuch {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A folder or file is no backup.
    #[error("{0} is no backup")]
    NotOne(PathBuf),
    /// The manifest or the list is not what was written.
    #[error("the backup {backup} is damaged: {why}; it is neither restored nor pruned: remove it by hand")]
    Damaged {
        /// Its folder.
        backup: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The content is not what was saved.
    #[error(
        "the backup {backup} is not what was saved ({missing} missing, {changed} changed, {extra} extra; first: {first}): it is not restored"
    )]
    Differs {
        /// Its folder.
        backup: PathBuf,
        /// How many paths are missing.
        missing: u64,
        /// How many changed.
        changed: u64,
        /// How many were added.
        extra: u64,
        /// One of them.
        first: String,
    },
    /// Digests are not yet there.
    #[error(
        "the backup {0} is not sealed, so it cannot be verified: `wemixvisor backup verify --seal` seals it"
    )]
    Unsealed(PathBuf),
    /// A foreign backup has nothing to verify it by.
    #[error(
        "{0} is a foreign backup without digests, so nobody can say whether it is complete: --force restores it"
    )]
    Foreign(PathBuf),
    /// Another process works with it.
    #[error("the backup {0} is in use by another process: wait for it")]
    Busy(PathBuf),
    /// A path in a backup leads out of where it belongs.
    #[error("the backup names {path:?}, which is refused: {why}; nothing is restored")]
    Escapes {
        /// As the backup says it.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A place cannot be restored.
    #[error("{path} cannot be restored: {why}")]
    Target {
        /// The place.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The home is in use.
    #[error("{0}; stop the node and the agent first (`wemixvisor stop`)")]
    Lock(lock::LockError),
    /// A rename of a restore failed; it is tried again.
    #[error(
        "{from} cannot be renamed to {to}: {cause}; the next `wemixvisor backup restore` or start of the agent goes on from here"
    )]
    Rename {
        /// From.
        from: PathBuf,
        /// To.
        to: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The note of a restore under way cannot be followed.
    #[error("the note of an unfinished restore {path} cannot be followed: {why}")]
    Journal {
        /// The note.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

// Messages hold their causes, so these are no sources as well: a chain would say them twice.
impl From<lock::LockError> for BackupError {
    fn from(error: lock::LockError) -> BackupError {
        BackupError::Lock(error)
    }
}

impl BackupError {
    /// For `map_err`: `path` could not be read.
    pub(super) fn read(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
        |cause| BackupError::Read { path: path.to_owned(), cause }
    }

    /// For `map_err`: `path` could not be written; a full disk is told apart.
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
        |cause| match disk::is_full(&cause) {
            true => BackupError::Full { path: path.to_owned() },
            false => BackupError::Write { path: path.to_owned(), cause },
        }
    }
}
