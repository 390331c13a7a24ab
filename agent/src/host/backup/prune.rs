//! Which backups are removed, and their removal.
use super::{Backup, BackupError, catalog, partial};
use common::time::{Span, UnixMs};
use std::path::{Path, PathBuf};

/// What pruning did, or would do.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Removed, oldest first.
    pub removed: Vec<PathBuf>,
    /// Still there, oldest first.
    pub kept: Vec<PathBuf>,
    /// Should have been removed.
    pub failed: Vec<(PathBuf, BackupError)>,
}

/// Which of `backups` go: those beyond the newest `keep` (0: all are kept), and those older than `max_age`
/// (zero: age does not matter). Never the newest; and never the newest that is sealed and was made with
/// the node down, because that is the one that is known to be good.
pub fn choose(backups: &[Backup], keep: u32, max_age: Span, now: UnixMs) -> Vec<bool> {
    let mut newest_first: Vec<usize> = (0..backups.len()).collect();
    newest_first.sort_by_key(|n| std::cmp::Reverse((backups[*n].manifest.made_at, &backups[*n].folder)));
    let good = |n: &&usize| backups[**n].manifest.sealed && !backups[**n].manifest.live;
    let protected = [newest_first.first(), newest_first.iter().find(good)];
    let mut go = vec![false; backups.len()];
    for (place, n) in newest_first.iter().enumerate() {
        let beyond = keep > 0 && place >= usize::try_from(keep).unwrap_or(usize::MAX);
        let old = max_age > Span::ZERO && now.since(backups[*n].manifest.made_at) > max_age;
        go[*n] = (beyond || old) && !protected.contains(&Some(n));
    }
    go
}

/// Removes old backups from `dir`; with `dry_run` only says which. What is not ours, not complete or
/// damaged is not touched, and does not count.
///
/// # Errors
/// When the folder cannot be read. A backup that cannot be removed is in [`Pruned::failed`].
pub fn prune(
    dir: &Path,
    keep: u32,
    max_age: Span,
    now: UnixMs,
    dry_run: bool,
) -> Result<Pruned, BackupError> {
    if !dry_run {
        partial::clear_dead(dir);
    }
    let folders = catalog::own(dir)?;
    let mut backups: Vec<Backup> = folders.iter().filter_map(|f| Backup::open(f).ok()).collect();
    backups.sort_by(|a, b| (a.manifest.made_at, &a.folder).cmp(&(b.manifest.made_at, &b.folder)));
    let go = choose(&backups, keep, max_age, now);
    let mut pruned = Pruned::default();
    for (backup, go) in backups.into_iter().zip(go) {
        let removed = if go && !dry_run { partial::remove(&backup.folder) } else { Ok(()) };
        match removed {
            Ok(()) if go => pruned.removed.push(backup.folder),
            Ok(()) => pruned.kept.push(backup.folder),
            Err(e) => pruned.failed.push((backup.folder, e)),
        }
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::backup::manifest::tests::sample;
    use crate::host::backup::manifest::{self, Manifest};

    const DAY: u64 = 86_400_000;

    /// Backups in the order given, `s`ealed, `u`nsealed or `l`ive, a day apart, the last a day old.
    fn backups(kinds: &str) -> Vec<Backup> {
        let one = |(n, kind): (usize, char)| Backup {
            folder: format!("/b/{n}").into(),
            manifest: Manifest {
                made_at: UnixMs((100 + n as u64) * DAY),
                sealed: kind != 'u',
                live: kind == 'l',
                ..sample()
            },
        };
        kinds.chars().enumerate().map(one).collect()
    }

    fn check(kinds: &str, keep: u32, max_days: u64, expected: &str) {
        let now = UnixMs((100 + kinds.len() as u64) * DAY);
        let go = choose(&backups(kinds), keep, Span(max_days * DAY), now);
        let said: String = go.iter().map(|go| if *go { '-' } else { '+' }).collect();
        assert_eq!(said, expected, "{kinds} keep {keep} age {max_days}");
    }

    #[test]
    fn by_count_by_age_and_never_the_last_good_one() {
        check("", 1, 1, "");
        check("sssss", 0, 0, "+++++");
        check("sssss", 2, 0, "---++");
        check("sssss", 9, 0, "+++++");
        check("sssss", 0, 3, "--+++");
        check("sssss", 4, 2, "---++");
        check("sss", 1, 0, "--+");
        check("s", 0, 1, "+");
        check("ssssuu", 1, 0, "---+-+");
        check("ssll", 1, 0, "-+-+");
        check("uuu", 1, 0, "--+");
        let far_future = choose(&backups("sss"), 0, Span(DAY), UnixMs(u64::MAX));
        assert_eq!(far_future, [true, true, false]);
        assert_eq!(choose(&backups("sss"), 0, Span(DAY), UnixMs(0)), [false; 3]);
    }

    #[test]
    fn what_is_no_backup_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (n, name) in
            ["wemixvisor-backup-a", "wemixvisor-backup-b", "wemixvisor-backup-c"].iter().enumerate()
        {
            std::fs::create_dir(at(name)).unwrap();
            let made_at = UnixMs(n as u64);
            manifest::write(&at(name), &Manifest { made_at, ..sample() }).unwrap();
        }
        for name in ["wemixvisor-backup-none", "data-backup-2020-1-1", "mine", "wemixvisor-backup-bad"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("wemixvisor-backup-bad/manifest.json"), "{").unwrap();
        std::os::unix::fs::symlink("wemixvisor-backup-a", at("wemixvisor-backup-link")).unwrap();
        let count = || std::fs::read_dir(dir.path()).unwrap().count();
        let dry = prune(dir.path(), 1, Span(1), UnixMs(1000), true).unwrap();
        assert_eq!((dry.removed.len(), dry.kept.len(), count()), (2, 1, 8));
        // One that somebody works with is left.
        let held = Backup::open(&at("wemixvisor-backup-a")).unwrap();
        let lock = held.hold(rustix::fs::FlockOperation::LockShared).unwrap();
        let pruned = prune(dir.path(), 1, Span(1), UnixMs(1000), false).unwrap();
        assert_eq!(pruned.removed, [at("wemixvisor-backup-b")]);
        assert!(matches!(pruned.failed.as_slice(), [(_, BackupError::Busy(_))]));
        drop(lock);
        let pruned = prune(dir.path(), 1, Span(1), UnixMs(1000), false).unwrap();
        assert_eq!((pruned.removed.len(), pruned.kept, count()), (1, vec![at("wemixvisor-backup-c")], 6));
    }
}
