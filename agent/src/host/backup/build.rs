//! Building the tree that is to come in place of another.
use super::copy::{self, Copier, CopyError};
use super::entries::{Entry, What};
use super::manifest::encode;
use super::owner::{self, Owner};
use super::plan::below;
use super::target::Target;
use super::walk::is_ours;
use super::{BackupError, Progress, Tell};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bits of a file's mode that are restored: none that lends its owner's rights.
const FILE_BITS: u32 = 0o777;
/// Bits of a folder's mode that are restored; there setgid hands on the group and sticky guards names.
const FOLDER_BITS: u32 = 0o3777;

/// Where the bytes of a file come from.
pub enum Content<'a> {
    /// It has none.
    None,
    /// A file.
    File(&'a Path),
    /// A stream of so many bytes.
    Stream {
        /// The bytes.
        source: &'a mut dyn Read,
        /// How many.
        size: u64,
    },
}

/// An entry and its bytes.
pub struct Item<'a> {
    /// The entry.
    pub entry: Entry,
    /// Its bytes.
    pub content: Content<'a>,
}

/// Builds the new trees.
pub struct Builder<'a, 'b> {
    /// The places, whose trees grow.
    pub targets: &'a [Target],
    owners: Vec<Owner>,
    /// Folders in the order they were made. Their modes and times are set at the end, because making what is
    /// in them changes both.
    folders: Vec<(PathBuf, u32, Option<i64>)>,
    checked: PathBuf,
    copier: Copier,
    progress: Progress,
    tell: &'a mut Tell<'b>,
}

/// The target an entry belongs to, and its path from there.
///
/// # Errors
/// [`BackupError::Escapes`] when it belongs to none, or to what no restore touches.
pub fn belongs<'t>(targets: &'t [Target], path: &Path) -> Result<(usize, &'t Target, PathBuf), BackupError> {
    let escapes = |why| BackupError::Escapes { path: encode(path), why };
    for (n, target) in targets.iter().enumerate() {
        let Ok(rest) = path.strip_prefix(&target.saved) else { continue };
        let full = below(&target.path, rest);
        let ours = rest.iter().next().is_some_and(is_ours);
        if ours || target.rules.barred.iter().any(|b| full.starts_with(b)) {
            return Err(escapes("backups and the supervisor's own files are not restored"));
        }
        return Ok((n, target, rest.to_owned()));
    }
    Err(escapes("it is in nothing that is restored"))
}

