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

/// A file whose bytes were hashed, and what tells whether it is still that file, unchanged.
///
/// It lets the hashing be done while something else is waited for: the launcher that executes the file looks at
/// inode, size and times, which nobody but the kernel sets, instead of reading it all again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    identity: Identity,
    digest: Digest,
}

impl Checked {
    /// Hashes a file. `None` when it changes meanwhile, or changed so lately that a further change may not show.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Option<Checked>> {
        let file = File::open(path)?;
        let identity = Identity::of(&file.metadata()?);
        if !identity.is_settled() {
            return Ok(None);
        }
        let digest = digest(&file)?;
        Ok((Identity::of(&file.metadata()?) == identity).then_some(Checked { identity, digest }))
    }

    /// The digest, when this is what was hashed.
    pub fn digest(&self, file: &Metadata) -> Option<Digest> {
        (Identity::of(file) == self.identity).then_some(self.digest)
    }
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

    #[test]
    fn what_was_checked_is_known_again_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geth");
        std::fs::write(&path, b"one").unwrap();
        let identity = Identity::of(&std::fs::metadata(&path).unwrap());
        let checked = Checked { identity, digest: Digest::of(b"one") };
        assert_eq!(checked.digest(&std::fs::metadata(&path).unwrap()), Some(Digest::of(b"one")));
        let changed = |i: &Identity| Identity { changed: (i.changed.0 - 1, i.changed.1), ..i.clone() };
        assert_ne!(changed(&checked.identity), checked.identity, "the kernel's own time tells as well");
        std::fs::write(&path, b"other").unwrap();
        assert_eq!(checked.digest(&std::fs::metadata(&path).unwrap()), None);
    }

    #[test]
    fn a_file_that_has_just_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geth");
        std::fs::write(&path, b"one").unwrap();
        assert_eq!(Checked::of(&path).unwrap(), None, "its time of change is of this moment");
        let identity = Identity::of(&std::fs::metadata(&path).unwrap());
        assert!(Identity { changed: (1, 0), modified: (1, 0), ..identity }.is_settled());
        assert!(Checked::of(&folder.path().join("none")).is_err());
    }

    #[test]
    fn every_byte_counts_whatever_the_chunks() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            assert_eq!(digest(&bytes[..]).unwrap(), Digest::of(&bytes), "{size}");
        }
    }
}
