//! What a backup will hold, and whether it can be made; everything that is known before the node is stopped.
use super::manifest::{Base, Root, Totals, check_relative};
use super::pattern::Pattern;
use super::target::barred;
use super::walk::{self, Kind, LeftOut, Rules, Visit};
use super::{BackupError, copy, owner};
use crate::config::Settings;
use crate::home::Home;
use crate::host::{disk, files};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Left free beside a full copy, in bytes: a node needs room to start in.
const RESERVE: u64 = 64 << 20;
/// Left free beside shared blocks, in bytes.
const REFLINK_RESERVE: u64 = 16 << 20;
/// What a file, folder or link takes besides its content, in bytes: an inode, a name, and a line in the list.
const ENTRY_BYTES: u64 = 4096 + 512;

/// A root and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// As the manifest names it.
    pub root: Root,
    /// Its path, links resolved.
    pub path: PathBuf,
}

/// What a backup will hold.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder of the backups.
    pub dir: PathBuf,
    /// What is saved, in the order of the list.
    pub places: Vec<Place>,
    /// Patterns as the settings have them.
    pub exclude: Vec<String>,
    /// How much there is now.
    pub totals: Totals,
    /// Whether the file system can share blocks.
    pub reflink: bool,
    pub(super) rules: Rules,
}

impl Plan {
    /// Bytes a backup takes, with a reserve.
    pub fn need(&self) -> u64 {
        let entries = self.totals.entries().saturating_mul(ENTRY_BYTES);
        let (content, reserve) =
            if self.reflink { (0, REFLINK_RESERVE) } else { (self.totals.allocated, RESERVE) };
        content.saturating_add(entries).saturating_add(reserve)
    }

    /// Checks that there is room. For the time before the node is stopped.
    ///
    /// # Errors
    /// [`BackupError::NoSpace`] with both numbers.
    pub fn check_space(&self) -> Result<(), BackupError> {
        check_space(&self.dir, self.need())
    }
}

/// Checks that `need` bytes are free where `dir` is. A system that does not say how much is free is believed
/// to have enough; a disk that fills up is noticed anyway.
pub(super) fn check_space(dir: &Path, need: u64) -> Result<(), BackupError> {
    match disk::free_bytes(dir) {
        Some(free) if free < need => Err(BackupError::NoSpace { dir: dir.to_owned(), need, free }),
        _ => Ok(()),
    }
}

/// Plans a backup: what there is to save, how much it is, and whether blocks can be shared. Makes the
/// folder of the backups when it is not there, to know that it can.
///
/// # Errors
/// Settings that cannot be followed, and folders that cannot be read or written.
pub fn plan(home: &Home, settings: &Settings) -> Result<Plan, BackupError> {
    let exclude = settings.backup.exclude.iter().map(|p| Pattern::parse(p)).collect::<Result<Vec<_>, _>>()?;
    let places = places(home, settings)?;
    let dir = &settings.backup.dir;
    let dir = to_be(dir).map_err(|cause| BackupError::Dir { dir: dir.to_owned(), cause })?;
    // A whole home holds its backups, and they are passed over; anything else would copy them into each other.
    let base = canonical(&home.base);
    if let Some(place) = places.iter().find(|p| p.path != base && dir.starts_with(&p.path)) {
        return Err(BackupError::DirInside { dir, root: place.path.clone() });
    }
    let barred = barred(home, &dir);
    if let Some(place) = places.iter().find(|p| barred.iter().any(|b| p.path.starts_with(b))) {
        let why = "it holds backups, or the supervisor's own files".to_owned();
        return Err(BackupError::Include { what: place.root.to_string(), why });
    }
    usable(&dir)?;
    let rules = Rules { exclude, keys: settings.backup.keys, barred };
    let (mut totals, mut first) = (Totals::default(), None);
    for place in &places {
        walk::walk(&place.path, &rules, &mut |visit| {
            count(&mut totals, &visit);
            if let Visit::Found { path, kind: Kind::File, metadata } = &visit
                && first.is_none()
                && metadata.len() > 0
            {
                first = Some(below(&place.path, path));
            }
            Ok(())
        })?;
    }
    let reflink = first.is_some_and(|file| reflink_possible(&dir, &file));
    Ok(Plan { dir, places, exclude: settings.backup.exclude.clone(), totals, reflink, rules })
}

/// `path` below `root`; an empty one is the root itself.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    // Joining an empty path would add a slash, which makes a file a folder.
    if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) }
}

