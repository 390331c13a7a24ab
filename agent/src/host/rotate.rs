//! Rotation of a file that a process appends to without knowing of it.
//!
//! The node keeps its file open and goes on writing when the agent is dead, so the file is neither renamed nor
//! truncated: its first bytes are copied to `FILE.1`, made durable, and then taken out of the file in place, where
//! the file system can (collapse), else given back as a hole (punch). Appending goes on meanwhile and loses nothing.
//!
//! What is under way is written down before it is done (see [`record`]), so that a crash at any moment repeats
//! bytes at worst. [`Trail`] reads all of it as one stream.
mod record;
mod trail;

pub use trail::Trail;

use super::{disk, files};
use record::{Cut, How, Record};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Cuts are made at multiples of this where files are large, for file systems with large clusters.
const LARGE_STEP: u64 = 64 * 1024;

/// Takes the first bytes out of the log at `path` when it is larger than `max_bytes`, and keeps them as `FILE.1`;
/// older ones are `FILE.2` and so on, `keep` of them. With `keep` 0 they are thrown away. What a crash left half way
/// is finished first. `max_bytes` 0 is never. Blocks on the disk: not for the thread that serves everything.
///
/// Gives whether something was taken out. A file of less than three blocks never is.
///
/// # Errors
/// When the file cannot be read, or its copy not be written; the log is then as before. Where the file system can
/// neither collapse nor punch, [`io::ErrorKind::Unsupported`].
pub fn rotate_if_due(path: &Path, max_bytes: u64, keep: u32) -> io::Result<bool> {
    rotate(path, max_bytes, keep, How::Collapse)
}

fn rotate(path: &Path, max_bytes: u64, keep: u32, how: How) -> io::Result<bool> {
    let log = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(log) => log,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(named("opening", path, e)),
    };
    let metadata = log.metadata()?;
    if max_bytes == 0 || !metadata.is_file() {
        return Ok(false);
    }
    let mut record = Record::read(path)?;
    if let Some(cut) = record.cut.take() {
        settle(&log, path, &mut record, cut)?;
    }
    record.begin_with(&log)?;
    let unit = step(&log, &metadata);
    let size = log.metadata()?.len();
    let held = size - record.start;
    // A block or two stay, by which it can be told later whether the cut was made.
    let bytes = (held / unit * unit).saturating_sub(unit);
    if held <= max_bytes || bytes == 0 {
        return Ok(false);
    }
    // What is copied may not be taken back by a power cut, or the cut would take something else.
    log.sync_data().map_err(|e| named("flushing", path, e))?;
    let how = if record.start > 0 { How::Punch } else { how };
    let tail = head_digest(&log, record.start + bytes, held - bytes)?;
    let cut = Cut { bytes, how, tail, tail_bytes: held - bytes, copied: keep > 0 };
    if cut.copied {
        copy_with_room(&log, path, record.start, bytes, keep)?;
    }
    record.base = record.base.max(rotated_bytes(path));
    record.cut = Some(cut.clone());
    // From here on the copy stays when something fails: that it has no name yet says how far this got.
    record.write(path)?;
    if cut.copied {
        shift(path, keep)?;
        std::fs::rename(part(path), numbered(path, 1)).map_err(|e| named("renaming a copy of", path, e))?;
        files::sync_folder(folder(path))?;
    }
    take_out(&log, path, &mut record, &cut)?;
    Ok(true)
}

fn rotated_bytes(path: &Path) -> u64 {
    rotated(path).iter().filter_map(|(_, part)| part.metadata().ok()).map(|m| m.len()).sum()
}

/// Takes the bytes of a cut out of the log, and writes down that it is so.
fn take_out(log: &File, path: &Path, record: &mut Record, cut: &Cut) -> io::Result<()> {
    let mut how = cut.how;
    if how == How::Collapse {
        match fallocate(log, FallocateFlags::COLLAPSE_RANGE, 0, cut.bytes) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                // Before it is done: afterwards nobody could tell what was meant.
                how = How::Punch;
                record.cut = Some(Cut { how, ..cut.clone() });
                record.write(path)?;
            }
            Err(e) => return Err(named("collapsing", path, e.into())),
        }
    }
    if how == How::Punch {
        let end = record.start + cut.bytes;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(log, flags, 0, end).map_err(|e| match e {
            Errno::OPNOTSUPP | Errno::NOSYS => io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "the file system of {} can take nothing out of a file; put [log] node_file elsewhere, or set \
                     node_max_bytes = 0",
                    path.display()
                ),
            ),
            e => named("punching", path, e.into()),
        })?;
        record.start = end;
    }
    log.sync_all().map_err(|e| named("flushing", path, e))?;
    record.base += cut.bytes;
    record.cut = None;
    record.write(path)
}

