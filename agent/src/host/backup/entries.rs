//! The list of what a backup holds: a JSON object a line, in the order of the paths, never whole in memory.
use super::BackupError;
use super::manifest::{Root, bytes_of, decode, encode};
use common::release::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// File name of the list once every file has its digest.
pub const SEALED: &str = "entries.jsonl";
/// File name of the list before.
pub const UNSEALED: &str = "unsealed.jsonl";
/// Longest line read, in bytes: two encoded paths of 4096 bytes and the rest.
const MAX_LINE: u64 = 32 * 1024;

/// One saved folder, file or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below `files/` of the backup.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Last modification, in ns since 1970.
    pub mtime_ns: i64,
    /// What it is.
    pub what: What,
}

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A folder.
    Folder,
    /// An ordinary file.
    File {
        /// Its length, in bytes.
        size: u64,
        /// Its digest; not there before it is sealed.
        sha256: Option<Digest>,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
}

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    mode: u32,
    mtime_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Line {
        let (size, sha256, link) = match &entry.what {
            What::Folder => (None, None, None),
            What::File { size, sha256 } => (Some(*size), *sha256, None),
            What::Link { target } => (None, None, Some(encode(target))),
        };
        let (mode, mtime_ns) = (entry.mode, entry.mtime_ns);
        Line { path: encode(&entry.path), mode, mtime_ns, size, sha256, link }
    }
}

/// Writes a list.
#[derive(Debug)]
pub struct EntryWriter {
    path: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
}

impl EntryWriter {
    /// Begins a list.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: PathBuf) -> Result<EntryWriter, BackupError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let out = BufWriter::new(file.map_err(BackupError::write(&path))?);
        Ok(EntryWriter { path, out, hash: Sha256::new() })
    }

    /// Adds an entry. They come in the order of their paths.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, entry: &Entry) -> Result<(), BackupError> {
        let failed = BackupError::write(&self.path);
        let mut line = serde_json::to_vec(&Line::from(entry)).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        self.hash.update(&line);
        self.out.write_all(&line).map_err(failed)
    }

    /// Makes the list durable and gives its digest.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub fn finish(mut self) -> Result<Digest, BackupError> {
        let failed = BackupError::write(&self.path);
        self.out.flush().map_err(&failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        Ok(Digest(self.hash.finalize().into()))
    }
}

/// Reads a list, which may come from anywhere. Each path leads down from a root, its folder came before it,
/// and none comes twice.
#[derive(Debug)]
pub struct EntryReader {
    backup: PathBuf,
    lines: BufReader<File>,
    roots: Vec<PathBuf>,
    last: PathBuf,
    /// Folders that `last` is in, and `last` itself if it is one.
    open: Vec<PathBuf>,
}

impl EntryReader {
    /// Opens the list `name` of a backup.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(backup: &Path, name: &str, roots: &[Root]) -> Result<EntryReader, BackupError> {
        let path = backup.join(name);
        let file = File::open(&path).map_err(BackupError::read(&path))?;
        Ok(EntryReader {
            backup: backup.to_owned(),
            lines: BufReader::new(file),
            roots: roots.iter().map(Root::saved).collect(),
            last: PathBuf::new(),
            open: Vec::new(),
        })
    }

    fn parse(&mut self, line: &[u8]) -> Result<Entry, BackupError> {
        let damaged = |why: String| BackupError::Damaged { backup: self.backup.clone(), why };
        let line: Line = serde_json::from_slice(line).map_err(|e| damaged(format!("its list: {e}")))?;
        let escapes = |why| BackupError::Escapes { path: line.path.clone(), why };
        let path = decode(&line.path).map_err(escapes)?;
        let what = match (line.size, line.sha256, line.link) {
            (None, None, None) => What::Folder,
            (Some(size), sha256, None) => What::File { size, sha256 },
            (None, None, Some(target)) => What::Link { target: bytes_of(&target) },
            _ => return Err(damaged(format!("its list says of {:?} that it is two things", line.path))),
        };
        if path <= self.last {
            return Err(damaged(format!("its list has {:?} twice or out of order", line.path)));
        }
        while self.open.last().is_some_and(|folder| !path.starts_with(folder)) {
            self.open.pop();
        }
        if self.roots.contains(&path) {
            // A root needs no folder before it.
        } else if self.open.last().is_none_or(|folder| path.parent() != Some(folder)) {
            return Err(escapes("no folder of this backup holds it"));
        }
        if what == What::Folder {
            self.open.push(path.clone());
        }
        self.last.clone_from(&path);
        Ok(Entry { path, mode: line.mode, mtime_ns: line.mtime_ns, what })
    }
}

impl Iterator for EntryReader {
    type Item = Result<Entry, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.last() == Some(&b'\n') => Some(self.parse(&line)),
            Ok(_) => {
                let why = "its list has a line that is cut off or too long".to_owned();
                Some(Err(BackupError::Damaged { backup: self.backup.clone(), why }))
            }
            Err(e) => Some(Err(BackupError::read(&self.backup)(e))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, what: What) -> Entry {
        Entry { path: path.into(), mode: 0o640, mtime_ns: -5, what }
    }

    fn file() -> What {
        What::File { size: 3, sha256: Some(Digest([3; 32])) }
    }

    fn read(entries: &[Entry]) -> Result<Vec<Entry>, BackupError> {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EntryWriter::create(folder.path().join(SEALED)).unwrap();
        entries.iter().for_each(|e| writer.add(e).unwrap());
        let digest = writer.finish().unwrap();
        assert_eq!(digest, crate::host::files::digest_of(&folder.path().join(SEALED)).unwrap());
        let roots = [Root::try_from("home/data".to_owned()).unwrap()];
        EntryReader::open(folder.path(), SEALED, &roots)?.collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let target = PathBuf::from("/mnt/slow disk");
        let entries = [
            entry("home/data", What::Folder),
            entry("home/data/a", What::Folder),
            entry("home/data/a/x", What::Folder),
            entry("home/data/a/x/1", file()),
            entry("home/data/a/y", What::Link { target }),
            entry("home/data/b", What::File { size: 0, sha256: None }),
        ];
        assert_eq!(read(&entries).unwrap(), entries);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let data = || entry("home/data", What::Folder);
        let link = |path: &str| entry(path, What::Link { target: "/etc".into() });
        for (case, entries) in [
            ("other root", vec![entry("home/other", What::Folder)]),
            ("above the root", vec![entry("home", What::Folder)]),
            ("up", vec![data(), entry("home/data/../x", file())]),
            ("absolute", vec![data(), entry("/etc/passwd", file())]),
            ("through a link", vec![data(), link("home/data/l"), entry("home/data/l/passwd", file())]),
            ("below a file", vec![data(), entry("home/data/f", file()), entry("home/data/f/g", file())]),
            ("no folder", vec![data(), entry("home/data/a/b", file())]),
            ("twice", vec![data(), link("home/data/l"), entry("home/data/l", What::Folder)]),
            ("back", vec![data(), entry("home/data/b", What::Folder), entry("home/data/a", file())]),
        ] {
            assert!(read(&entries).is_err(), "{case}");
        }
    }
}
