//! Files that are either as before or complete.
use common::release::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces a file: written beside it, flushed, renamed, folder flushed. Durable when this returns.
///
/// # Errors
/// The first operation that fails; the file is then as before.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = beside(path);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

/// A name beside `path` for its successor. One writer per home makes the name unique.
pub fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Makes renames in a folder durable.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The digest of everything `reader` gives.
///
/// # Errors
/// When reading fails.
pub fn digest(mut reader: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The digest of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(path: &Path) -> io::Result<Digest> {
    digest(File::open(path)?)
}

/// A file that is removed again unless it is kept.
#[derive(Debug)]
pub struct Temporary(Option<PathBuf>);

impl Temporary {
    /// Watches over `path`.
    pub fn new(path: PathBuf) -> Temporary {
        Temporary(Some(path))
    }

    /// The file has got its final name.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