/// Finishes what a crash left half way.
fn settle(log: &File, path: &Path, record: &mut Record, cut: Cut) -> io::Result<()> {
    match record.judge(log, path, &cut)? {
        // The copy has not got its name: it never happened.
        record::Stand::NotCopied => {
            match std::fs::remove_file(part(path)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            record.write(path)
        }
        record::Stand::Copied => {
            record.cut = Some(cut.clone());
            take_out(log, path, record, &cut)
        }
        record::Stand::Taken => {
            record.base += cut.bytes;
            record.write(path)
        }
    }
}

/// Copies; where the disk is full the oldest copy, whose time it is anyway, makes room.
fn copy_with_room(log: &File, path: &Path, from: u64, bytes: u64, keep: u32) -> io::Result<()> {
    match copy(log, path, from, bytes) {
        Err(e) if disk::is_full(&e) => {
            let oldest = rotated(path).into_iter().find(|(number, _)| *number >= keep);
            let Some((_, oldest)) = oldest else { return Err(e) };
            std::fs::remove_file(oldest)?;
            copy(log, path, from, bytes)
        }
        result => result,
    }
}

/// Copies bytes of the log beside it, durably. The blocks are shared where the file system can.
fn copy(log: &File, path: &Path, from: u64, bytes: u64) -> io::Result<()> {
    let failed = |e| named("copying the beginning of", path, e);
    let to = part(path);
    let temporary = files::Temporary::new(to.clone());
    let mode = log.metadata()?.mode() & 0o777;
    let mut options = OpenOptions::new();
    let target = options.write(true).create(true).truncate(true).mode(mode).open(&to).map_err(failed)?;
    // A descriptor of its own: the position of this one belongs to nobody else.
    let mut source = File::open(path).map_err(failed)?;
    io::Seek::seek(&mut source, io::SeekFrom::Start(from))?;
    let copied = io::copy(&mut source.take(bytes), &mut &target).map_err(failed)?;
    if copied != bytes {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    target.sync_all().map_err(failed)?;
    files::sync_folder(folder(path))?;
    temporary.keep();
    Ok(())
}

/// Moves every copy up by one number and removes those that are too many.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    for (number, old) in rotated(path) {
        if number >= keep {
            std::fs::remove_file(&old)?;
        } else {
            std::fs::rename(&old, numbered(path, number + 1))?;
        }
    }
    Ok(())
}

/// Copies that are there, the oldest first, with their numbers.
fn rotated(path: &Path) -> Vec<(u32, PathBuf)> {
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let entries = std::fs::read_dir(folder(path)).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix(&prefix)?.parse().ok().filter(|n| *n > 0 && *n < 1 << 16);
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|e| Some((number(e.file_name().to_str()?)?, e.path()))).collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{number}"))
}

/// Where a copy grows.
fn part(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What cuts must be a multiple of.
fn step(log: &File, metadata: &std::fs::Metadata) -> u64 {
    let block = rustix::fs::fstatvfs(log).map_or(4096, |s| s.f_bsize.max(s.f_frsize));
    let block = block.max(metadata.blksize()).max(512);
    if metadata.len() >= 16 * LARGE_STEP && LARGE_STEP.is_multiple_of(block) { LARGE_STEP } else { block }
}

/// The digest of `bytes` bytes from `at`.
fn head_digest(log: &File, at: u64, bytes: u64) -> io::Result<common::release::Digest> {
    files::digest(Window { log, at, left: bytes })
}

/// A part of a file, read without moving its position.
struct Window<'a> {
    log: &'a File,
    at: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.log.read_at(&mut buffer[..most], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

fn named(what: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
