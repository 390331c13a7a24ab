//! The entries of a tar archive, with bounded memory: names that are written as entries of their own
//! (GNU long names, pax headers) are read here, where their size is looked at first.
use super::archive::{ArchiveError, OverCap, plain_name};
use std::io::{self, Read};
use tar::{Archive, EntryType, PaxExtensions};

/// Longest entry that only describes the next one, in bytes.
const MOST_DESCRIPTION: u64 = 64 * 1024;

/// A plain file in an archive.
pub(super) struct Member<'a> {
    /// Its place among the entries.
    pub index: usize,
    /// Its name as a plain path.
    pub name: &'a str,
    /// Its size, in bytes.
    pub size: u64,
}

/// Shows every plain file to `visit`, until that says `false`. Folders are passed over, everything else
/// is refused.
pub(super) fn walk(
    reader: impl Read,
    most: u64,
    mut visit: impl FnMut(&Member<'_>, &mut dyn Read) -> Result<bool, ArchiveError>,
) -> Result<(), ArchiveError> {
    let unreadable = |e: io::Error| match e.get_ref().is_some_and(|inner| inner.is::<OverCap>()) {
        true => ArchiveError::TooLarge(most),
        false => ArchiveError::Unreadable(e.to_string()),
    };
    let mut archive = Archive::new(reader);
    let mut long: Option<Vec<u8>> = None;
    for (index, entry) in archive.entries().map_err(unreadable)?.raw(true).enumerate() {
        let mut entry = entry.map_err(unreadable)?;
        let kind = entry.header().entry_type();
        let raw = long.clone().unwrap_or_else(|| entry.header().path_bytes().into_owned());
        match kind {
            EntryType::GNULongName | EntryType::XHeader => {
                let told = describe(&mut entry, kind)?;
                long = told.or(long);
                continue;
            }
            // What git and others write about the archive as a whole.
            EntryType::XGlobalHeader => continue,
            EntryType::Directory => {
                plain_name(&raw)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                let (name, size) = (plain_name(&raw)?, entry.size());
                let mut content = entry.take(size);
                if !visit(&Member { index, name: &name, size }, &mut content)? {
                    return Ok(());
                }
            }
            _ => return Err(ArchiveError::NoFile(String::from_utf8_lossy(&raw).into_owned())),
        }
        long = None;
    }
    Ok(())
}

/// What an entry says about the name of the next one.
fn describe(entry: &mut impl Read, kind: EntryType) -> Result<Option<Vec<u8>>, ArchiveError> {
    let unreadable = |why: &str| ArchiveError::Unreadable(why.to_owned());
    let mut text = Vec::new();
    entry
        .take(MOST_DESCRIPTION + 1)
        .read_to_end(&mut text)
        .map_err(|e| ArchiveError::Unreadable(e.to_string()))?;
    if text.len() as u64 > MOST_DESCRIPTION {
        return Err(unreadable("the description of an entry is too long"));
    }
    if kind == EntryType::GNULongName {
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        text.truncate(end);
        return Ok(Some(text));
    }
    let mut name = None;
    for extension in PaxExtensions::new(&text) {
        let extension = extension.map_err(|_| unreadable("a pax header is broken"))?;
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            // Readers that follow it and readers that do not would see different archives.
            b"size" | b"linkpath" => return Err(unreadable("a pax header changes a size or a link")),
            key if key.starts_with(b"GNU.sparse") => return Err(unreadable("sparse files are not unpacked")),
            _ => {}
        }
    }
    Ok(name)
}
