//! What makes one release differ from another although all are one binary: a trailer behind the end of the executable.
use common::chain::Fork;
use common::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const MAGIC: &[u8; 8] = b"DEVNODE1";
/// Bytes behind the JSON: its length (u32, little endian) and the magic.
const TAIL: u64 = 12;
const MAX_TRAILER: u64 = 64 * 1024;

/// What a release does besides its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Behaviour {
    /// Nothing special.
    #[default]
    Normal,
    /// Exits with code 1 as soon as it is told to run (`version` and `init` work).
    ExitAtStart,
    /// Follows the chain and answers RPC, but neither proposes nor votes.
    NeverSeals,
    /// Waits this long before it opens anything.
    SlowStart(Span),
    /// Runs for this long, then exits with code 1.
    ExitAfter(Span),
}

/// A text that names no behaviour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no behaviour: normal, exit-at-start, never-seals, slow-start=3s or exit-after=3s")]
pub struct BehaviourError(String);

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::ExitAtStart => f.write_str("exit-at-start"),
            Self::NeverSeals => f.write_str("never-seals"),
            Self::SlowStart(span) => write!(f, "slow-start={span}"),
            Self::ExitAfter(span) => write!(f, "exit-after={span}"),
        }
    }
}

impl FromStr for Behaviour {
    type Err = BehaviourError;
    fn from_str(text: &str) -> Result<Self, BehaviourError> {
        let bad = || BehaviourError(text.to_owned());
        match text.split_once('=') {
            None => match text {
                "normal" => Ok(Self::Normal),
                "exit-at-start" => Ok(Self::ExitAtStart),
                "never-seals" => Ok(Self::NeverSeals),
                _ => Err(bad()),
            },
            Some(("slow-start", span)) => Ok(Self::SlowStart(span.parse().map_err(|_| bad())?)),
            Some(("exit-after", span)) => Ok(Self::ExitAfter(span.parse().map_err(|_| bad())?)),
            Some(_) => Err(bad()),
        }
    }
}

impl TryFrom<String> for Behaviour {
    type Error = BehaviourError;
    fn try_from(text: String) -> Result<Self, BehaviourError> {
        text.parse()
    }
}

impl From<Behaviour> for String {
    fn from(behaviour: Behaviour) -> String {
        behaviour.to_string()
    }
}

/// A release of the devnode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Version as `devnode version` prints it.
    pub version: semver::Version,
    /// Forks this release knows.
    #[serde(default)]
    pub forks: Vec<Fork>,
    /// What it does besides its duty.
    #[serde(default)]
    pub behaviour: Behaviour,
}

/// A release cannot be read from an executable.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The executable cannot be read.
    #[error("cannot read the executable {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The trailer is damaged.
    #[error("the release trailer of {path} is damaged: {why}")]
    Trailer {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Release {
    /// The release of an executable without a trailer.
    pub fn unmarked() -> Self {
        Self { version: semver::Version::new(1, 0, 0), forks: Vec::new(), behaviour: Behaviour::Normal }
    }

    /// Reads the release of an executable.
    ///
    /// # Errors
    /// The file cannot be read, or ends in a damaged trailer.
    pub fn of_executable(path: &Path) -> Result<Self, ReleaseError> {
        Ok(read_trailer(path)?.1.unwrap_or_else(Self::unmarked))
    }

    /// The identity of the rules this release follows at `height`: its forks up to there.
    pub fn fork_id(&self, height: u64) -> String {
        fork_id(&self.forks, height)
    }

    /// The executable's bytes without a trailer, for stamping.
    ///
    /// # Errors
    /// The file cannot be read, or ends in a damaged trailer.
    pub fn code_of(path: &Path) -> Result<Vec<u8>, ReleaseError> {
        let (code_len, _) = read_trailer(path)?;
        let mut code =
            std::fs::read(path).map_err(|source| ReleaseError::Read { path: path.into(), source })?;
        code.truncate(usize::try_from(code_len).unwrap_or(usize::MAX));
        Ok(code)
    }

    /// The trailer that marks an executable as this release.
    ///
    /// # Errors
    /// The release does not fit into a trailer.
    pub fn trailer(&self) -> Result<Vec<u8>, ReleaseError> {
        let bad = |why: String| ReleaseError::Trailer { path: PathBuf::from("(new)"), why };
        let mut bytes = serde_json::to_vec(self).map_err(|e| bad(e.to_string()))?;
        let len = u32::try_from(bytes.len()).map_err(|e| bad(e.to_string()))?;
        if u64::from(len) > MAX_TRAILER {
            return Err(bad(format!("{len} bytes, at most {MAX_TRAILER} are allowed")));
        }
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        Ok(bytes)
    }
}

/// The identity of a fork schedule at `height`: `boho@300+next@500`, or `genesis` before the first fork.
pub fn fork_id(forks: &[Fork], height: u64) -> String {
    let mut active: Vec<_> = forks.iter().filter(|f| f.height <= height).collect();
    active.sort_by(|a, b| (a.height, &a.name).cmp(&(b.height, &b.name)));
    if active.is_empty() {
        return "genesis".to_owned();
    }
    active.iter().map(|f| format!("{}@{}", f.name, f.height)).collect::<Vec<_>>().join("+")
}

/// Length of the code, and the release behind it if there is one.
fn read_trailer(path: &Path) -> Result<(u64, Option<Release>), ReleaseError> {
    let io = |source| ReleaseError::Read { path: path.to_owned(), source };
    let bad = |why: String| ReleaseError::Trailer { path: path.to_owned(), why };
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size < TAIL {
        return Ok((size, None));
    }
    let mut tail = [0; 12];
    file.seek(SeekFrom::Start(size - TAIL)).map_err(io)?;
    file.read_exact(&mut tail).map_err(io)?;
    if &tail[4..] != MAGIC {
        return Ok((size, None));
    }
    let len = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if len > MAX_TRAILER || len + TAIL > size {
        return Err(bad(format!("it claims {len} bytes")));
    }
    let start = size - TAIL - len;
    let mut json = vec![0; usize::try_from(len).unwrap_or(0)];
    file.seek(SeekFrom::Start(start)).map_err(io)?;
    file.read_exact(&mut json).map_err(io)?;
    let release = serde_json::from_slice(&json).map_err(|e| bad(e.to_string()))?;
    Ok((start, Some(release)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_is_found_again_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        std::fs::write(&path, b"#!code of some length").unwrap();
        assert_eq!(Release::of_executable(&path).unwrap(), Release::unmarked());
        let release = Release {
            version: semver::Version::new(1, 1, 0),
            forks: vec![Fork { name: "boho".into(), height: 300 }],
            behaviour: "slow-start=1500ms".parse().unwrap(),
        };
        let mut bytes = Release::code_of(&path).unwrap();
        bytes.extend(release.trailer().unwrap());
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Release::of_executable(&path).unwrap(), release);
        assert_eq!(Release::code_of(&path).unwrap(), b"#!code of some length");
        let len = bytes.len();
        bytes[len - 20] = b'!';
        std::fs::write(&path, &bytes).unwrap();
        assert!(Release::of_executable(&path).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn fork_ids_differ_from_the_height_on() {
        let new = vec![Fork { name: "boho".into(), height: 300 }];
        assert_eq!(fork_id(&new, 299), fork_id(&[], 299));
        assert_ne!(fork_id(&new, 300), fork_id(&[], 300));
    }
}
