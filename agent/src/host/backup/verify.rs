//! Whether a backup is still what was saved.
use super::copy::{self, Copier};
use super::entries::{Entry, What};
use super::manifest::encode;
use super::walk::{self, Kind, Rules, Visit};
use super::{Backup, BackupError, FILES, Progress, Tell};
use rustix::fs::FlockOperation;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most paths of a kind that are named.
const MAX_NAMED: usize = 100;

/// Paths that are not as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Paths {
    /// How many there are.
    pub count: u64,
    /// The first hundred, as the manifest writes them.
    pub first: Vec<String>,
}

impl Paths {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < MAX_NAMED {
            self.first.push(encode(path));
        }
    }
}

/// What a look at a backup gave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verdict {
    /// Whether there were digests to compare; without them only lengths were.
    pub sealed: bool,
    /// Files that are as they were saved.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Saved and not there.
    pub missing: Paths,
    /// There and different.
    pub changed: Paths,
    /// There and not saved.
    pub extra: Paths,
}

impl Verdict {
    /// Whether the backup is exactly what was saved, which only a sealed one can be known to be.
    pub fn good(&self) -> bool {
        self.sealed && self.same()
    }

    /// Whether nothing is missing, changed or extra.
    pub fn same(&self) -> bool {
        self.missing.count + self.changed.count + self.extra.count == 0
    }
}

impl Backup {
    /// Compares every file of the backup with what was saved.
    ///
    /// # Errors
    /// When it is damaged so that it cannot be compared, in use, or cannot be read.
    pub fn verify(&self, tell: &mut Tell<'_>) -> Result<Verdict, BackupError> {
        let _lock = self.hold(FlockOperation::NonBlockingLockShared)?;
        let files = self.folder.join(FILES);
        let roots: Vec<PathBuf> = self.manifest.roots.iter().map(|r| r.saved()).collect();
        let mut look = Look {
            files: &files,
            verdict: Verdict { sealed: self.manifest.sealed, ..Verdict::default() },
            copier: Copier::default(),
            progress: Progress { done: 0, total: self.manifest.totals.bytes },
            tell,
        };
        let mut entries = self.entries()?;
        let mut next = entries.next().transpose()?;
        walk::walk(&files, &Rules { keys: true, ..Rules::default() }, &mut |visit| {
            let (path, kind) = match visit {
                Visit::Found { path, kind, .. } => (path, Some(kind)),
                Visit::Passed { path, .. } => (path, None),
            };
            // The folders above the roots are in no list.
            if kind == Some(Kind::Folder) && roots.iter().any(|r| r != path && r.starts_with(path)) {
                return Ok(());
            }
            // Both come in the order of their paths.
            while let Some(entry) = next.take_if(|e| e.path.as_path() < path) {
                look.verdict.missing.add(&entry.path);
                next = entries.next().transpose()?;
            }
            match next.take_if(|e| e.path == path) {
                Some(entry) => {
                    look.compare(&entry, kind)?;
                    next = entries.next().transpose()?;
                }
                None => look.verdict.extra.add(path),
            }
            Ok(())
        })?;
        while let Some(entry) = next {
            look.verdict.missing.add(&entry.path);
            next = entries.next().transpose()?;
        }
        Ok(look.verdict)
    }

    /// As [`Backup::verify`], for those who need it to be good.
    pub(super) fn must_be_good(&self, tell: &mut Tell<'_>) -> Result<(), BackupError> {
        if !self.manifest.sealed {
            return Err(BackupError::Unsealed(self.folder.clone()));
        }
        let verdict = self.verify(tell)?;
        if verdict.good() {
            return Ok(());
        }
        let Verdict { missing, changed, extra, .. } = verdict;
        let first = [&missing, &changed, &extra].into_iter().find_map(|p| p.first.first());
        Err(BackupError::Differs {
            backup: self.folder.clone(),
            first: first.cloned().unwrap_or_default(),
            missing: missing.count,
            changed: changed.count,
            extra: extra.count,
        })
    }
}

struct Look<'a, 'b> {
    files: &'a Path,
    verdict: Verdict,
    copier: Copier,
    progress: Progress,
    tell: &'a mut Tell<'b>,
}

impl Look<'_, '_> {
    fn compare(&mut self, entry: &Entry, kind: Option<Kind>) -> Result<(), BackupError> {
        let same = match (&entry.what, kind) {
            (What::Folder, Some(Kind::Folder)) => true,
            (What::Link { target }, Some(Kind::Link(leads))) => *target == leads,
            (What::File { size, sha256 }, Some(Kind::File)) => {
                let path = self.files.join(&entry.path);
                let failed = BackupError::read(&path);
                let file = copy::open(&path).map_err(&failed)?;
                let length = file.metadata().map_err(&failed)?.len();
                let same = length == *size
                    && match sha256 {
                        Some(expected) => {
                            let (progress, tell) = (&mut self.progress, &mut *self.tell);
                            let found = self.copier.digest(&file, &mut |n| progress.add(n, tell));
                            found.map_err(failed)? == (*size, *expected)
                        }
                        None => true,
                    };
                if same {
                    self.verdict.files += 1;
                    self.verdict.bytes = self.verdict.bytes.saturating_add(*size);
                }
                same
            }
            _ => false,
        };
        if !same {
            self.verdict.changed.add(&entry.path);
        }
        Ok(())
    }
}
