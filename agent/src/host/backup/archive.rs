//! The archives of wemixvisor v0.x: a gzip tar of the data folder. They are read, and never written.
use super::BackupError;
use super::build::{Content, Item};
use super::catalog::foreign_root;
use super::entries::{Entry, What};
use super::manifest::{check_relative, encode};
use flate2::read::MultiGzDecoder;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType};

type Give<'a> = dyn FnMut(Item<'_>) -> Result<(), BackupError> + 'a;

/// Gives every entry of an archive, in its order, to `give`. The whole is read, so that one that was cut off
/// is noticed.
///
/// # Errors
/// [`BackupError::Escapes`] for an entry that leads elsewhere, or is neither file, folder nor link;
/// [`BackupError::Damaged`] when it is no whole archive; what `give` gives.
pub fn each(path: &Path, give: &mut Give<'_>) -> Result<(), BackupError> {
    let damaged = |e: std::io::Error| BackupError::Damaged { backup: path.to_owned(), why: e.to_string() };
    let file = File::open(path).map_err(BackupError::read(path))?;
    let mut archive = Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let (found, size) = (parse(&mut entry).map_err(|e| e.of(path))?, entry.size());
        let content = match found.what {
            What::File { .. } => Content::Stream { source: &mut entry, size },
            What::Folder | What::Link { .. } => Content::None,
        };
        give(Item { entry: found, content })?;
    }
    // The checksum is at the very end.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(damaged)?;
    Ok(())
}

enum Refused {
    Escapes(String, &'static str),
    Damaged(std::io::Error),
}

impl Refused {
    fn of(self, archive: &Path) -> BackupError {
        match self {
            Refused::Escapes(path, why) => BackupError::Escapes { path, why },
            Refused::Damaged(e) => BackupError::Damaged { backup: archive.to_owned(), why: e.to_string() },
        }
    }
}

fn parse<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Entry, Refused> {
    let said = entry.path_bytes().into_owned();
    let plain = said.strip_prefix(b"./").unwrap_or(&said);
    let plain = plain.strip_suffix(b"/").unwrap_or(plain);
    let path = PathBuf::from(OsStr::from_bytes(plain));
    let shown = encode(Path::new(OsStr::from_bytes(&said)));
    let escapes = |why| Refused::Escapes(shown.clone(), why);
    check_relative(&path).map_err(escapes)?;
    // In the archive the data folder is `data`, and so it is among saved files.
    if !path.starts_with(foreign_root().saved()) {
        return Err(escapes("it is not in the data folder"));
    }
    let what = match entry.header().entry_type() {
        EntryType::Directory => What::Folder,
        EntryType::Regular | EntryType::Continuous => What::File { size: entry.size(), sha256: None },
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = PathBuf::from(OsStr::from_bytes(&target));
            if !stays_inside(&path, &target) {
                return Err(escapes("it is a link that leads out of the data folder"));
            }
            What::Link { target }
        }
        _ => return Err(escapes("it is neither a file, nor a folder, nor a symbolic link")),
    };
    let mode = entry.header().mode().map_err(Refused::Damaged)?;
    let mtime = i64::try_from(entry.header().mtime().map_err(Refused::Damaged)?).unwrap_or_default();
    Ok(Entry { path, mode, mtime_ns: mtime.saturating_mul(1_000_000_000), what })
}

/// Whether a link at `path` leads to something below the first name of `path`.
fn stays_inside(path: &Path, target: &Path) -> bool {
    // What is restored as a whole is no link.
    let mut depth = match path.components().count() {
        0 | 1 => return false,
        count => count - 1,
    };
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            // At depth 1 this would leave the data folder.
            Component::ParentDir if depth > 1 => depth -= 1,
            _ => return false,
        }
    }
    !target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let check = |path: &str, target: &str| stays_inside(Path::new(path), Path::new(target));
        assert!(check("data/a", "b") && check("data/a/b", "../c") && check("data/a/b/c", "./../../d/e"));
        for (path, target) in [
            ("data/a", "/etc"),
            ("data/a", ".."),
            ("data/a", "../x"),
            ("data/a/b", "../../x"),
            ("data/a", ""),
        ] {
            assert!(!check(path, target), "{path} -> {target}");
        }
        assert!(!check("data", "x"), "the data folder itself is no link");
    }
}
