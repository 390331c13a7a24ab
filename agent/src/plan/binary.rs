//! The executable of a release: looked at, copied whole, never written over by accident.
use crate::host::files::{Temporary, beside, digest_of, sync_folder};
use common::release::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why an executable cannot be put into a home.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// None was named.
    #[error("no <path to executable> provided")]
    Unnamed,
    /// It is not there.
    #[error("executable file not found: {0}")]
    NotFound(PathBuf),
    /// It is a folder.
    #[error("invalid path to executable: must not be a directory: {0}")]
    Folder(PathBuf),
    /// It is a pipe, a device, a socket.
    #[error("invalid path to executable: {0} is not a regular file")]
    NoFile(PathBuf),
    /// It has no bytes.
    #[error("the executable {0} is empty")]
    Empty(PathBuf),
    /// A file is where a folder must be.
    #[error("the path {0:?} already exists but is not a directory")]
    InTheWay(PathBuf),
    /// A folder is where the executable must be.
    #[error("{0} is not a regular file")]
    TargetNoFile(PathBuf),
    /// It cannot be read.
    #[error("the executable {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the executable {path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is at the place where an executable shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing.
    Free,
    /// The same bytes.
    Same(Digest),
    /// An executable with other bytes.
    Other(Digest),
}

/// Checks an executable that shall be copied.
///
/// # Errors
/// [`BinaryError`] when it is no file with bytes that can be read.
pub fn check(source: &Path) -> Result<(), BinaryError> {
    let found = std::fs::metadata(source).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BinaryError::NotFound(source.to_owned()),
        _ => BinaryError::Read { path: source.to_owned(), source: e },
    })?;
    if found.is_dir() {
        return Err(BinaryError::Folder(source.to_owned()));
    }
    if !found.is_file() {
        return Err(BinaryError::NoFile(source.to_owned()));
    }
    if found.len() == 0 {
        return Err(BinaryError::Empty(source.to_owned()));
    }
    Ok(())
}

/// Looks at the place where an executable shall go, without changing anything.
///
/// # Errors
/// [`BinaryError`] when it cannot go there at all, or either file cannot be read.
pub fn look(source: &Path, target: &Path) -> Result<Place, BinaryError> {
    check(source)?;
    for folder in target.ancestors().skip(1) {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(BinaryError::InTheWay(folder.to_owned())),
            // Below a file, or not there yet: the next one up tells.
            Err(_) => {}
        }
    }
    match std::fs::metadata(target) {
        Ok(found) if !found.is_file() => return Err(BinaryError::TargetNoFile(target.to_owned())),
        Ok(_) => {}
        Err(_) => return Ok(Place::Free),
    }
    let read =
        |path: &Path| digest_of(path).map_err(|source| BinaryError::Read { path: path.to_owned(), source });
    let (offered, there) = (read(source)?, read(target)?);
    Ok(if offered == there { Place::Same(there) } else { Place::Other(there) })
}

/// Copies an executable: written beside its place, made executable, flushed, renamed. Gives the digest of
/// the bytes that were written. What was there is replaced in one step.
///
/// # Errors
/// [`BinaryError`]; the place is then as before.
pub fn copy(source: &Path, target: &Path) -> Result<Digest, BinaryError> {
    check(source)?;
    let failed = |error: io::Error| BinaryError::Write { path: target.to_owned(), source: error };
    let unread = |error: io::Error| BinaryError::Read { path: source.to_owned(), source: error };
    let folder = target.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    let mut from = File::open(source).map_err(unread)?;
    let new = beside(target);
    let mut to =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(&new).map_err(failed)?;
    let temporary = Temporary::new(new.clone());
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match from.read(&mut buffer).map_err(unread)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                to.write_all(&buffer[..n]).map_err(failed)?;
            }
        }
    }
    // Whatever the umask: whoever supervises must be able to run it.
    to.set_permissions(Permissions::from_mode(0o755)).map_err(failed)?;
    to.sync_all().map_err(failed)?;
    std::fs::rename(&new, target).map_err(failed)?;
    temporary.keep();
    sync_folder(folder).map_err(failed)?;
    Ok(Digest(hash.finalize().into()))
}

/// Makes an executable that is there executable, where it is not.
///
/// # Errors
/// [`BinaryError::Write`] when its rights cannot be changed.
pub fn allow(target: &Path) -> Result<(), BinaryError> {
    let failed = |error: io::Error| BinaryError::Write { path: target.to_owned(), source: error };
    let mode = std::fs::metadata(target).map_err(failed)?.permissions().mode();
    if mode & 0o111 == 0o111 {
        return Ok(());
    }
    std::fs::set_permissions(target, Permissions::from_mode(mode | 0o111)).map_err(failed)
}

/// Whether there is something to run at a place: a file with bytes.
pub fn is_there(target: &Path) -> bool {
    std::fs::metadata(target).is_ok_and(|found| found.is_file() && found.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, BinaryError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_executable_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("empty"), "").unwrap();
        std::fs::write(at("file"), "x").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        assert!(said(check(&at("none"))).contains("executable file not found"));
        assert!(said(check(&at("file/none"))).contains("executable file not found"));
        assert!(said(check(folder.path())).contains("must not be a directory"));
        assert!(said(check(Path::new("/dev/null"))).contains("is not a regular file"));
        assert!(said(check(&at("empty"))).contains("is empty"));
        assert!(
            said(look(&at("file"), &at("file/bin/geth"))).contains("already exists but is not a directory")
        );
        assert!(said(look(&at("file"), &at("folder"))).contains("folder is not a regular file"));
    }

    #[test]
    fn a_copy_is_whole_executable_and_has_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("a/b/geth"));
        let bytes = vec![7; 300_000];
        std::fs::write(&source, &bytes).unwrap();
        std::fs::set_permissions(&source, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(look(&source, &target).unwrap(), Place::Free);
        assert!(!is_there(&target));
        let digest = copy(&source, &target).unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(std::fs::read(&target).unwrap(), bytes);
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(look(&source, &target).unwrap(), Place::Same(digest));
        std::fs::write(&source, "other").unwrap();
        assert_eq!(look(&source, &target).unwrap(), Place::Other(digest));
        copy(&source, &target).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"other");
        assert_eq!(
            std::fs::read_dir(target.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn rights_to_run_are_added_and_others_kept() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("geth");
        std::fs::write(&target, "x").unwrap();
        std::fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
        allow(&target).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o751);
    }
}
