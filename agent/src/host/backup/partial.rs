//! A folder under a hidden name until it is complete.
use super::BackupError;
use super::owner::{self, Owner};
use super::walk::{PARTIAL, PREFIX};
use crate::host::files;
use common::time::UnixMs;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::macros::format_description;

/// Backups of one label in one second.
const MAX_NUMBER: u32 = 1000;

/// UTC as `yyyymmdd-hhmmss`.
pub fn stamp(at: UnixMs) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let form = format_description!("[year][month][day]-[hour][minute][second]");
    time.format(&form).unwrap_or_default()
}

/// A backup that is being made; removed unless it gets its name.
#[derive(Debug)]
pub struct Partial {
    dir: PathBuf,
    name: String,
    hidden: PathBuf,
    /// Tells other processes that somebody still works here.
    _lock: File,
    named: bool,
}

impl Partial {
    /// Begins a folder in `dir` for `label`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(dir: &Path, label: &str, at: UnixMs, owner: Owner) -> Result<Partial, BackupError> {
        let stamped = format!("{PREFIX}{label}-{}", stamp(at));
        for number in 1..=MAX_NUMBER {
            let name = numbered(&stamped, number);
            let hidden = dir.join(format!(".{name}{PARTIAL}"));
            if dir.join(&name).symlink_metadata().is_ok() {
                continue;
            }
            match DirBuilder::new().mode(0o700).create(&hidden) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(BackupError::write(&hidden)(e)),
            }
            // Whoever clears up dead ones may have been faster than the lock: then the next number.
            let Some(lock) = locked(&hidden).map_err(BackupError::write(&hidden))? else { continue };
            let partial = Partial { dir: dir.to_owned(), name, hidden, _lock: lock, named: false };
            owner::give(&partial.hidden, owner).map_err(BackupError::write(&partial.hidden))?;
            return Ok(partial);
        }
        let cause = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(BackupError::Write { path: dir.join(stamped), cause })
    }

    /// Where it grows.
    pub fn folder(&self) -> &Path {
        &self.hidden
    }

    /// Makes everything in it durable and gives it a name that nothing has; the path is given back.
    ///
    /// # Errors
    /// When it cannot be flushed or renamed; it is then removed.
    pub fn finish(mut self) -> Result<PathBuf, BackupError> {
        let failed = BackupError::write(&self.hidden);
        // One call for a million files; it also reports what could not be written.
        File::open(&self.hidden).and_then(|f| Ok(rustix::fs::syncfs(f)?)).map_err(&failed)?;
        for number in 1..=MAX_NUMBER {
            let path = self.dir.join(numbered(&self.name, number));
            match rename_new(&self.hidden, &path) {
                Ok(()) => {
                    self.named = true;
                    files::sync_folder(&self.dir).map_err(BackupError::write(&self.dir))?;
                    return Ok(path);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named {
            let _ = std::fs::remove_dir_all(&self.hidden);
        }
    }
}

fn numbered(name: &str, number: u32) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}-{number}") }
}

/// Renames only when nothing has the name.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS) => match to.symlink_metadata() {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(_) => std::fs::rename(from, to),
        },
        other => Ok(other?),
    }
}

/// The lock of a folder; `None` when another process has it or the folder went away.
fn locked(folder: &Path) -> io::Result<Option<File>> {
    let file = match File::open(folder) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let own = file.metadata()?;
    let still = folder.symlink_metadata().is_ok_and(|m| (m.dev(), m.ino()) == (own.dev(), own.ino()));
    Ok(still.then_some(file))
}

/// Removes what runs that died have left in `dir`. What cannot be removed stays for the next time.
pub fn clear_dead(dir: &Path) {
    let hidden = format!(".{PREFIX}");
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_bytes();
        if !name.starts_with(hidden.as_bytes()) || !name.ends_with(PARTIAL.as_bytes()) {
            continue;
        }
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if let Ok(Some(_lock)) = locked(&path) {
                let _ = std::fs::remove_dir_all(&path);
            }
        } else {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Removes a backup. It loses its name first, so that no half of one is ever taken for a whole.
///
/// # Errors
/// When it is in use or cannot be removed.
pub fn remove(backup: &Path) -> Result<(), BackupError> {
    let failed = BackupError::write(backup);
    let _lock = locked(backup).map_err(&failed)?.ok_or_else(|| BackupError::Busy(backup.to_owned()))?;
    let name = backup.file_name().unwrap_or_default().to_string_lossy();
    let hidden = backup.with_file_name(format!(".{name}{PARTIAL}"));
    rename_new(backup, &hidden).map_err(&failed)?;
    std::fs::remove_dir_all(&hidden).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc() {
        assert_eq!(stamp(UnixMs(0)), "19700101-000000");
        assert_eq!(stamp(UnixMs(1_767_323_045_999)), "20260102-030405");
        assert_eq!(stamp(UnixMs(u64::MAX)), "19700101-000000");
    }

    #[test]
    fn names_are_never_taken_twice() {
        let dir = tempfile::tempdir().unwrap();
        let one = Partial::make(dir.path(), "x", UnixMs(0), None).unwrap();
        let two = Partial::make(dir.path(), "x", UnixMs(0), None).unwrap();
        assert_ne!(one.folder(), two.folder());
        // Empty folders are what a plain rename would replace.
        std::fs::create_dir(dir.path().join("wemixvisor-backup-x-19700101-000000")).unwrap();
        let (one, two) = (one.finish().unwrap(), two.finish().unwrap());
        assert!(one.ends_with("wemixvisor-backup-x-19700101-000000-2"), "{one:?}");
        assert_ne!(one, two);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn only_dead_ones_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Partial::make(dir.path(), "a", UnixMs(0), None).unwrap();
        let dead = dir.path().join(".wemixvisor-backup-b-19700101-000000.partial");
        std::fs::create_dir_all(dead.join("files")).unwrap();
        std::fs::create_dir(dir.path().join("mine.partial")).unwrap();
        clear_dead(dir.path());
        assert!(alive.folder().exists() && !dead.exists());
        assert!(dir.path().join("mine.partial").exists());
        drop(alive);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
