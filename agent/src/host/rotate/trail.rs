//! A log and its rotated parts as one stream of bytes, also while it is rotated and while it grows.
use super::record::{How, Record, Stand};
use super::{named, rotated};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a rotation under way is waited for; one that takes longer was left by a crash.
const SETTLE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 3000 });
const LOOK: Duration = Duration::from_millis(10);

/// The stream. Positions count from the first byte that was ever written, as far as that is known; they stay the
/// same when bytes move from the log to a rotated file.
#[derive(Debug)]
pub struct Trail {
    path: PathBuf,
    /// The rotation that was waited for in vain.
    left: RefCell<Option<Record>>,
}

/// One look at everything there is.
struct Map {
    record: Record,
    /// Rotated parts, the oldest first, with their first positions.
    parts: Vec<(u64, u64, PathBuf)>,
    log: Option<File>,
    /// First position in the log.
    base: u64,
    /// Where the log begins in its file.
    start: u64,
    end: u64,
}

impl Trail {
    /// The stream of the log at `path`.
    pub fn new(path: PathBuf) -> Trail {
        Trail { path, left: RefCell::default() }
    }

    /// The log's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// First position that still is there, and the one behind the last byte.
    ///
    /// # Errors
    /// When a file cannot be looked at. A log that is not there is an empty one.
    pub fn span(&self) -> io::Result<(u64, u64)> {
        let map = self.steady(|map| Ok(Some((map.first(), map.end))))?;
        Ok(map.unwrap_or_default())
    }

    /// Reads from a position on; 0 bytes at the end of the stream. Bytes that are gone are skipped: the position
    /// that was read from comes back.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<(u64, usize)> {
        let got = self.steady(|map| map.read(at, buffer))?;
        Ok(got.unwrap_or((at, 0)))
    }

    /// Does something that holds only if no rotation came between. `None` asks for another look.
    fn steady<T>(&self, mut look: impl FnMut(&Map) -> io::Result<Option<T>>) -> io::Result<Option<T>> {
        let end = Instant::now() + SETTLE;
        loop {
            let late = Instant::now() >= end;
            let map = Map::of(&self.path)?;
            let left = self.left.borrow().as_ref() == Some(&map.record);
            if map.record.cut.is_none() || late || left {
                let seen = look(&map);
                let same = Record::read(&self.path)? == map.record;
                match seen {
                    Ok(Some(seen)) if same || late => {
                        *self.left.borrow_mut() = map.record.cut.is_some().then_some(map.record);
                        return Ok(Some(seen));
                    }
                    // A part that took another number meanwhile.
                    Err(e) if same || late => return Err(e),
                    Ok(None) if late => return Ok(None),
                    _ => {}
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Map {
    fn of(path: &Path) -> io::Result<Map> {
        let mut record = Record::read(path)?;
        let seen = record.clone();
        let log = match File::open(path) {
            Ok(log) => Some(log),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(named("opening", path, e)),
        };
        let mut skipped = 0;
        if let Some(log) = &log {
            let cut = record.cut.take();
            let stand = cut.as_ref().map(|cut| record.judge(log, path, cut)).transpose()?;
            record.begin_with(log)?;
            // Left by a crash: what is in the copy already is passed over in the log.
            if let (Some(cut), Some(Stand::Copied | Stand::Taken)) = (&cut, stand) {
                record.base += cut.bytes;
                if stand == Some(Stand::Copied) || cut.how == How::Punch {
                    skipped = cut.bytes;
                }
            }
        }
        let mut parts = Vec::new();
        let mut total = 0;
        for (_, part) in rotated(path) {
            let size = match part.metadata() {
                Ok(metadata) => metadata.len(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            parts.push((total, size, part));
            total += size;
        }
        let base = record.base.max(total);
        for (first, _, _) in &mut parts {
            *first += base - total;
        }
        let size = log.as_ref().map_or(Ok(0), |log| log.metadata().map(|m| m.len()))?;
        let start = (record.start + skipped).min(size);
        Ok(Map { record: seen, parts, log, base, start, end: base + size - start })
    }

    fn first(&self) -> u64 {
        self.parts.first().map_or(self.base, |(first, _, _)| *first)
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<Option<(u64, usize)>> {
        let at = at.max(self.first());
        if at >= self.base {
            let Some(log) = &self.log else { return Ok(Some((at, 0))) };
            return Ok(Some((at, log.read_at(buffer, self.start + at - self.base)?)));
        }
        let part = self.parts.iter().find(|(first, size, _)| at < first + size);
        let Some((first, _, path)) = part else { return Ok(None) };
        match File::open(path).and_then(|file| file.read_at(buffer, at - first)) {
            Ok(0) => Ok(None),
            Ok(n) => Ok(Some((at, n))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(named("reading", path, e)),
        }
    }
}
