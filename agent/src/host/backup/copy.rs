//! One file: cloned where the file system can, otherwise copied with its holes kept.
use common::release::Digest;
use rustix::fs::{Advice, SeekFrom, fadvise, ioctl_ficlone, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// Copies files with one buffer.
pub struct Copier {
    buffer: Vec<u8>,
}

impl Default for Copier {
    fn default() -> Copier {
        Copier { buffer: vec![0; CHUNK] }
    }
}

impl Copier {
    /// Copies all of `source` into the empty file `target` and gives length and digest. Holes stay holes.
    /// `tick` is told how many bytes were done.
    ///
    /// # Errors
    /// The first operation that fails, and which side it was on.
    pub fn copy(
        &mut self,
        source: &File,
        target: &File,
        tick: &mut dyn FnMut(u64),
    ) -> Result<(u64, Digest), CopyError> {
        let length = source.metadata().map_err(CopyError::Source)?.len();
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < length {
            let data = next_data(source, at, length);
            self.zeros(data - at, &mut hash, tick);
            at = data;
            let end = next_hole(source, at, length);
            while at < end {
                let want = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
                let got = source.read_at(&mut self.buffer[..want], at).map_err(CopyError::Source)?;
                if got == 0 {
                    let why = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile");
                    return Err(CopyError::Source(why));
                }
                let bytes = &self.buffer[..got];
                hash.update(bytes);
                target.write_all_at(bytes, at).map_err(CopyError::Target)?;
                at += got as u64;
                tick(got as u64);
            }
        }
        target.set_len(length).map_err(CopyError::Target)?;
        Ok((length, Digest(hash.finalize().into())))
    }

    fn zeros(&mut self, mut count: u64, hash: &mut Sha256, tick: &mut dyn FnMut(u64)) {
        if count > 0 {
            self.buffer.fill(0);
        }
        while count > 0 {
            let now = CHUNK.min(usize::try_from(count).unwrap_or(CHUNK));
            hash.update(&self.buffer[..now]);
            count -= now as u64;
            tick(now as u64);
        }
    }

    /// Length and digest of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&mut self, file: &File, tick: &mut dyn FnMut(u64)) -> io::Result<(u64, Digest)> {
        let mut hash = Sha256::new();
        let mut at = 0;
        loop {
            let got = file.read_at(&mut self.buffer, at)?;
            if got == 0 {
                break;
            }
            hash.update(&self.buffer[..got]);
            at += got as u64;
            tick(got as u64);
        }
        // Backups are read once: what they would take of the page cache is worth more to the node.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        Ok((at, Digest(hash.finalize().into())))
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub enum CopyError {
    /// Reading.
    Source(io::Error),
    /// Writing.
    Target(io::Error),
}

// Where the file system does not tell of holes, everything is data.
fn next_data(file: &File, at: u64, length: u64) -> u64 {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.clamp(at, length),
        // Beyond `at` there is only a hole.
        Err(Errno::NXIO) => length,
        Err(_) => at,
    }
}

fn next_hole(file: &File, at: u64, length: u64) -> u64 {
    // A hole that begins where data was just found can only mean that the file changes: go on chunk by chunk.
    let least = at.saturating_add(CHUNK as u64).min(length);
    match seek(file, SeekFrom::Hole(at)) {
        Ok(hole) if hole > at => hole.min(length),
        Ok(_) => least,
        Err(_) => length,
    }
}

/// Lets `target` share the blocks of `source`; `false` where the file system cannot.
///
/// # Errors
/// When the disk is full or broken.
pub fn clone(source: &File, target: &File) -> io::Result<bool> {
    match ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => Err(e.into()),
        Err(_) => Ok(false),
    }
}

/// Opens an ordinary file for reading; a link, FIFO or device that took its place is refused.
///
/// # Errors
/// When it cannot be opened or is no file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no ordinary file any more"))
    }
}

/// Makes a new file for this process only.
///
/// # Errors
/// When it cannot be made, or is there.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn copied(bytes: &[(u64, &[u8])], length: u64) -> (File, u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let source = create(&folder.path().join("source")).unwrap();
        bytes.iter().for_each(|(at, part)| source.write_all_at(part, *at).unwrap());
        source.set_len(length).unwrap();
        let target = create(&folder.path().join("target")).unwrap();
        let mut told = 0;
        let (size, digest) = Copier::default().copy(&source, &target, &mut |n| told += n).unwrap();
        let whole = crate::host::files::digest_of(&folder.path().join("source")).unwrap();
        assert_eq!(digest, whole);
        assert_eq!(crate::host::files::digest_of(&folder.path().join("target")).unwrap(), whole);
        assert_eq!(Copier::default().digest(&target, &mut |_| ()).unwrap(), (size, whole));
        (target, size, told)
    }

    #[test]
    fn bytes_and_length_are_the_same() {
        let long = vec![7; CHUNK * 2 + 3];
        for (parts, length) in [
            (vec![], 0),
            (vec![], 5_000_000),
            (vec![(0, b"abc".as_slice())], 3),
            (vec![(0, long.as_slice())], long.len() as u64),
            (vec![(3_000_000, b"x".as_slice()), (9_000_000, long.as_slice())], 20_000_000),
        ] {
            let (_, size, told) = copied(&parts, length);
            assert_eq!((size, told), (length, length));
        }
    }

    #[test]
    fn holes_stay_holes() {
        let (target, size, _) = copied(&[(64 << 20, b"end")], (64 << 20) + 3);
        assert_eq!(size, (64 << 20) + 3);
        assert!(target.metadata().unwrap().blocks() * 512 < 1 << 20, "a hole was filled");
    }

    #[test]
    fn only_ordinary_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        assert!(open(&folder.path().join("file")).is_ok());
        assert!(open(&folder.path().join("link")).is_err());
        assert!(open(folder.path()).is_err());
    }
}
