//! What is remembered of a log's rotations, and of the one under way.
//!
//! Order of a rotation: the copy is durable under a temporary name; the cut is written down; the copy gets its
//! name; the bytes are taken out; that is written down. After a crash the copy's temporary name says whether it
//! was copied. Whether a collapse happened is told by the bytes that followed the cut: the file only grows, so
//! where it was, they are the first ones. Where that cannot be told apart the bytes are kept a second time.
use super::{folder, head_digest, numbered, part};
use crate::host::files;
use common::release::Digest;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How bytes are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// What follows moves to the front.
    Collapse,
    /// They become a hole.
    Punch,
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// Bytes to be taken out.
    pub bytes: u64,
    /// How.
    pub how: How,
    /// Digest of the bytes that followed them when it was begun.
    pub tail: Digest,
    /// How many those are.
    pub tail_bytes: u64,
    /// Whether they are kept in a copy.
    pub copied: bool,
}

/// How far a rotation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// The copy has no name yet.
    NotCopied,
    /// The bytes are in the copy and in the log.
    Copied,
    /// The bytes are out of the log, or it cannot be told.
    Taken,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Device of the log.
    pub device: u64,
    /// Inode of the log; another one is another log.
    pub inode: u64,
    /// Bytes ever taken out.
    pub base: u64,
    /// Where the log begins: all before is a hole.
    pub start: u64,
    /// What is under way.
    #[serde(default)]
    pub cut: Option<Cut>,
}

impl Record {
    fn path(log: &Path) -> PathBuf {
        let name = log.file_name().unwrap_or_default().to_string_lossy();
        log.with_file_name(format!(".{name}.rotation"))
    }

    /// What is remembered of the log at `path`. A record that cannot be understood is none: it is written whole, so
    /// somebody else damaged it.
    pub fn read(path: &Path) -> io::Result<Record> {
        match std::fs::read(Record::path(path)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(e) => Err(e),
        }
    }

    /// Makes the record durable.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        debug_assert!(folder(path).is_dir());
        files::replace(&Record::path(path), &serde_json::to_vec(self)?, 0o640)
    }

    /// Whether this is the log that is remembered.
    fn is_of(&self, log: &File) -> io::Result<bool> {
        let metadata = log.metadata()?;
        Ok((metadata.dev(), metadata.ino()) == (self.device, self.inode))
    }

    /// Holds the record against the log as it is: a new file, or one that was emptied, has no hole.
    pub fn begin_with(&mut self, log: &File) -> io::Result<()> {
        let metadata = log.metadata()?;
        let mut first = [0];
        let hole = self.is_of(log)?
            && metadata.len() >= self.start
            && (log.read_at(&mut first, 0)? == 0 || first == [0]);
        if !hole {
            self.start = 0;
        }
        (self.device, self.inode) = (metadata.dev(), metadata.ino());
        Ok(())
    }

    /// How far a rotation got.
    pub fn judge(&self, log: &File, path: &Path, cut: &Cut) -> io::Result<Stand> {
        if part(path).exists() {
            return Ok(Stand::NotCopied);
        }
        if !self.is_of(log)? {
            return Ok(Stand::Taken);
        }
        let size = log.metadata()?.len();
        let there = match cut.how {
            // Doing it twice is as doing it once.
            How::Punch => size >= self.start + cut.bytes,
            How::Collapse => {
                size > cut.bytes
                    && head_digest(log, 0, cut.tail_bytes)? != cut.tail
                    && is_copied(log, path, cut)?
            }
        };
        Ok(if there { Stand::Copied } else { Stand::Taken })
    }
}

/// Whether the first bytes are those of the copy, where there is to be one.
fn is_copied(log: &File, path: &Path, cut: &Cut) -> io::Result<bool> {
    Ok(!cut.copied || files::digest_of(&numbered(path, 1))? == head_digest(log, 0, cut.bytes)?)
}
