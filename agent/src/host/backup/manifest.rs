//! What a backup says of itself: a short manifest, and a list of its entries that is read as a stream.
use super::BackupError;
use crate::host::files;
use common::release::{Digest, InstalledRelease};
use common::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The manifest's form.
pub const SCHEMA: u32 = 1;
/// File name of the manifest.
pub const FILE: &str = "manifest.json";
/// Largest manifest read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What a backup is. Its entries are in a file of their own, because there can be a million of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Why it was made.
    pub label: String,
    /// When it was begun.
    pub made_at: UnixMs,
    /// Version of the agent that made it.
    pub made_by: String,
    /// The release that ran before.
    pub release: Option<InstalledRelease>,
    /// The node's head, when it was known.
    pub height: Option<u64>,
    /// Whether the node ran meanwhile, so that the files may not fit each other.
    pub live: bool,
    /// Whether every file has its digest.
    pub sealed: bool,
    /// Whether keys were saved.
    pub keys: bool,
    /// What was saved; in the order of their paths, none within another.
    pub roots: Vec<Root>,
    /// Patterns of what was left out.
    pub exclude: Vec<String>,
    /// How much it holds.
    pub totals: Totals,
    /// Digest of the list of entries.
    pub entries: Digest,
}

/// A manifest as it is stored. The checksum is over the manifest's JSON with sorted keys.
#[derive(Serialize, Deserialize)]
struct Stored {
    sha256: Digest,
    manifest: serde_json::Value,
}

/// What a path starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// The node's data, where it is outside the home.
    Data,
    /// The home.
    Home,
}

/// A folder or file that is saved whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Root {
    /// What its path starts from.
    pub base: Base,
    /// Its path from there; empty for the base itself.
    pub path: PathBuf,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Ordinary files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Length of all files, in bytes.
    pub bytes: u64,
    /// What they take on disk, in bytes; less than their length where they have holes.
    pub allocated: u64,
    /// Files whose blocks are shared with the node's (reflink).
    pub shared: u64,
    /// Sockets, FIFOs and devices that were left out.
    pub special: u64,
    /// Keys and folders of keys that were left out.
    pub keys_left_out: u64,
    /// What patterns left out; a folder counts once.
    pub excluded: u64,
    /// Files that went away while a running node's data was copied.
    pub vanished: u64,
}

impl Totals {
    /// Everything that is saved, in number.
    pub fn entries(&self) -> u64 {
        self.files.saturating_add(self.folders).saturating_add(self.links)
    }
}

impl Base {
    fn word(self) -> &'static str {
        match self {
            Base::Data => "data",
            Base::Home => "home",
        }
    }
}

impl Root {
    /// Where it lies among the saved files: `home/…` or `data/…`.
    pub fn saved(&self) -> PathBuf {
        if self.path.as_os_str().is_empty() {
            PathBuf::from(self.base.word())
        } else {
            Path::new(self.base.word()).join(&self.path)
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.saved()))
    }
}

impl From<Root> for String {
    fn from(root: Root) -> String {
        root.to_string()
    }
}

impl TryFrom<String> for Root {
    type Error = String;
    fn try_from(text: String) -> Result<Root, String> {
        let path = decode(&text).map_err(|why| format!("{text:?}: {why}"))?;
        for base in [Base::Data, Base::Home] {
            if let Ok(rest) = path.strip_prefix(base.word()) {
                return Ok(Root { base, path: rest.to_owned() });
            }
        }
        Err(format!("{text:?} begins with neither home nor data"))
    }
}

/// Writes a path so that any bytes survive JSON and no terminal is harmed: `%XX` for whatever is not plain.
pub fn encode(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    const ODD: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::percent_encode(path.as_os_str().as_bytes(), ODD).to_string()
}

/// Reads a relative path that leads nowhere but down.
///
/// # Errors
/// Why it is refused.
pub fn decode(text: &str) -> Result<PathBuf, &'static str> {
    let path = bytes_of(text);
    if path.is_absolute() {
        return Err("it is absolute");
    }
    check_relative(&path)?;
    Ok(path)
}

/// Reads any path, as targets of links are.
pub fn bytes_of(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(percent_encoding::percent_decode_str(text).collect()))
}

/// Whether a path is relative, written plainly, and leads only down.
///
/// # Errors
/// Why not.
pub fn check_relative(path: &Path) -> Result<(), &'static str> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    if bytes.contains(&0) {
        return Err("it holds a zero byte");
    }
    for name in bytes.split(|b| *b == b'/') {
        match name {
            b"" => return Err("it is empty, absolute, or holds an empty name"),
            b"." | b".." => return Err("it holds '.' or '..'"),
            _ => {}
        }
    }
    debug_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
    Ok(())
}

