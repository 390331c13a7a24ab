//! One named file out of an archive; nothing else of it is ever written.
//!
//! The whole archive is looked at before anything is written: one entry that would escape, a link, or a
//! size beyond the cap refuses all of it. It is then read again for the one member.
use super::source::Packing;
use super::tarball;
use common::release::Digest;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zip::ZipArchive;

/// What the list of files in a zip archive may take, in bytes read.
const ZIP_LIST_BYTES: u64 = 8 << 20;
/// Headers and padding of a tar archive beside its files, in bytes.
const TAR_OVERHEAD: u64 = 4 << 20;
/// How many names of members an error shows.
const NAMES_SHOWN: usize = 5;

/// Why an archive gives no executable.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Broken, or of a kind that is not understood.
    #[error("the archive cannot be read: {0}")]
    Unreadable(String),
    /// A name that leads out of the archive.
    #[error("the archive is hostile: the entry {0:?} would be written elsewhere")]
    Escape(String),
    /// A link, a device, …
    #[error("the archive is not accepted: the entry {0:?} is no plain file or folder")]
    NoFile(String),
    /// Too large unpacked.
    #[error("the archive unpacks to more than the {0} bytes that [download] max_bytes allows")]
    TooLarge(u64),
    /// The member is there more than once.
    #[error("the archive is ambiguous: it holds both {0:?} and {1:?}")]
    Ambiguous(String, String),
    /// The member is not there.
    #[error("the archive does not contain {wanted}; it has: {there}")]
    Missing {
        /// What was looked for.
        wanted: String,
        /// The first of what is there.
        there: String,
    },
    /// The member needs a password.
    #[error("the entry {0:?} is encrypted")]
    Encrypted(String),
}

/// Writes the one member of an archive that has one of these names to `to`, mode 0600, and gives its digest.
///
/// # Errors
/// [`ArchiveError`]; `to` is then to be removed.
pub fn unpack(
    archive: &Path,
    packing: Packing,
    members: &[String],
    most: u64,
    to: &Path,
) -> Result<Digest, ArchiveError> {
    let failed = |source| ArchiveError::Io { path: archive.to_owned(), source };
    let file = File::open(archive).map_err(failed)?;
    match packing {
        Packing::Raw => Err(ArchiveError::Unreadable("it is no archive".to_owned())),
        Packing::Zip => unpack_zip(file, members, most, to),
        Packing::Tar | Packing::TarGz => {
            let mut choice = Choice::new(members);
            let size = |size: u64| if size > most { Err(ArchiveError::TooLarge(most)) } else { Ok(()) };
            tarball::walk(stream(&file, packing, most), most, |entry, _| {
                size(entry.size)?;
                choice.look(entry.index, entry.name)?;
                Ok(true)
            })?;
            let wanted = choice.chosen()?;
            (&file).seek(SeekFrom::Start(0)).map_err(failed)?;
            let mut digest = None;
            tarball::walk(stream(&file, packing, most), most, |entry, content| {
                if entry.index == wanted {
                    digest = Some(copy(content, entry.size, to)?);
                }
                Ok(digest.is_none())
            })?;
            digest.ok_or_else(|| ArchiveError::Unreadable("it changed while it was read".to_owned()))
        }
    }
}

fn stream(file: &File, packing: Packing, most: u64) -> Capped<Box<dyn Read + '_>> {
    let buffered = BufReader::with_capacity(64 * 1024, file);
    let inner: Box<dyn Read> = match packing {
        Packing::TarGz => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        _ => Box::new(buffered),
    };
    Capped { inner, left: Rc::new(Cell::new(most.saturating_add(TAR_OVERHEAD))) }
}