impl<'a, 'b> Builder<'a, 'b> {
    /// Begins with nothing; the places where trees grow are there.
    pub fn new(targets: &'a [Target], total: u64, tell: &'a mut Tell<'b>) -> Builder<'a, 'b> {
        Builder {
            owners: targets.iter().map(|t| owner::of(&t.path)).collect(),
            targets,
            folders: Vec::new(),
            checked: PathBuf::new(),
            copier: Copier::default(),
            progress: Progress { done: 0, total },
            tell,
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// What cannot be read or written, or leads elsewhere.
    pub fn add(&mut self, item: Item<'_>) -> Result<(), BackupError> {
        let (n, target, rest) = belongs(self.targets, &item.entry.path)?;
        let owner = self.owners[n];
        let path = below(&target.built, &rest);
        if rest.as_os_str().is_empty() {
            if let What::Link { .. } = item.entry.what {
                let why = "what is restored as a whole is itself a link";
                return Err(BackupError::Escapes { path: encode(&item.entry.path), why });
            }
            if target.by_child && item.entry.what != What::Folder {
                let why =
                    "it is a folder that cannot be replaced as a whole, and a file in the backup".to_owned();
                return Err(BackupError::Target { path: target.path.clone(), why });
            }
        } else {
            let built = target.built.clone();
            self.parents(&built, &path, owner)?;
        }
        self.put(&path, item, owner)
    }

    /// Makes sure that the folders above `path` are folders that were made here, and makes those that no
    /// entry named: nothing is ever written through a link.
    fn parents(&mut self, top: &Path, path: &Path, owner: Owner) -> Result<(), BackupError> {
        let parent = path.parent().unwrap_or(top);
        if self.checked == parent {
            return Ok(());
        }
        let rest = parent.strip_prefix(top).unwrap_or(Path::new(""));
        let mut at = top.to_owned();
        for name in std::iter::once(None).chain(rest.iter().map(Some)) {
            at.extend(name);
            match at.symlink_metadata() {
                Ok(m) if m.is_dir() => {}
                Ok(_) => {
                    let why = "what should be its folder is a file or a link";
                    return Err(BackupError::Escapes { path: encode(path), why });
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    self.folder(&at, 0o755, None, owner)?;
                }
                Err(e) => return Err(BackupError::read(&at)(e)),
            }
        }
        self.checked = parent.to_owned();
        Ok(())
    }

    fn folder(
        &mut self,
        path: &Path,
        mode: u32,
        mtime_ns: Option<i64>,
        owner: Owner,
    ) -> Result<(), BackupError> {
        let failed = BackupError::write(path);
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if !path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                    return Err(failed(e));
                }
            }
            Err(e) => return Err(failed(e)),
        }
        owner::give(path, owner).map_err(failed)?;
        self.folders.push((path.to_owned(), mode, mtime_ns));
        Ok(())
    }

    fn put(&mut self, path: &Path, item: Item<'_>, owner: Owner) -> Result<(), BackupError> {
        let Item { entry, content } = item;
        let failed = BackupError::write(path);
        match entry.what {
            What::Folder => return self.folder(path, entry.mode, Some(entry.mtime_ns), owner),
            What::Link { target } => {
                std::os::unix::fs::symlink(target, path).map_err(&failed)?;
                owner::give(path, owner).map_err(&failed)?;
            }
            What::File { size, sha256 } => {
                let target = copy::create(path).map_err(&failed)?;
                let found = match content {
                    Content::File(from) => self.bytes(from, &target, path)?,
                    Content::Stream { source, size } => (self.stream(source, &target, path, size)?, None),
                    Content::None => (0, None),
                };
                if found.0 != size || found.1.is_some() && sha256.is_some() && found.1 != sha256 {
                    let why = format!("{} changed while it was restored", encode(&entry.path));
                    return Err(BackupError::Damaged { backup: path.to_owned(), why });
                }
                // The owner first: giving a file away takes bits from its mode.
                owner::give(path, owner).map_err(&failed)?;
                target.set_permissions(Permissions::from_mode(entry.mode & FILE_BITS)).map_err(&failed)?;
            }
        }
        set_mtime(path, entry.mtime_ns).map_err(failed)
    }

    fn bytes(
        &mut self,
        from: &Path,
        target: &File,
        path: &Path,
    ) -> Result<(u64, Option<common::release::Digest>), BackupError> {
        let source = copy::open(from).map_err(BackupError::read(from))?;
        if copy::clone(&source, target).map_err(BackupError::write(path))? {
            let size = target.metadata().map_err(BackupError::read(path))?.len();
            self.progress.add(size, self.tell);
            return Ok((size, None));
        }
        let (progress, tell) = (&mut self.progress, &mut *self.tell);
        let copied = self.copier.copy(&source, target, &mut |n| progress.add(n, tell));
        let (size, digest) = copied.map_err(|e| match e {
            CopyError::Source(e) => BackupError::read(from)(e),
            CopyError::Target(e) => BackupError::write(path)(e),
        })?;
        Ok((size, Some(digest)))
    }

    fn stream(
        &mut self,
        source: &mut dyn Read,
        mut target: &File,
        path: &Path,
        size: u64,
    ) -> Result<u64, BackupError> {
        let (mut done, mut buffer) = (0, vec![0; 64 * 1024]);
        while done < size {
            let got = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) => return Err(BackupError::Damaged { backup: path.to_owned(), why: e.to_string() }),
            };
            target.write_all(&buffer[..got]).map_err(BackupError::write(path))?;
            done += got as u64;
            self.progress.add(got as u64, self.tell);
        }
        Ok(done)
    }

    /// Carries something over from the old tree, with its owner. What is there gives way when `replace` says
    /// so; otherwise it stays, and `false` is given.
    ///
    /// # Errors
    /// When it cannot be copied, or the new tree has no place for it.
    pub fn carry(
        &mut self,
        target: &Target,
        rest: &Path,
        item: Item<'_>,
        replace: bool,
    ) -> Result<bool, BackupError> {
        let old = below(&target.path, rest);
        let metadata = old.symlink_metadata().map_err(BackupError::read(&old))?;
        let owner = owner::of(&old);
        let path = below(&target.built, rest);
        if path.symlink_metadata().is_ok() {
            if !replace || metadata.is_dir() {
                return Ok(false);
            }
            std::fs::remove_file(&path).map_err(BackupError::write(&path))?;
        }
        self.parents(&target.built, &path, owner)?;
        self.put(&path, item, owner)?;
        Ok(true)
    }

    /// Sets the modes and times of all folders, and makes everything durable.
    ///
    /// # Errors
    /// What cannot be set or flushed.
    pub fn finish(self) -> Result<(), BackupError> {
        for (path, mode, mtime_ns) in self.folders.iter().rev() {
            let failed = BackupError::write(path);
            std::fs::set_permissions(path, Permissions::from_mode(mode & FOLDER_BITS)).map_err(&failed)?;
            if let Some(mtime_ns) = mtime_ns {
                set_mtime(path, *mtime_ns).map_err(failed)?;
            }
        }
        for target in self.targets {
            let folder = target.grows_in();
            let flushed = File::open(folder).and_then(|f| Ok(rustix::fs::syncfs(f)?));
            flushed.map_err(BackupError::write(folder))?;
        }
        Ok(())
    }
}

fn set_mtime(path: &Path, mtime_ns: i64) -> std::io::Result<()> {
    let last_modification =
        Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    let last_access = last_modification;
    let times = Timestamps { last_access, last_modification };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