pub(super) fn count(totals: &mut Totals, visit: &Visit<'_>) {
    match visit {
        Visit::Found { kind: Kind::Folder, .. } => totals.folders += 1,
        Visit::Found { kind: Kind::Link(_), .. } => totals.links += 1,
        Visit::Found { kind: Kind::File, metadata, .. } => {
            totals.files += 1;
            totals.bytes = totals.bytes.saturating_add(metadata.len());
            totals.allocated = totals.allocated.saturating_add(metadata.len().min(metadata.blocks() * 512));
        }
        Visit::Passed { why: LeftOut::Excluded, .. } => totals.excluded += 1,
        Visit::Passed { why: LeftOut::Key, .. } => totals.keys_left_out += 1,
        Visit::Passed { why: LeftOut::Special, .. } => totals.special += 1,
        Visit::Passed { why: LeftOut::Vanished, .. } => totals.vanished += 1,
    }
}

/// A path with its links resolved; as it is where that cannot be.
pub(super) fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// What the settings say is saved: in order, none within another.
pub(super) fn places(home: &Home, settings: &Settings) -> Result<Vec<Place>, BackupError> {
    let include = &settings.backup.include;
    let data = settings.node.data_dir.to_string_lossy().into_owned();
    let wanted = if include.is_empty() { std::slice::from_ref(&data) } else { include.as_slice() };
    let mut found =
        wanted.iter().map(|what| place(home, settings, what)).collect::<Result<Vec<Place>, _>>()?;
    found.sort();
    let mut kept: Vec<Place> = Vec::new();
    for place in found {
        if !kept.iter().any(|k| place.path.starts_with(&k.path)) {
            kept.push(place);
        }
    }
    // The order of the names need not be the order of what their links lead to.
    let all = kept.clone();
    kept.retain(|p| !all.iter().any(|k| p.path != k.path && p.path.starts_with(&k.path)));
    Ok(kept)
}

fn place(home: &Home, settings: &Settings, what: &str) -> Result<Place, BackupError> {
    let refuse = |why: String| BackupError::Include { what: what.to_owned(), why };
    let given = Path::new(what);
    let full = if given.is_absolute() { given.to_owned() } else { home.base.join(given) };
    let plain: PathBuf = full.components().collect();
    let root = if let Ok(rest) = plain.strip_prefix(&home.base) {
        Root { base: Base::Home, path: rest.to_owned() }
    } else if let Ok(rest) = plain.strip_prefix(&settings.node.data_dir) {
        Root { base: Base::Data, path: rest.to_owned() }
    } else {
        return Err(refuse("it is neither in the home nor in the node's data folder".to_owned()));
    };
    if !root.path.as_os_str().is_empty() {
        check_relative(&root.path).map_err(|why| refuse(why.to_owned()))?;
    }
    let path = std::fs::canonicalize(&plain).map_err(|e| refuse(e.to_string()))?;
    let metadata = std::fs::metadata(&path).map_err(|e| refuse(e.to_string()))?;
    if !metadata.is_dir() && !metadata.is_file() {
        return Err(refuse("it is neither a folder nor a file".to_owned()));
    }
    let (base, own) = (canonical(&home.base), canonical(home.root()));
    if path.starts_with(&own) {
        return Err(refuse("the supervisor's own folder is in no backup".to_owned()));
    }
    if path != base && own.starts_with(&path) {
        return Err(refuse("the home is inside it: name what of it is to be saved".to_owned()));
    }
    Ok(Place { root, path })
}

/// A folder's path with its links resolved, also when it is not there yet.
fn to_be(dir: &Path) -> std::io::Result<PathBuf> {
    let there = dir.ancestors().find(|p| p.symlink_metadata().is_ok()).unwrap_or(dir);
    let rest = dir.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(below(&std::fs::canonicalize(there)?, rest))
}

/// Makes the folder of the backups if need be, and finds out now, not when the node is down, whether it can
/// be written.
fn usable(dir: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::Dir { dir: dir.to_owned(), cause };
    let there = dir.is_dir();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    if !there {
        let parent = dir.parent().unwrap_or(dir);
        owner::give(dir, owner::of(parent)).map_err(failed)?;
    }
    probe(dir).map(drop).map_err(failed)
}

fn probe(dir: &Path) -> std::io::Result<(File, files::Temporary)> {
    let path = dir.join(format!(".{}probe-{}{}", walk::PREFIX, std::process::id(), walk::PARTIAL));
    let _ = std::fs::remove_file(&path);
    let file = copy::create(&path)?;
    Ok((file, files::Temporary::new(path)))
}

/// Whether a file in `dir` can share the blocks of `source`, a file that is not empty; found out by trying.
pub fn reflink_possible(dir: &Path, source: &Path) -> bool {
    let tried = copy::open(source).and_then(|source| {
        let (target, _removed) = probe(dir)?;
        copy::clone(&source, &target)
    });
    tried.unwrap_or(false)
}
