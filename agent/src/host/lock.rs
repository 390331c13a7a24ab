//! One agent per home.
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.take(20).read_to_string(&mut holder);
            return Err(LockError::Held { holder: holder.trim().to_owned(), path: path.to_owned() });
        }
        Err(e) => return Err(failed(e.into())),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(HomeLock(file))
}
