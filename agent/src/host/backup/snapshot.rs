//! Making a backup: the part for which the node is down.
use super::copy::{self, Copier, CopyError};
use super::entries::{self, Entry, EntryWriter, What};
use super::manifest::{self, Manifest, SCHEMA, Totals};
use super::owner::{self, Owner};
use super::partial::{Partial, clear_dead};
use super::plan::{Place, Plan, below, count};
use super::walk::{self, Kind, LeftOut, Visit};
use super::{Backup, BackupError, FILES, Progress, Tell};
use crate::host::files;
use common::release::InstalledRelease;
use common::time::UnixMs;
use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Longest label.
const MAX_LABEL: usize = 80;

/// What a backup says besides its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Now.
    pub made_at: UnixMs,
    /// The release that ran before.
    pub release: Option<InstalledRelease>,
    /// The node's last known head.
    pub height: Option<u64>,
    /// Whether the node runs meanwhile: files that change or go away are then no error.
    pub live: bool,
}

/// Makes a backup. Where blocks are shared, digests are left for [`Backup::seal`], so that the node does
/// not wait for them; copies have theirs at once. What runs that died have left is removed first.
///
/// # Errors
/// What failed; nothing of the backup is then left.
pub fn snapshot(plan: &Plan, label: &str, meta: &Meta, tell: &mut Tell<'_>) -> Result<Backup, BackupError> {
    check_label(label)?;
    clear_dead(&plan.dir);
    let owner = owner::of(&plan.dir);
    let partial = Partial::make(&plan.dir, label, meta.made_at, owner)?;
    let folder = partial.folder().to_owned();
    let mut saver = Saver {
        plan,
        live: meta.live,
        files: folder.join(FILES),
        list: EntryWriter::create(folder.join(entries::UNSEALED))?,
        copier: Copier::default(),
        totals: Totals::default(),
        sealed: true,
        owner,
        progress: Progress { done: 0, total: plan.totals.bytes },
        tell,
    };
    for place in &plan.places {
        saver.prepare(place)?;
        walk::walk(&place.path, &plan.rules, &mut |visit| saver.save(place, visit))?;
    }
    let (totals, sealed) = (saver.totals, saver.sealed);
    let digest = saver.list.finish()?;
    let unsealed = folder.join(entries::UNSEALED);
    if sealed {
        std::fs::rename(&unsealed, folder.join(entries::SEALED)).map_err(BackupError::write(&unsealed))?;
    }
    let manifest = Manifest {
        schema: SCHEMA,
        label: label.to_owned(),
        made_at: meta.made_at,
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        release: meta.release.clone(),
        height: meta.height,
        live: meta.live,
        sealed,
        keys: plan.rules.keys,
        roots: plan.places.iter().map(|p| p.root.clone()).collect(),
        exclude: plan.exclude.clone(),
        totals,
        entries: digest,
    };
    manifest::write(&folder, &manifest)?;
    for name in [manifest::FILE, if sealed { entries::SEALED } else { entries::UNSEALED }] {
        owner::give(&folder.join(name), owner).map_err(BackupError::write(&folder))?;
    }
    files::sync_folder(&folder).map_err(BackupError::write(&folder))?;
    Ok(Backup { folder: partial.finish()?, manifest })
}

/// Whether a label can be part of a folder's name.
///
/// # Errors
/// [`BackupError::Label`] when it cannot.
pub fn check_label(label: &str) -> Result<(), BackupError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let first = label.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && label.len() <= MAX_LABEL && label.bytes().all(plain) {
        Ok(())
    } else {
        Err(BackupError::Label(label.to_owned()))
    }
}

struct Saver<'a, 'b> {
    plan: &'a Plan,
    live: bool,
    files: PathBuf,
    list: EntryWriter,
    copier: Copier,
    totals: Totals,
    sealed: bool,
    owner: Owner,
    progress: Progress,
    tell: &'a mut Tell<'b>,
}

