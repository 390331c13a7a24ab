//! One agent per home.
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The right to supervise a home; ends with the process.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "held, not read")] File);

/// Why a home cannot be supervised by this process.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent is there.
    #[error("another wemixvisor (process {holder}) supervises this home: {path} is locked")]
    Held {
        /// Process id of the holder as it wrote it down.
        holder: String,
        /// The lock's file.
        path: PathBuf,
    },
    /// A node is there.
    #[error("a process of this home's node is still there: {0} is locked")]
    Node(PathBuf),
    /// The lock's file cannot be used.
    #[error("the lock {path} cannot be taken: {source}")]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes the lock of a home.
///
/// # Errors
/// [`LockError::Held`] names the process that has it.
pub fn take(path: &Path) -> Result<HomeLock, LockError> {
    let failed = |source: io::Error| LockError::Io { path: path.to_owned(), source };
    let mut file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.take(20).read_to_string(&mut holder);
            // It locks first and writes then.
            let holder = Some(holder.trim()).filter(|h| !h.is_empty()).unwrap_or("just started").to_owned();
            return Err(LockError::Held { holder, path: path.to_owned() });
        }
        Err(e) => return Err(failed(e.into())),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(HomeLock(file))
}

fn open(path: &Path) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(|source| LockError::Io { path: path.to_owned(), source })
}

/// Takes the node's lock in a file that passes on to the next process that is executed. Whoever inherits
/// it keeps the lock when this one is closed.
///
/// # Errors
/// [`LockError::Node`] while a node holds it.
pub fn for_node(path: &Path) -> Result<File, LockError> {
    let file = open(path)?;
    let failed = |e: Errno| LockError::Io { path: path.to_owned(), source: e.into() };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(LockError::Node(path.to_owned())),
        Err(e) => return Err(failed(e)),
    }
    fcntl_setfd(&file, FdFlags::empty()).map_err(failed)?;
    Ok(file)
}

/// Whether a node holds its lock.
///
/// # Errors
/// When the lock's file cannot be used.
pub fn node_is_there(path: &Path) -> Result<bool, LockError> {
    match flock(open(path)?, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(LockError::Io { path: path.to_owned(), source: e.into() }),
    }
}

/// Processes that have the node's lock: the node, and whom it passed it on to.
pub fn holders(path: &Path) -> Vec<u32> {
    let place = std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    place.map(|(device, inode)| super::proc::lock_holders(device, inode)).unwrap_or_default()
}
