//! Everything below a root, in the order of its paths.
use super::BackupError;
use super::keys::is_key;
use super::pattern::Pattern;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How names of backups begin.
pub const PREFIX: &str = "wemixvisor-backup-";
/// How names of unfinished backups end; they begin with a dot.
pub const PARTIAL: &str = ".partial";
/// In the names of trees that are being restored.
pub const RESTORE: &str = "wemixvisor-restore-";
/// In the names of trees that a restore replaced.
pub const REPLACED: &str = ".before-restore-";

/// What is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Patterns, matched on the path relative to the root.
    pub exclude: Vec<Pattern>,
    /// Whether keys are visited too.
    pub keys: bool,
    /// Absolute paths that are never entered.
    pub barred: Vec<PathBuf>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder; what is in it follows.
    Folder,
    /// An ordinary file.
    File,
    /// A symbolic link and its target; never followed.
    Link(PathBuf),
}

/// Why something is not visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// A pattern matches it.
    Excluded,
    /// It is a key, or a folder of keys.
    Key,
    /// A socket, FIFO or device.
    Special,
    /// It went away while it was looked at.
    Vanished,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Visit<'a> {
    /// Something to save.
    Found {
        /// Relative to the root; empty for the root itself.
        path: &'a Path,
        /// What it is.
        kind: Kind,
        /// As the file system tells, links not followed.
        metadata: Metadata,
    },
    /// Something that is passed over, with all that is below.
    Passed {
        /// Relative to the root.
        path: &'a Path,
        /// Why.
        why: LeftOut,
    },
}

type Visitor<'a> = dyn FnMut(Visit<'_>) -> Result<(), BackupError> + 'a;

/// Visits `root` and everything below, a folder before what is in it, names in the order of their bytes.
/// That order is the one of [`Path`]'s comparison, so walks and lists can be compared as they stream.
///
/// # Errors
/// The first folder that cannot be read, or what `visit` gives.
pub fn walk(root: &Path, rules: &Rules, visit: &mut Visitor<'_>) -> Result<(), BackupError> {
    step(root, &mut PathBuf::new(), rules, visit)
}

fn step(root: &Path, path: &mut PathBuf, rules: &Rules, visit: &mut Visitor<'_>) -> Result<(), BackupError> {
    let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&*path) };
    // Backups and trees of restores lie at the top of a home or a root; deeper such a name is the node's own.
    let top = path.components().count() == 1;
    if rules.barred.contains(&full) || top && path.file_name().is_some_and(is_ours) {
        return Ok(());
    }
    if let Some(why) = passed_by_name(path, rules) {
        return visit(Visit::Passed { path, why });
    }
    let seen = std::fs::symlink_metadata(&full).and_then(|metadata| {
        let kind = match metadata.file_type() {
            t if t.is_dir() => Some(Kind::Folder),
            t if t.is_file() => Some(Kind::File),
            t if t.is_symlink() => Some(Kind::Link(std::fs::read_link(&full)?)),
            _ => None,
        };
        Ok((metadata, kind))
    });
    let (metadata, kind) = match seen {
        Ok((metadata, Some(kind))) => (metadata, kind),
        Ok((_, None)) => return visit(Visit::Passed { path, why: LeftOut::Special }),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return visit(Visit::Passed { path, why: LeftOut::Vanished });
        }
        Err(e) => return Err(BackupError::read(&full)(e)),
    };
    let folder = kind == Kind::Folder;
    visit(Visit::Found { path, kind, metadata })?;
    if folder {
        for name in names(&full)? {
            path.push(name);
            step(root, path, rules, visit)?;
            path.pop();
        }
    }
    Ok(())
}

fn passed_by_name(path: &Path, rules: &Rules) -> Option<LeftOut> {
    let name = path.file_name()?;
    if !rules.keys && is_key(name) {
        return Some(LeftOut::Key);
    }
    rules.exclude.iter().any(|p| p.matches(path)).then_some(LeftOut::Excluded)
}

/// Names in a folder, sorted; none when it is gone.
///
/// # Errors
/// When it cannot be read.
pub fn names(folder: &Path) -> Result<Vec<OsString>, BackupError> {
    let failed = BackupError::read(folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(&failed)?.file_name());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether something is a backup, ours or an incumbent's, or was left by a restore. Such are in no backup,
/// and no restore touches them.
pub fn is_ours(name: &std::ffi::OsStr) -> bool {
    let name = name.as_bytes();
    let within = |part: &str| name.windows(part.len()).any(|w| w == part.as_bytes());
    let begins = |part: &str| name.strip_prefix(b".").unwrap_or(name).starts_with(part.as_bytes());
    begins(PREFIX) || begins("data-backup-") || within(RESTORE) || within(REPLACED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(root: &Path, rules: &Rules) -> Vec<String> {
        let mut seen = Vec::new();
        walk(root, rules, &mut |visit| {
            seen.push(match visit {
                Visit::Found { path, kind, .. } => format!("{} {kind:?}", path.display()),
                Visit::Passed { path, why } => format!("{} {why:?}", path.display()),
            });
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn in_order_and_with_what_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        for path in [
            "a/z",
            "a.b",
            "a/keystore/k",
            "ancient/0",
            "wemixvisor-backup-x/data",
            "sub/fleet/own",
            "sub/data-backup-z",
        ] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), "x").unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", root.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("a/geth.ipc")).unwrap();
        let rules = Rules {
            exclude: vec![Pattern::parse("ancient").unwrap()],
            keys: false,
            barred: vec![root.join("sub/fleet")],
        };
        let expected = [
            " Folder",
            "a Folder",
            "a/geth.ipc Special",
            "a/keystore Key",
            "a/z File",
            "a.b File",
            "ancient Excluded",
            "link Link(\"/nowhere\")",
            "sub Folder",
            "sub/data-backup-z File",
        ];
        assert_eq!(visited(&root, &rules), expected);
        let with_keys = visited(&root, &Rules { keys: true, ..rules });
        assert!(with_keys.contains(&"a/keystore/k File".to_owned()), "{with_keys:?}");
        assert_eq!(visited(&root.join("a.b"), &Rules::default()), [" File"]);
        assert_eq!(visited(&root.join("gone"), &Rules::default()), [" Vanished"]);
    }

    #[test]
    fn backups_are_known_by_name() {
        for yes in ["wemixvisor-backup-a", ".wemixvisor-backup-a.partial", "data-backup-2026-1-2"] {
            assert!(is_ours(yes.as_ref()), "{yes}");
        }
        assert!(is_ours("data.before-restore-1".as_ref()) && is_ours(".data.wemixvisor-restore-1".as_ref()));
        assert!(!is_ours("data".as_ref()) && !is_ours("backup".as_ref()));
    }
}