impl Saver<'_, '_> {
    /// Makes the folders above a root.
    fn prepare(&self, place: &Place) -> Result<(), BackupError> {
        let above = self.files.join(place.root.saved());
        let above = above.parent().unwrap_or(&self.files);
        DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(BackupError::write(above))?;
        let mut path = above;
        while let Some(parent) = path.parent().filter(|p| p.starts_with(&self.files)) {
            owner::give(path, self.owner).map_err(BackupError::write(path))?;
            path = parent;
        }
        owner::give(path, self.owner).map_err(BackupError::write(path))
    }

    fn save(&mut self, place: &Place, visit: Visit<'_>) -> Result<(), BackupError> {
        let (path, kind, metadata) = match visit {
            Visit::Passed { path, why: LeftOut::Vanished } if !self.live => {
                return Err(BackupError::Moving(below(&place.path, path)));
            }
            Visit::Found { path, kind, metadata } => (path, kind, metadata),
            passed @ Visit::Passed { .. } => {
                count(&mut self.totals, &passed);
                return Ok(());
            }
        };
        let saved = below(&place.root.saved(), path);
        let target = self.files.join(&saved);
        let failed = BackupError::write(&target);
        let mut entry = Entry { path: saved, mode: 0, mtime_ns: 0, what: What::Folder };
        let metadata = match kind {
            Kind::Folder => {
                DirBuilder::new().mode(0o700).create(&target).map_err(&failed)?;
                self.totals.folders += 1;
                metadata
            }
            Kind::Link(leads) => {
                std::os::unix::fs::symlink(&leads, &target).map_err(&failed)?;
                entry.what = What::Link { target: leads };
                self.totals.links += 1;
                metadata
            }
            Kind::File => match self.file(&below(&place.path, path), &target)? {
                Some((metadata, what)) => {
                    entry.what = what;
                    metadata
                }
                None => return Ok(()),
            },
        };
        owner::give(&target, self.owner).map_err(failed)?;
        entry.mode = metadata.mode() & 0o7777;
        entry.mtime_ns = mtime_ns(&metadata);
        self.list.add(&entry)
    }

    /// Saves one file; `None` when it went away.
    fn file(&mut self, from: &Path, to: &Path) -> Result<Option<(Metadata, What)>, BackupError> {
        let source = match copy::open(from) {
            Ok(source) => source,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.live => {
                self.totals.vanished += 1;
                return Ok(None);
            }
            Err(e) => return Err(BackupError::read(from)(e)),
        };
        let before = source.metadata().map_err(BackupError::read(from))?;
        let target = copy::create(to).map_err(BackupError::write(to))?;
        let shared = self.plan.reflink && copy::clone(&source, &target).map_err(BackupError::write(to))?;
        let (size, sha256) = if shared {
            let size = target.metadata().map_err(BackupError::read(to))?.len();
            self.progress.add(size, self.tell);
            self.totals.shared += 1;
            self.sealed = false;
            (size, None)
        } else {
            let (progress, tell) = (&mut self.progress, &mut *self.tell);
            let copied = self.copier.copy(&source, &target, &mut |n| progress.add(n, tell));
            let (size, digest) = copied.map_err(|e| match e {
                CopyError::Source(e) => BackupError::read(from)(e),
                CopyError::Target(e) => BackupError::write(to)(e),
            })?;
            (size, Some(digest))
        };
        let after = source.metadata().map_err(BackupError::read(from))?;
        if !self.live && (after.len(), mtime_ns(&after)) != (before.len(), mtime_ns(&before)) {
            return Err(BackupError::Moving(from.to_owned()));
        }
        self.totals.files += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(size);
        self.totals.allocated = self.totals.allocated.saturating_add(size.min(before.blocks() * 512));
        Ok(Some((before, What::File { size, sha256 })))
    }
}

pub(super) fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_plain() {
        for good in ["manual", "pre-upgrade-v1.2.3_x", "0"] {
            assert!(check_label(good).is_ok(), "{good}");
        }
        let long = "a".repeat(81);
        for bad in ["", "-a", ".", "..", "a/b", "a b", "é", "a\n", &long] {
            assert!(check_label(bad).is_err(), "{bad:?}");
        }
    }
}