fn unpack_zip(file: File, members: &[String], most: u64, to: &Path) -> Result<Digest, ArchiveError> {
    let unreadable = |e: zip::result::ZipError| ArchiveError::Unreadable(e.to_string());
    let left = Rc::new(Cell::new(ZIP_LIST_BYTES));
    let reader = Capped { inner: BufReader::new(file), left: Rc::clone(&left) };
    let mut archive = ZipArchive::new(reader).map_err(unreadable)?;
    let mut choice = Choice::new(members);
    for index in 0..archive.len() {
        left.set(ZIP_LIST_BYTES);
        let entry = archive.by_index_raw(index).map_err(unreadable)?;
        let raw = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let name = plain_name(entry.name_raw())?;
        let kind = entry.unix_mode().unwrap_or_default() & 0o170_000;
        if entry.is_symlink() || !matches!(kind, 0 | 0o040_000 | 0o100_000) {
            return Err(ArchiveError::NoFile(raw));
        }
        if entry.size() > most {
            return Err(ArchiveError::TooLarge(most));
        }
        if !entry.is_dir() {
            choice.look(index, &name)?;
        }
    }
    let wanted = choice.chosen()?;
    left.set(u64::MAX);
    let entry = archive.by_index_raw(wanted).map_err(unreadable)?;
    if entry.encrypted() {
        return Err(ArchiveError::Encrypted(String::from_utf8_lossy(entry.name_raw()).into_owned()));
    }
    drop(entry);
    let mut entry = archive.by_index(wanted).map_err(unreadable)?;
    let size = entry.size();
    copy(&mut entry, size, to)
}

/// Copies exactly `size` bytes; an entry that gives more or fewer than it says is refused.
fn copy(from: &mut dyn Read, size: u64, to: &Path) -> Result<Digest, ArchiveError> {
    let failed = |source| ArchiveError::Io { path: to.to_owned(), source };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed)?;
    let (mut hash, mut done) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut buffer).map_err(|e| ArchiveError::Unreadable(e.to_string()))?;
        if n == 0 {
            break;
        }
        done += n as u64;
        if done > size {
            return Err(ArchiveError::Unreadable(format!(
                "an entry is longer than the {size} bytes it says"
            )));
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(failed)?;
    }
    if done < size {
        return Err(ArchiveError::Unreadable(format!("an entry has {done} of the {size} bytes it says")));
    }
    Ok(Digest(hash.finalize().into()))
}

/// The name of an entry as a plain path: `.` parts are left out.
pub(super) fn plain_name(raw: &[u8]) -> Result<String, ArchiveError> {
    let text = String::from_utf8_lossy(raw);
    let escapes = text.starts_with('/') || text.contains(['\\', '\0']) || text.split('/').any(|p| p == "..");
    if escapes {
        return Err(ArchiveError::Escape(text.chars().take(200).collect()));
    }
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    Ok(parts.join("/"))
}

/// Which entry is the one that is wanted.
struct Choice<'a> {
    members: &'a [String],
    found: Option<(usize, String)>,
    there: Vec<String>,
}

impl<'a> Choice<'a> {
    fn new(members: &'a [String]) -> Choice<'a> {
        Choice { members, found: None, there: Vec::new() }
    }

    fn look(&mut self, index: usize, name: &str) -> Result<(), ArchiveError> {
        if self.there.len() < NAMES_SHOWN {
            self.there.push(name.escape_default().take(100).collect());
        }
        if !self.members.iter().any(|m| m == name) {
            return Ok(());
        }
        match self.found.replace((index, name.to_owned())) {
            Some((_, before)) => Err(ArchiveError::Ambiguous(before, name.to_owned())),
            None => Ok(()),
        }
    }

    fn chosen(self) -> Result<usize, ArchiveError> {
        let there = if self.there.is_empty() { "no file".to_owned() } else { self.there.join(", ") };
        let missing = ArchiveError::Missing { wanted: self.members.join(" or "), there };
        self.found.map(|(index, _)| index).ok_or(missing)
    }
}

/// A reader that fails once more has been read through it than is left.
pub(super) struct Capped<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

/// What [`Capped`] fails with.
#[derive(Debug, thiserror::Error)]
#[error("more is in it than is accepted")]
pub(super) struct OverCap;

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(n as u64).ok_or_else(|| io::Error::other(OverCap))?;
        self.left.set(left);
        Ok(n)
    }
}

impl<R: Seek> Seek for Capped<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
