//! Putting a backup in place of what is there.
use super::build::{Builder, Content, Item, belongs};
use super::entries::{Entry, What};
use super::journal::{Journal, Phase, Tree, repair};
use super::keys::is_signing_state;
use super::manifest::{Root, encode};
use super::partial::stamp;
use super::pattern::Pattern;
use super::plan::{below, check_space, reflink_possible};
use super::snapshot::mtime_ns;
use super::target::{Target, targets};
use super::walk::{self, Kind, LeftOut, Rules, Visit};
use super::{Backup, BackupError, FILES, Tell, archive, catalog};
use crate::config::Settings;
use crate::home::Home;
use crate::host::lock::{self, HomeLock, LockError};
use common::time::UnixMs;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Left free on top of what is restored, in bytes.
const RESERVE: u64 = 16 << 20;
/// What an entry takes besides its content, in bytes.
const ENTRY_BYTES: u64 = 4096;

/// What is restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A backup of ours.
    Own(Box<Backup>),
    /// A folder that cosmovisor copied the data folder to.
    Folder(PathBuf),
    /// An archive of the data folder that wemixvisor v0.x made.
    Archive(PathBuf),
}

/// How to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Now.
    pub at: UnixMs,
    /// Whether what was there before is kept.
    pub keep_old: bool,
    /// Whether a foreign backup is accepted, which has no digests.
    pub force: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name of the backup.
    pub backup: String,
    /// What was replaced.
    pub places: Vec<PathBuf>,
    /// Files restored.
    pub files: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Keys and signing state that were carried over from what was there before.
    pub carried: Vec<PathBuf>,
    /// Trees of before that are still there: because that was asked for, because they hold what the
    /// backup's patterns left out, or because they could not be removed.
    pub kept: Vec<PathBuf>,
    /// Whether what was there before held something that the backup's patterns leave out.
    pub excluded: bool,
}

/// A restore whose new trees are complete, beside the old ones.
#[derive(Debug)]
pub struct Prepared {
    home: Home,
    /// The note, which is on disk.
    pub journal: Journal,
    restored: Restored,
    _lock: HomeLock,
    _hold: Option<File>,
}

impl Source {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Source::Own(backup) => backup.folder(),
            Source::Folder(path) | Source::Archive(path) => path,
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What it restores.
    pub fn roots(&self) -> Vec<Root> {
        match self {
            Source::Own(backup) => backup.manifest().roots.clone(),
            Source::Folder(_) | Source::Archive(_) => vec![catalog::foreign_root()],
        }
    }

