//! A complete backup, and the digests that are added to it while the node runs again.
use super::copy::{self, Copier};
use super::entries::{self, EntryReader, EntryWriter, What};
use super::manifest::{self, Manifest};
use super::{BackupError, FILES, Progress, Tell, catalog, owner};
use crate::host::files;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A complete backup on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
}

impl Backup {
    /// Opens the backup in `folder`. Only its manifest is read.
    ///
    /// # Errors
    /// [`BackupError::NotOne`] or [`BackupError::Damaged`].
    pub fn open(folder: &Path) -> Result<Backup, BackupError> {
        Ok(Backup { folder: folder.to_owned(), manifest: manifest::read(folder)? })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its name: the folder's.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Computes the digests that are missing and seals the backup; nothing is done when it is sealed.
    /// A crash leaves it sealed or as it was.
    ///
    /// # Errors
    /// [`BackupError::Busy`], or what cannot be read or written.
    pub fn seal(&mut self, tell: &mut Tell<'_>) -> Result<(), BackupError> {
        let _lock = self.hold(FlockOperation::NonBlockingLockExclusive)?;
        self.manifest = manifest::read(&self.folder)?;
        if !self.manifest.sealed {
            self.add_digests(tell)?;
        }
        let _ = std::fs::remove_file(self.folder.join(entries::UNSEALED));
        Ok(())
    }

    fn add_digests(&mut self, tell: &mut Tell<'_>) -> Result<(), BackupError> {
        let mut progress = Progress { done: 0, total: self.manifest.totals.bytes };
        let mut copier = Copier::default();
        let sealed = self.folder.join(entries::SEALED);
        let growing = files::Temporary::new(files::beside(&sealed));
        let mut list = EntryWriter::create(files::beside(&sealed))?;
        for entry in self.entries()? {
            let mut entry = entry?;
            let path = self.folder.join(FILES).join(&entry.path);
            if let What::File { size, sha256: sha256 @ None } = &mut entry.what {
                let failed = BackupError::read(&path);
                let file = copy::open(&path).map_err(&failed)?;
                let (length, digest) =
                    copier.digest(&file, &mut |n| progress.add(n, tell)).map_err(failed)?;
                if length != *size {
                    let why = format!("{} has {length} bytes, {size} were saved", path.display());
                    return Err(BackupError::Damaged { backup: self.folder.clone(), why });
                }
                *sha256 = Some(digest);
            }
            list.add(&entry)?;
        }
        let digest = list.finish()?;
        let failed = BackupError::write(&sealed);
        std::fs::rename(files::beside(&sealed), &sealed).map_err(&failed)?;
        growing.keep();
        files::sync_folder(&self.folder).map_err(&failed)?;
        let manifest = Manifest { entries: digest, sealed: true, ..self.manifest.clone() };
        let owner = owner::of(&self.folder);
        manifest::write(&self.folder, &manifest)?;
        self.manifest = manifest;
        for path in [sealed.clone(), self.folder.join(manifest::FILE)] {
            owner::give(&path, owner).map_err(&failed)?;
        }
        Ok(())
    }

    /// Its entries, after a check that the list is the one the manifest means.
    ///
    /// # Errors
    /// When the list cannot be read or is another.
    pub(super) fn entries(&self) -> Result<EntryReader, BackupError> {
        let name = if self.manifest.sealed { entries::SEALED } else { entries::UNSEALED };
        let path = self.folder.join(name);
        let digest = files::digest_of(&path).map_err(BackupError::read(&path))?;
        if digest != self.manifest.entries {
            let why = format!("{name} has digest {digest}, the manifest says {}", self.manifest.entries);
            return Err(BackupError::Damaged { backup: self.folder.clone(), why });
        }
        EntryReader::open(&self.folder, name, &self.manifest.roots)
    }

    /// Keeps others from changing or removing it.
    pub(super) fn hold(&self, how: FlockOperation) -> Result<File, BackupError> {
        let file = File::open(&self.folder).map_err(BackupError::read(&self.folder))?;
        match flock(&file, how) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(BackupError::Busy(self.folder.clone())),
            Err(e) => Err(BackupError::read(&self.folder)(e.into())),
        }
    }
}

/// Seals every backup in `dir` that is not; for the start of an agent, after one that died. Gives what was
/// sealed, and what could not be.
pub fn seal_all(dir: &Path, tell: &mut Tell<'_>) -> Vec<(PathBuf, Result<(), BackupError>)> {
    let backups = catalog::own(dir).into_iter().flatten().filter_map(|folder| Backup::open(&folder).ok());
    let unsealed = backups.filter(|b| !b.manifest.sealed);
    unsealed.map(|mut b| (b.folder.clone(), b.seal(tell))).collect()
}