/// Writes the manifest of the backup in `folder`; durable when this returns.
///
/// # Errors
/// [`BackupError::Write`] or [`BackupError::Full`]; a former one is then still there.
pub fn write(folder: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let path = folder.join(FILE);
    let failed = BackupError::write(&path);
    let manifest = serde_json::to_value(manifest).map_err(|e| failed(e.into()))?;
    let stored = Stored { sha256: Digest::of(manifest.to_string().as_bytes()), manifest };
    let bytes = serde_json::to_vec_pretty(&stored).map_err(|e| failed(e.into()))?;
    files::replace(&path, &bytes, 0o600).map_err(failed)
}

/// Reads the manifest of the backup in `folder`.
///
/// # Errors
/// [`BackupError::NotOne`] where there is none, [`BackupError::Damaged`] when it is not what was written.
pub fn read(folder: &Path) -> Result<Manifest, BackupError> {
    use std::io::Read;
    let path = folder.join(FILE);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Err(BackupError::NotOne(folder.to_owned()));
        }
        Err(e) => return Err(BackupError::read(&path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(BackupError::read(&path))?;
    let damaged = |why: String| BackupError::Damaged { backup: folder.to_owned(), why };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| damaged(format!("{FILE}: {e}")))?;
    if Digest::of(stored.manifest.to_string().as_bytes()) != stored.sha256 {
        return Err(damaged(format!("the checksum of {FILE} differs")));
    }
    if stored.manifest.get("schema") != Some(&SCHEMA.into()) {
        let schema = stored.manifest.get("schema").map(ToString::to_string).unwrap_or_default();
        return Err(damaged(format!("{FILE} has schema {schema} where {SCHEMA} is known")));
    }
    let manifest: Manifest =
        serde_json::from_value(stored.manifest).map_err(|e| damaged(format!("{FILE}: {e}")))?;
    check(&manifest).map_err(damaged)?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.roots.is_empty() {
        return Err(format!("{FILE} names no roots"));
    }
    let saved: Vec<PathBuf> = manifest.roots.iter().map(Root::saved).collect();
    match saved.windows(2).find(|w| w[0] >= w[1] || w[1].starts_with(&w[0])) {
        Some(pair) => Err(format!("{FILE} names {:?} after {:?}", encode(&pair[1]), encode(&pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn sample() -> Manifest {
        Manifest {
            schema: SCHEMA,
            label: "manual".into(),
            made_at: UnixMs(1_767_225_600_000),
            made_by: "0.1.0".into(),
            release: None,
            height: Some(7),
            live: false,
            sealed: true,
            keys: false,
            roots: vec!["home/data".to_owned().try_into().unwrap()],
            exclude: vec![],
            totals: Totals::default(),
            entries: Digest::of(b""),
        }
    }

    #[test]
    fn what_was_written_is_read_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(BackupError::NotOne(_))));
        write(folder.path(), &sample()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), sample());
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, says) in [
            ("\"height\": 7", "\"height\": 8", "checksum"),
            ("{", "", "manifest.json"),
            ("\"manifest\"", "\"manifold\"", "manifold"),
        ] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("damaged") && error.contains(says) || says == "manifold", "{error}");
        }
        write(folder.path(), &Manifest { schema: 2, ..sample() }).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("schema 2"));
        let nested: Vec<Root> = ["home/a", "home/a/b"].map(|r| Root::try_from(r.to_owned()).unwrap()).into();
        write(folder.path(), &Manifest { roots: nested, ..sample() }).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("home/a/b"));
    }

    #[test]
    fn paths_lead_only_down() {
        for bad in ["", "/a", "a/../b", "..", "a//b", "./a", "a/", "a/%2e%2e/b", "a%00b", "%2fetc"] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
        use std::os::unix::ffi::OsStrExt;
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"a\xff%\n/\xc3\xa9 b"));
        assert_eq!(encode(odd), "a%FF%25%0A/%C3%A9 b");
        assert_eq!(decode(&encode(odd)).unwrap(), odd);
    }

    #[test]
    fn roots_are_read() {
        let root = |text: &str| Root::try_from(text.to_owned());
        assert_eq!(root("home").unwrap(), Root { base: Base::Home, path: PathBuf::new() });
        assert_eq!(root("home/a b/c").unwrap().to_string(), "home/a b/c");
        assert_eq!(root("data").unwrap().base, Base::Data);
        for bad in ["", "etc", "/home", "home/../etc", "homer"] {
            assert!(root(bad).is_err(), "{bad:?}");
        }
    }
}
