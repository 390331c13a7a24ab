//! Files that are either as before or complete.
use crate::clock;
use common::release::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How much is hashed at once, in bytes: small enough to be still in the processor's nearest caches when it is
/// hashed after it was read.
const CHUNK: usize = 32 << 10;
/// A file that changed less than this long ago, in seconds, may change again within one step of the clock that
/// marks files; its digest is not remembered.
const SETTLED_SECONDS: i64 = 2;

/// Replaces a file: written beside it, flushed, renamed, folder flushed. Durable when this returns.
///
/// # Errors
/// The first operation that fails; the file is then as before.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = beside(path);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

/// A name beside `path` for its successor. One writer per home makes the name unique.
pub fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Makes renames in a folder durable.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The digest of everything `reader` gives.
///
/// # Errors
/// When reading fails.
pub fn digest(mut reader: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The digest of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(path: &Path) -> io::Result<Digest> {
    digest(File::open(path)?)
}

/// What tells a file from another one, and from itself after a change, without reading it. Nobody but the
/// kernel sets the time of the last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &Metadata) -> Identity {
        Identity {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    fn is_settled(&self) -> bool {
        let now = i64::try_from(clock::now().0 / 1000).unwrap_or(i64::MAX);
        now.saturating_sub(self.changed.0.max(self.modified.0)) > SETTLED_SECONDS
    }
}

/// The digest of one file as it was when it was read last.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    identity: Identity,
    digest: Digest,
}

/// The digest of a file, from the file `memory` when inode, size and times are still those of the file whose digest
/// was written down there; read and written down otherwise. A hundred mebibytes are not read again at every start.
///
/// This tells what is on a host. It never decides that bytes may run: that is for [`digest`] over the bytes
/// themselves, in the exec.
///
/// # Errors
/// When the file cannot be read. A memory that cannot be read or written only costs time.
pub fn digest_remembered(path: &Path, memory: &Path) -> io::Result<Digest> {
    let file = File::open(path)?;
    let identity = Identity::of(&file.metadata()?);
    let known = std::fs::read(memory).ok().and_then(|b| serde_json::from_slice::<Remembered>(&b).ok());
    if let Some(known) = known.filter(|k| k.identity == identity) {
        return Ok(known.digest);
    }
    let digest = digest(&file)?;
    if identity.is_settled() && Identity::of(&file.metadata()?) == identity {
        let bytes = serde_json::to_vec(&Remembered { identity, digest }).unwrap_or_default();
        // Not flushed: what a power cut takes is read again.
        let new = beside(memory);
        let _ = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, memory));
    }
    Ok(digest)
}

/// A file that is removed again unless it is kept.
#[derive(Debug)]
pub struct Temporary(Option<PathBuf>);

impl Temporary {
    /// Watches over `path`.
    pub fn new(path: PathBuf) -> Temporary {
        Temporary(Some(path))
    }

    /// The file has got its final name.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// A file whose times are long ago, as those of an installed release are.
    fn settled(path: &Path, bytes: &[u8]) -> Remembered {
        std::fs::write(path, bytes).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        Remembered { identity: Identity::of(&file.metadata().unwrap()), digest: Digest::of(b"remembered") }
    }

    #[test]
    fn a_digest_is_remembered_for_the_same_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let (path, memory) = (folder.path().join("geth"), folder.path().join("memory"));
        let known = settled(&path, b"one");
        std::fs::write(&memory, serde_json::to_vec(&known).unwrap()).unwrap();
        assert_eq!(digest_remembered(&path, &memory).unwrap(), Digest::of(b"remembered"));
        settled(&path, b"another");
        assert_eq!(digest_remembered(&path, &memory).unwrap(), Digest::of(b"another"));
        let changed = |i: &Identity| Identity { changed: (i.changed.0 - 1, i.changed.1), ..i.clone() };
        assert_ne!(changed(&known.identity), known.identity, "the kernel's own time tells as well");
        std::fs::write(&memory, b"nonsense").unwrap();
        assert_eq!(digest_remembered(&path, &memory).unwrap(), Digest::of(b"another"));
        assert!(digest_remembered(&folder.path().join("none"), &memory).is_err());
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (path, memory) = (folder.path().join("geth"), folder.path().join("memory"));
        settled(&path, b"one");
        assert_eq!(digest_remembered(&path, &memory).unwrap(), Digest::of(b"one"));
        assert!(!memory.exists(), "its time of change is of this moment");
        let old = Identity { changed: (1, 0), ..settled(&path, b"one").identity };
        assert!(old.is_settled());
    }

    #[test]
    fn every_byte_counts_whatever_the_chunks() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            assert_eq!(digest(&bytes[..]).unwrap(), Digest::of(&bytes), "{size}");
        }
    }
}
