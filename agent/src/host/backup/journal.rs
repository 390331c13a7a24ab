//! The note of a restore under way, and going on from it after a crash.
use super::BackupError;
use super::manifest::{bytes_of, encode};
use super::walk::{REPLACED, RESTORE};
use crate::home::Home;
use crate::host::files;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// File name of the note, in the supervisor's folder.
const FILE: &str = "restore.json";

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The new trees grow. After a crash they are removed: the old ones are in place.
    Building,
    /// The new trees are complete and on disk. After a crash they are put in place.
    Swapping,
    /// The new trees are in place. After a crash only the old ones are left to remove.
    Cleaning,
}

/// What is put in place of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is replaced.
    #[serde(with = "plain")]
    pub target: PathBuf,
    /// What replaces it; without it, it only goes.
    #[serde(with = "perhaps")]
    pub built: Option<PathBuf>,
    /// Where the old one goes.
    #[serde(with = "plain")]
    pub aside: PathBuf,
}

/// The note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Name of the backup.
    pub backup: String,
    /// How far it is.
    pub phase: Phase,
    /// Whether the old trees are kept at the end.
    pub keep_old: bool,
    /// The renames.
    pub steps: Vec<Step>,
    /// New trees, and for each the old one: name of the one, name of the other.
    pub trees: Vec<Tree>,
}

/// The names of a new tree and of the old one that it replaces, while both are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Where the new one grows.
    #[serde(with = "plain")]
    pub built: PathBuf,
    /// Where the old one goes.
    #[serde(with = "plain")]
    pub aside: PathBuf,
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::Rename { from: from.to_owned(), to: to.to_owned(), cause };
    std::fs::rename(from, to).map_err(failed)?;
    for folder in [from.parent(), to.parent()].into_iter().flatten() {
        files::sync_folder(folder).map_err(failed)?;
    }
    Ok(())
}

impl Step {
    /// The first rename: the old one goes aside. Nothing when that is done or not needed.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn put_aside(&self) -> Result<(), BackupError> {
        let done = self.built.as_ref().is_some_and(|built| !there(built));
        if done || !there(&self.target) || self.built.is_none() && there(&self.aside) {
            return Ok(());
        }
        if there(&self.aside) {
            let why = format!(
                "something made it anew while {} was being put there: move it away and try again",
                self.built.as_deref().unwrap_or(&self.aside).display()
            );
            return Err(BackupError::Target { path: self.target.clone(), why });
        }
        rename(&self.target, &self.aside)
    }

    /// The second rename: the new one comes in its place.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn put_in_place(&self) -> Result<(), BackupError> {
        match &self.built {
            Some(built) if there(built) => rename(built, &self.target),
            _ => Ok(()),
        }
    }
}

impl Journal {
    /// Where the note is.
    pub fn path(home: &Home) -> PathBuf {
        home.root().join(FILE)
    }

