//! The ledger's file: written whole, with a checksum, durable before anything after it begins.
use crate::host::files;
use common::machine::Ledger;
use common::release::Digest;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What the file holds. The checksum is over the ledger's JSON with sorted keys.
#[derive(Serialize, Deserialize)]
struct Stored {
    schema: u32,
    sha256: Digest,
    ledger: serde_json::Value,
}

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read.
    #[error("the ledger {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not what was written.
    #[error(
        "the ledger {path} is damaged ({why}); it says which release this host runs, so nothing is started: restore it, or remove it to begin again from `current`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The file cannot be written.
    #[error("the ledger {path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads a ledger; `None` when there is none.
///
/// # Errors
/// [`LedgerError`] when the file cannot be read or is not what was written.
pub fn read(path: &Path) -> Result<Option<Ledger>, LedgerError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LedgerError::Read { path: path.to_owned(), source }),
    };
    let damaged = |why: String| LedgerError::Damaged { path: path.to_owned(), why };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if stored.schema != 1 {
        return Err(damaged(format!("schema {} where 1 is known", stored.schema)));
    }
    if Digest::of(stored.ledger.to_string().as_bytes()) != stored.sha256 {
        return Err(damaged("the checksum differs".to_owned()));
    }
    serde_json::from_value(stored.ledger).map(Some).map_err(|e| damaged(e.to_string()))
}

/// Writes a ledger; durable when this returns.
///
/// # Errors
/// [`LedgerError::Write`]; the former content is then still there.
pub fn write(path: &Path, ledger: &Ledger) -> Result<(), LedgerError> {
    let failed = |source: io::Error| LedgerError::Write { path: path.to_owned(), source };
    let ledger = serde_json::to_value(ledger).map_err(|e| failed(e.into()))?;
    let sha256 = Digest::of(ledger.to_string().as_bytes());
    let stored = Stored { schema: 1, sha256, ledger };
    let bytes = serde_json::to_vec(&stored).map_err(|e| failed(e.into()))?;
    files::replace(path, &bytes, 0o600).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::ReleaseName;
    use common::time::UnixMs;

    #[test]
    fn what_was_written_is_read_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        assert!(read(&path).unwrap().is_none());
        let name = ReleaseName::new("genesis").unwrap();
        let ledger = Ledger::genesis(name, Digest([7; 32]), UnixMs(5));
        write(&path, &ledger).unwrap();
        assert_eq!(read(&path).unwrap(), Some(ledger));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"spent_permission\":0", "\"spent_permission\":9")).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("checksum"));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(read(&path), Err(LedgerError::Damaged { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    }
}
