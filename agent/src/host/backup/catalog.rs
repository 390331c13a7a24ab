//! Which backups there are: ours, and what the incumbents left.
use super::manifest::{Base, Manifest, Root};
use super::restore::Source;
use super::walk::{PREFIX, names};
use super::{Backup, BackupError};
use crate::config::Settings;
use crate::home::Home;
use common::time::UnixMs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use time::{Date, Month};

/// How names of cosmovisor's backups begin.
const COSMOVISOR: &str = "data-backup-";
/// How names of the backups of wemixvisor v0.x end.
const ARCHIVE: &str = ".tar.gz";
/// Folder of the backups of wemixvisor v0.x in a home.
pub const ARCHIVES: &str = "backups";

/// What can be said of a backup without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Ours, complete, with every digest.
    Sealed,
    /// Ours and complete; digests are still to be computed.
    Unsealed,
    /// Ours by name, but not what was written.
    Damaged(String),
    /// A folder that cosmovisor made.
    ForeignFolder,
    /// An archive that wemixvisor v0.x made.
    ForeignArchive,
}

/// A backup in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// How it is.
    pub state: State,
    /// When it was made; for foreign ones as their name or their file says.
    pub made_at: UnixMs,
    /// Length of what it holds, in bytes; of an archive its own length.
    pub bytes: Option<u64>,
    /// What ours say of themselves.
    pub manifest: Option<Manifest>,
}

impl Found {
    /// Its name: the file name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The backups of a home, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Folder of our backups.
    pub dir: PathBuf,
    /// All that was found, also elsewhere in the home.
    pub found: Vec<Found>,
}

/// Folders in `dir` that have the name of a backup of ours; none when there is no such folder.
///
/// # Errors
/// When it cannot be read.
pub(super) fn own(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let named = names(dir)?.into_iter().filter(|n| n.to_string_lossy().starts_with(PREFIX));
    let paths = named.map(|n| dir.join(n));
    Ok(paths.filter(|p| p.symlink_metadata().is_ok_and(|m| m.is_dir())).collect())
}

/// Looks for backups in the folder that is set, and for foreign ones in the home too.
///
/// # Errors
/// When a folder cannot be read.
pub fn catalog(home: &Home, settings: &Settings) -> Result<Catalog, BackupError> {
    let dir = settings.backup.dir.clone();
    let mut found: Vec<Found> = own(&dir)?.into_iter().map(looked_at).collect();
    let mut places = vec![dir.clone()];
    places.extend([home.base.clone(), home.base.join(ARCHIVES)].into_iter().filter(|p| *p != dir));
    for place in &places {
        let paths = names(place)?.into_iter().map(|n| place.join(n));
        found.extend(paths.filter_map(|path| foreign(&path)));
    }
    found.sort_by(|a, b| (a.made_at, &a.path).cmp(&(b.made_at, &b.path)));
    Ok(Catalog { dir, found })
}

fn looked_at(path: PathBuf) -> Found {
    match Backup::open(&path) {
        Ok(Backup { manifest, .. }) => Found {
            state: if manifest.sealed { State::Sealed } else { State::Unsealed },
            made_at: manifest.made_at,
            bytes: Some(manifest.totals.bytes),
            manifest: Some(manifest),
            path,
        },
        Err(e) => Found {
            state: State::Damaged(e.to_string()),
            made_at: written_at(&path),
            bytes: None,
            manifest: None,
            path,
        },
    }
}

fn foreign(path: &Path) -> Option<Found> {
    let metadata = path.symlink_metadata().ok()?;
    let name = path.file_name()?.to_str()?;
    let (state, bytes, said) = if metadata.is_dir() {
        (State::ForeignFolder, None, day(name.strip_prefix(COSMOVISOR)?))
    } else if metadata.is_file() && name.ends_with(ARCHIVE) {
        (State::ForeignArchive, Some(metadata.len()), None)
    } else {
        return None;
    };
    let made_at = said.unwrap_or_else(|| written_at(path));
    Some(Found { path: path.to_owned(), state, made_at, bytes, manifest: None })
}

fn written_at(path: &Path) -> UnixMs {
    let seconds = path.symlink_metadata().map(|m| m.mtime()).unwrap_or_default();
    UnixMs(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}

/// Midnight (UTC) of a day that cosmovisor writes without leading zeros, like `2026-1-31`.
fn day(text: &str) -> Option<UnixMs> {
    let mut parts = text.split('-');
    let year = parts.next()?.parse().ok()?;
    let month = Month::try_from(parts.next()?.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, parts.next()?.parse().ok()?).ok()?;
    let seconds = date.midnight().assume_utc().unix_timestamp();
    parts.next().is_none().then_some(UnixMs(u64::try_from(seconds).ok()?.saturating_mul(1000)))
}

/// Finds a backup by its name in the list, or by a path.
///
/// # Errors
/// [`BackupError::NoSuch`], [`BackupError::NotOne`], or why it cannot be opened.
pub fn find(home: &Home, settings: &Settings, name: &str) -> Result<Source, BackupError> {
    let no_such = || BackupError::NoSuch { name: name.to_owned(), dir: settings.backup.dir.clone() };
    let path = if name.contains('/') {
        std::fs::canonicalize(name).map_err(|_| no_such())?
    } else {
        let all = catalog(home, settings)?.found;
        all.into_iter().find(|f| f.name() == name).ok_or_else(no_such)?.path
    };
    match foreign(&path).map(|f| f.state) {
        Some(State::ForeignFolder) => Ok(Source::Folder(path)),
        Some(_) => Ok(Source::Archive(path)),
        None => Ok(Source::Own(Box::new(Backup::open(&path)?))),
    }
}

/// What a foreign backup holds: the data folder, wherever that is.
pub(super) fn foreign_root() -> Root {
    Root { base: Base::Data, path: PathBuf::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_cosmovisor_writes_them() {
        assert_eq!(day("2026-1-2"), Some(UnixMs(1_767_312_000_000)));
        assert_eq!(day("2026-01-02"), day("2026-1-2"));
        for bad in ["", "2026-13-1", "2026-2-30", "2026-1", "2026-1-2-3", "x-1-2", "1900-1-1"] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn foreign_backups_are_known_by_name_and_kind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("data-backup-2026-1-2")).unwrap();
        std::fs::write(at("manual-20260102-030405.tar.gz"), "x").unwrap();
        std::fs::write(at("data-backup-2026-1-3"), "a file").unwrap();
        std::os::unix::fs::symlink("data-backup-2026-1-2", at("data-backup-2026-1-4")).unwrap();
        let state = |name: &str| foreign(&at(name)).map(|f| f.state);
        assert_eq!(state("data-backup-2026-1-2"), Some(State::ForeignFolder));
        assert_eq!(state("manual-20260102-030405.tar.gz"), Some(State::ForeignArchive));
        assert_eq!(state("data-backup-2026-1-3"), None);
        assert_eq!(state("data-backup-2026-1-4"), None);
    }
}