    /// Reads the note; `None` when no restore is under way.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(home: &Home) -> Result<Option<Journal>, BackupError> {
        let path = Journal::path(home);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(BackupError::read(&path)(e)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| BackupError::Journal {
            path,
            why: format!("{e}; look for folders with \"before-restore\" beside the node's data, put them back by hand, and remove the note"),
        })
    }

    /// Writes the note; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, home: &Home) -> Result<(), BackupError> {
        let path = Journal::path(home);
        let failed = BackupError::write(&path);
        let bytes = serde_json::to_vec(self).map_err(|e| failed(e.into()))?;
        files::replace(&path, &bytes, 0o600).map_err(failed)
    }

    /// Puts everything in place. Can be repeated from any point.
    ///
    /// # Errors
    /// The first rename that fails.
    pub fn swap(&self) -> Result<(), BackupError> {
        for tree in &self.trees {
            // Of a tree whose pieces are replaced, the old ones go into a folder.
            let pieces = self.steps.iter().any(|s| s.aside.parent() == Some(&tree.aside));
            if pieces && !there(&tree.aside) {
                std::fs::create_dir(&tree.aside).map_err(BackupError::write(&tree.aside))?;
            }
        }
        for step in &self.steps {
            step.put_aside()?;
            step.put_in_place()?;
        }
        Ok(())
    }

    /// Puts everything in place and removes what is no longer needed. Gives the old trees that are still
    /// there.
    ///
    /// # Errors
    /// The first rename that fails; it can be repeated.
    pub fn end(&mut self, home: &Home) -> Result<Vec<PathBuf>, BackupError> {
        self.swap()?;
        self.phase = Phase::Cleaning;
        // On a full disk this may fail; then what is removed next makes room.
        let _ = self.write(home);
        self.clean(home)
    }

    /// Gives up before anything was put in place.
    pub fn abandon(mut self, home: &Home) {
        let noted = self.phase == Phase::Building;
        self.phase = Phase::Building;
        // Where the note may say already that the new trees are complete, they stay until it does not.
        if noted || self.write(home).is_ok() {
            let _ = self.clean(home);
        }
    }

    /// Removes what is no longer needed, and the note. Gives the old trees that are still there.
    ///
    /// # Errors
    /// When the note cannot be removed.
    fn clean(&self, home: &Home) -> Result<Vec<PathBuf>, BackupError> {
        for tree in &self.trees {
            remove(&tree.built, RESTORE);
            if self.phase == Phase::Cleaning && !self.keep_old {
                remove(&tree.aside, REPLACED);
            }
        }
        let path = Journal::path(home);
        let gone = std::fs::remove_file(&path).and_then(|()| files::sync_folder(home.root()));
        gone.map_err(BackupError::write(&path))?;
        Ok(self.trees.iter().map(|t| t.aside.clone()).filter(|p| there(p)).collect())
    }
}

/// Removes a tree whose name says that it is of a restore; what cannot be removed stays and is reported.
fn remove(path: &Path, mark: &str) {
    if path.file_name().is_some_and(|n| n.to_string_lossy().contains(mark)) {
        let folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
        let _ = if folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}

/// Ends a restore that a crash cut short: the node's data is afterwards what it was before, or what the
/// backup holds. Gives the backup's name and how far it was found; only from [`Phase::Building`] the old
/// data stays. `None` when there was nothing to end.
///
/// The caller holds the home's lock, and the node is not running.
///
/// # Errors
/// When something cannot be renamed; the data is then not complete, and no node may be started.
pub fn repair(home: &Home) -> Result<Option<(String, Phase)>, BackupError> {
    let Some(mut journal) = Journal::read(home)? else { return Ok(None) };
    let was = journal.phase;
    match was {
        Phase::Building | Phase::Cleaning => journal.clean(home)?,
        Phase::Swapping => journal.end(home)?,
    };
    Ok(Some((journal.backup, was)))
}

/// Paths of any bytes, in JSON.
mod plain {
    use super::*;

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(path))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(bytes_of(&String::deserialize(from)?))
    }
}

mod perhaps {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde's form")]
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(encode).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.as_deref().map(bytes_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        folder: tempfile::TempDir,
        home: Home,
        journal: Journal,
    }