    /// Gives every entry with its bytes.
    fn each(&self, give: &mut dyn FnMut(Item<'_>) -> Result<(), BackupError>) -> Result<(), BackupError> {
        match self {
            Source::Own(backup) => {
                for entry in backup.entries()? {
                    let entry = entry?;
                    let path = backup.folder().join(FILES).join(&entry.path);
                    let content =
                        if let What::File { .. } = entry.what { Content::File(&path) } else { Content::None };
                    give(Item { entry, content })?;
                }
                Ok(())
            }
            Source::Folder(path) => {
                let saved = catalog::foreign_root().saved();
                let rules = Rules { keys: true, ..Rules::default() };
                walk::walk(path, &rules, &mut |visit| match visit {
                    Visit::Found { path: rest, kind, metadata } => {
                        found(&below(path, rest), below(&saved, rest), kind, &metadata, give)
                    }
                    Visit::Passed { .. } => Ok(()),
                })
            }
            Source::Archive(path) => archive::each(path, give),
        }
    }
}

fn found(
    path: &Path,
    saved: PathBuf,
    kind: Kind,
    metadata: &std::fs::Metadata,
    give: &mut dyn FnMut(Item<'_>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let (what, content) = match kind {
        Kind::Folder => (What::Folder, Content::None),
        Kind::Link(target) => (What::Link { target }, Content::None),
        Kind::File => (What::File { size: metadata.len(), sha256: None }, Content::File(path)),
    };
    let entry = Entry { path: saved, mode: metadata.mode() & 0o7777, mtime_ns: mtime_ns(metadata), what };
    give(Item { entry, content })
}

/// Restores a backup: exactly, and old or new at every moment.
///
/// # Errors
/// Why it is refused or failed; what was there before is then in place, unless the error is
/// [`BackupError::Rename`], after which [`repair`] goes on.
pub fn restore(
    home: &Home,
    settings: &Settings,
    source: &Source,
    options: Options,
    tell: &mut Tell<'_>,
) -> Result<Restored, BackupError> {
    prepare(home, settings, source, options, tell)?.finish()
}

/// The first half of a restore: checks everything, and builds the new trees beside the old ones.
///
/// # Errors
/// Why it is refused or failed; nothing is then left of it.
pub fn prepare(
    home: &Home,
    settings: &Settings,
    source: &Source,
    options: Options,
    tell: &mut Tell<'_>,
) -> Result<Prepared, BackupError> {
    let lock = lock::take(&home.lock())?;
    if lock::node_is_there(&home.node_lock())? {
        return Err(LockError::Node(home.node_lock()).into());
    }
    repair(home)?;
    let hold = match source {
        Source::Own(backup) => {
            let hold = backup.hold(FlockOperation::NonBlockingLockShared)?;
            backup.must_be_good(tell)?;
            Some(hold)
        }
        Source::Folder(path) | Source::Archive(path) if !options.force => {
            return Err(BackupError::Foreign(path.clone()));
        }
        Source::Folder(_) | Source::Archive(_) => None,
    };
    let targets = targets(home, settings, &source.roots(), source.path(), &stamp(options.at))?;
    let (files, bytes) = survey(source, &targets)?;
    let trees = targets.iter().map(|t| Tree { built: t.built.clone(), aside: t.aside.clone() }).collect();
    let (backup, phase) = (source.name(), Phase::Building);
    let mut journal =
        Journal { backup: backup.clone(), phase, keep_old: options.keep_old, steps: Vec::new(), trees };
    journal.write(home)?;
    let built = build(source, &targets, bytes, tell).and_then(|built| {
        journal.phase = Phase::Swapping;
        journal.keep_old |= built.excluded;
        for target in &targets {
            journal.steps.extend(target.steps()?);
        }
        journal.write(home)?;
        Ok(built)
    });
    let built = match built {
        Ok(built) => built,
        Err(e) => {
            journal.abandon(home);
            return Err(e);
        }
    };
    let restored = Restored {
        backup,
        places: targets.iter().map(|t| t.path.clone()).collect(),
        files,
        bytes,
        carried: built.carried,
        kept: Vec::new(),
        excluded: built.excluded,
    };
    Ok(Prepared { home: home.clone(), journal, restored, _lock: lock, _hold: hold })
}

impl Prepared {
    /// The second half: puts the new trees in place and removes the old ones.
    ///
    /// # Errors
    /// [`BackupError::Rename`]; [`repair`] then goes on from there.
    pub fn finish(mut self) -> Result<Restored, BackupError> {
        let kept = self.journal.end(&self.home)?;
        Ok(Restored { kept, ..self.restored })
    }
}

/// Looks at every entry before anything is written: does it belong, and is there room? Gives the number of
/// files and their length.
fn survey(source: &Source, targets: &[Target]) -> Result<(u64, u64), BackupError> {
    let (mut files, mut bytes) = (0, 0_u64);
    let mut needs = vec![0_u64; targets.len()];
    let mut sample: Option<PathBuf> = None;
    source.each(&mut |item| {
        let (n, _, _) = belongs(targets, &item.entry.path)?;
        let mut need = ENTRY_BYTES;
        if let What::File { size, .. } = item.entry.what {
            files += 1;
            bytes = bytes.saturating_add(size);
            let on_disk = match item.content {
                Content::File(path) => path.symlink_metadata().map_or(size, |m| size.min(m.blocks() * 512)),
                Content::None | Content::Stream { .. } => size,
            };
            need = need.saturating_add(on_disk);
            if let (Content::File(path), true) = (&item.content, size > 0) {
                sample.get_or_insert_with(|| path.to_path_buf());
            }
        }
        needs[n] = needs[n].saturating_add(need);
        Ok(())
    })?;
    let mut by_disk: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    for (target, need) in targets.iter().zip(needs) {
        let folder = target.grows_in();
        let disk = std::fs::metadata(folder).map_err(BackupError::read(folder))?.dev();
        let shared = sample.as_ref().is_some_and(|s| reflink_possible(folder, s));
        let entry = by_disk.entry(disk).or_insert((folder, RESERVE));
        entry.1 = entry.1.saturating_add(if shared { 0 } else { need });
    }
    by_disk.into_values().try_for_each(|(folder, need)| check_space(folder, need))?;
    Ok((files, bytes))
}

struct Built {
    carried: Vec<PathBuf>,
    excluded: bool,
}

fn build(source: &Source, targets: &[Target], bytes: u64, tell: &mut Tell<'_>) -> Result<Built, BackupError> {
    let mut builder = Builder::new(targets, bytes, tell);
    source.each(&mut |item| builder.add(item))?;
    if let Some(target) = targets.iter().find(|t| t.built.symlink_metadata().is_err()) {
        let why = format!("it names {} and holds nothing of it", encode(&target.saved));
        return Err(BackupError::Damaged { backup: source.path().to_owned(), why });
    }
    let exclude: Vec<Pattern> = match source {
        Source::Own(backup) => {
            backup.manifest().exclude.iter().filter_map(|p| Pattern::parse(p).ok()).collect()
        }
        Source::Folder(_) | Source::Archive(_) => Vec::new(),
    };
    let mut built = Built { carried: Vec::new(), excluded: false };
    for target in targets.iter().filter(|t| t.path.symlink_metadata().is_ok()) {
        carry(target, &exclude, &mut builder, &mut built)?;
    }
    builder.finish()?;
    Ok(built)
}

/// Carries keys over that the backup does not have, and the signing state in any case.
fn carry(
    target: &Target,
    exclude: &[Pattern],
    builder: &mut Builder<'_, '_>,
    built: &mut Built,
) -> Result<(), BackupError> {
    let mut keys = Vec::new();
    let rules = Rules { keys: false, ..target.rules.clone() };
    walk::walk(&target.path, &rules, &mut |visit| {
        match visit {
            Visit::Passed { path, why: LeftOut::Key } => keys.push((path.to_owned(), false)),
            Visit::Found { path, kind, .. } => {
                built.excluded |= exclude.iter().any(|p| p.matches(path));
                if kind == Kind::File && path.file_name().is_some_and(is_signing_state) {
                    keys.push((path.to_owned(), true));
                }
            }
            Visit::Passed { .. } => {}
        }
        Ok(())
    })?;
    for (key, replace) in keys {
        let from = target.path.join(&key);
        walk::walk(&from, &Rules { keys: true, ..Rules::default() }, &mut |visit| {
            let Visit::Found { path, kind, metadata } = visit else { return Ok(()) };
            let rest = below(&key, path);
            let folder = kind == Kind::Folder;
            found(&below(&from, path), PathBuf::new(), kind, &metadata, &mut |item| {
                if builder.carry(target, &rest, item, replace)? && !folder {
                    built.carried.push(rest.clone());
                }
                Ok(())
            })
        })?;
    }
    tracing::debug!(place = %encode(&target.path), carried = built.carried.len(), "keys carried over");
    Ok(())
}
