//! Where a root is restored to.
use super::catalog::ARCHIVES;
use super::manifest::{Base, Root};
use super::plan::{canonical, places};
use super::walk::{REPLACED, RESTORE, Rules, is_ours, names};
use super::{BackupError, Step, mounts};
use crate::config::Settings;
use crate::home::Home;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The place of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The root below `files/`.
    pub saved: PathBuf,
    /// What is replaced, links resolved.
    pub path: PathBuf,
    /// Whether what is in it is replaced piece by piece, because it itself cannot be renamed: it is the home,
    /// or a mount point.
    pub by_child: bool,
    /// Where the new tree grows.
    pub built: PathBuf,
    /// Where the old tree goes.
    pub aside: PathBuf,
    /// What in it is not touched.
    pub rules: Rules,
}

/// What a whole home holds and no backup does: the supervisor's folder, and the folders of backups.
pub fn barred(home: &Home, dir: &Path) -> Vec<PathBuf> {
    let base = canonical(&home.base);
    let mut barred = vec![canonical(home.root()), base.join(ARCHIVES)];
    let dir = canonical(dir);
    // Backups in the home itself are known by their names.
    barred.extend(Some(dir).filter(|d| *d != base && d.starts_with(&base)));
    barred
}

/// Finds the places of all roots, under names that nothing has.
///
/// # Errors
/// [`BackupError::Target`] for a place that must not or cannot be replaced.
pub fn targets(
    home: &Home,
    settings: &Settings,
    roots: &[Root],
    backup: &Path,
    stamp: &str,
) -> Result<Vec<Target>, BackupError> {
    let points = mounts::points();
    let mut number = 1;
    loop {
        let stamp = if number == 1 { stamp.to_owned() } else { format!("{stamp}-{number}") };
        let found = roots.iter().map(|root| target(home, settings, root, backup, &stamp, &points));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let free = |path: &Path| path.symlink_metadata().is_err();
        if found.iter().all(|t| free(&t.built) && free(&t.aside)) {
            check_apart(&found)?;
            return Ok(found);
        }
        number += 1;
    }
}

fn check_apart(targets: &[Target]) -> Result<(), BackupError> {
    for (n, a) in targets.iter().enumerate() {
        if let Some(b) =
            targets[n + 1..].iter().find(|b| a.path.starts_with(&b.path) || b.path.starts_with(&a.path))
        {
            let why = format!("{} is restored too, and one holds the other", b.path.display());
            return Err(BackupError::Target { path: a.path.clone(), why });
        }
    }
    Ok(())
}

fn target(
    home: &Home,
    settings: &Settings,
    root: &Root,
    backup: &Path,
    stamp: &str,
    points: &[PathBuf],
) -> Result<Target, BackupError> {
    let base = match root.base {
        Base::Home => &home.base,
        Base::Data => &settings.node.data_dir,
    };
    let logical = super::plan::below(base, &root.path);
    let refuse = |why: String| BackupError::Target { path: logical.clone(), why };
    let path = resolved(&logical).map_err(|e| refuse(e.to_string()))?;
    let (base, own) = (canonical(&home.base), canonical(home.root()));
    if path.starts_with(&own) || path != base && own.starts_with(&path) {
        return Err(refuse("the supervisor's own folder is never restored".to_owned()));
    }
    // Only what is here now says where a link may lead; a manifest may come from anywhere.
    let configured = || places(home, settings).unwrap_or_default().iter().any(|p| p.path == path);
    let data = || canonical(&settings.node.data_dir) == path;
    if !path.starts_with(&base) && !data() && !configured() {
        return Err(refuse(format!("a link leads to {}, out of the home", path.display())));
    }
    let rules = Rules { barred: barred(home, &settings.backup.dir), keys: true, exclude: Vec::new() };
    let spared = |p: &Path| rules.barred.iter().any(|b| p.starts_with(b));
    let child_spared = |p: &Path| {
        let first = p.strip_prefix(&path).ok().and_then(|rest| rest.iter().next());
        path == base && (spared(p) || first.is_some_and(is_ours))
    };
    let backup = canonical(backup);
    if backup.starts_with(&path) && !child_spared(&backup) {
        return Err(refuse(format!("the backup {} itself is inside: move it elsewhere", backup.display())));
    }
    if let Some(inner) = points.iter().find(|p| **p != path && p.starts_with(&path) && !child_spared(p)) {
        return Err(refuse(format!(
            "{} is mounted inside it, and would be left out or emptied: unmount it, or restore by hand",
            inner.display()
        )));
    }
    let by_child = path == base || points.contains(&path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (built, aside) = if by_child {
        (path.join(format!(".{RESTORE}{stamp}")), path.join(format!("tree{REPLACED}{stamp}")))
    } else {
        let built = path.with_file_name(format!(".{name}.{RESTORE}{stamp}"));
        (built, path.with_file_name(format!("{name}{REPLACED}{stamp}")))
    };
    Ok(Target { saved: root.saved(), path, by_child, built, aside, rules })
}

/// A path with its links resolved; its last name need not be there.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            let name = path.file_name().ok_or(e)?;
            Ok(std::fs::canonicalize(path.parent().unwrap_or(Path::new("/")))?.join(name))
        }
        other => other,
    }
}

impl Target {
    /// The folder whose file system the new tree grows on.
    pub fn grows_in(&self) -> &Path {
        self.built.parent().unwrap_or(Path::new("/"))
    }

    /// The renames that put the new tree in place.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn steps(&self) -> Result<Vec<Step>, BackupError> {
        if !self.by_child {
            let (target, built, aside) = (self.path.clone(), Some(self.built.clone()), self.aside.clone());
            return Ok(vec![Step { target, built, aside }]);
        }
        let new: BTreeSet<_> = names(&self.built)?.into_iter().collect();
        let old: BTreeSet<_> = names(&self.path)?.into_iter().collect();
        let touched =
            |name: &&std::ffi::OsString| !is_ours(name) && !self.rules.barred.contains(&self.path.join(name));
        let step = |name: &std::ffi::OsString| Step {
            target: self.path.join(name),
            built: new.contains(name).then(|| self.built.join(name)),
            aside: self.aside.join(name),
        };
        Ok(new.union(&old).filter(touched).map(step).collect())
    }
}