    /// A home whose `data` holds "old" and is to become "new"; `gone` is to go.
    fn case() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let home = Home::new(folder.path().to_owned(), "geth".into());
        std::fs::create_dir_all(home.root()).unwrap();
        for (name, text) in [("data", "old"), (".data.wemixvisor-restore-1", "new")] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), text).unwrap();
        }
        let (built, aside) = (at(".data.wemixvisor-restore-1"), at("data.before-restore-1"));
        let tree = Tree { built: built.clone(), aside: aside.clone() };
        let step = Step { target: at("data"), built: Some(built), aside };
        let journal = Journal {
            backup: "b".into(),
            phase: Phase::Swapping,
            keep_old: false,
            steps: vec![step],
            trees: vec![tree],
        };
        Case { folder, home, journal }
    }

    fn end(case: &Case) -> (String, usize) {
        let text = std::fs::read_to_string(case.folder.path().join("data/file")).unwrap();
        (text, std::fs::read_dir(case.folder.path()).unwrap().count())
    }

    #[test]
    fn every_crash_ends_in_old_or_new() {
        type Upto = fn(&Journal);
        let points: [(&str, Phase, Upto); 5] = [
            ("old", Phase::Building, |_| ()),
            ("new", Phase::Swapping, |_| ()),
            ("new", Phase::Swapping, |j| j.steps[0].put_aside().unwrap()),
            ("new", Phase::Swapping, |j| j.swap().unwrap()),
            ("new", Phase::Cleaning, |j| j.swap().unwrap()),
        ];
        for (expected, phase, upto) in points {
            let mut case = case();
            case.journal.phase = phase;
            case.journal.write(&case.home).unwrap();
            upto(&case.journal);
            assert_eq!(repair(&case.home).unwrap(), Some(("b".to_owned(), phase)));
            assert_eq!(end(&case), (expected.to_owned(), 2), "only data and wemixvisor are there");
            assert_eq!(repair(&case.home).unwrap(), None);
        }
    }

    #[test]
    fn the_old_tree_is_kept_when_asked() {
        let mut case = case();
        case.journal.keep_old = true;
        case.journal.write(&case.home).unwrap();
        repair(&case.home).unwrap();
        let old = case.folder.path().join("data.before-restore-1/file");
        assert_eq!(std::fs::read_to_string(old).unwrap(), "old");
    }

    #[test]
    fn what_was_made_anew_meanwhile_is_not_lost() {
        let case = case();
        case.journal.write(&case.home).unwrap();
        case.journal.steps[0].put_aside().unwrap();
        std::fs::create_dir(case.folder.path().join("data")).unwrap();
        let error = repair(&case.home).unwrap_err().to_string();
        assert!(error.contains("made it anew"), "{error}");
        std::fs::remove_dir(case.folder.path().join("data")).unwrap();
        repair(&case.home).unwrap();
        assert_eq!(end(&case).0, "new");
    }

    #[test]
    fn pieces_are_swapped_and_the_note_survives_odd_names() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let odd = std::ffi::OsStr::from_bytes(b"o\xffd");
        let home = Home::new(at("home"), "geth".into());
        std::fs::create_dir_all(home.root()).unwrap();
        std::fs::create_dir(at(".wemixvisor-restore-1")).unwrap();
        std::fs::write(folder.path().join(odd), "old").unwrap();
        std::fs::write(at("gone"), "old").unwrap();
        std::fs::write(at(".wemixvisor-restore-1").join(odd), "new").unwrap();
        let tree = Tree { built: at(".wemixvisor-restore-1"), aside: at("tree.before-restore-1") };
        let step = |name: &std::ffi::OsStr, new: bool| Step {
            target: folder.path().join(name),
            built: new.then(|| tree.built.join(name)),
            aside: tree.aside.join(name),
        };
        let steps = vec![step("gone".as_ref(), false), step(odd, true)];
        let (phase, trees) = (Phase::Swapping, vec![tree.clone()]);
        let journal = Journal { backup: "b".into(), phase, keep_old: false, steps, trees };
        journal.write(&home).unwrap();
        assert_eq!(Journal::read(&home).unwrap(), Some(journal.clone()));
        journal.swap().unwrap();
        assert!(tree.aside.join("gone").exists() && !at("gone").exists());
        // After the swap a node may make a file again that had gone; repeating does not take it.
        std::fs::write(at("gone"), "young").unwrap();
        repair(&home).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join(odd)).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(at("gone")).unwrap(), "young");
        assert!(!tree.aside.exists() && !tree.built.exists());
    }
}
