//! Which bytes: digests and artifacts of the chain client.
use crate::id::ReleaseName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest. Written as 64 hexadecimal digits, with or without `0x`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is not a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256 digest: 64 hexadecimal digits are expected")]
pub struct DigestError(pub String);

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)
            .map_err(|_| DigestError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// One file of a release for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Operating system as Rust names it, for example `linux`.
    pub os: String,
    /// Architecture as Rust names it, for example `x86_64`.
    pub arch: String,
    /// Variant of the build, for example the database engine; `None` when there is one build only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Where the maintainers publish it. Agents may fetch the same bytes from the coordinator's mirror by digest.
    pub url: String,
    /// Digest of the file at `url`.
    pub sha256: Digest,
    /// Size of the file at `url` in bytes.
    pub size: u64,
    /// Path of the executable inside the archive at `url`; `None` when the file is the executable itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Digest of the unpacked executable; there exactly when `member` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_sha256: Option<Digest>,
}

impl Artifact {
    /// Digest of what is run: the unpacked member's, else the file's own.
    pub fn executable(&self) -> Digest {
        self.executable_sha256.unwrap_or(self.sha256)
    }

    /// What is wrong with the way the executable is named, if anything: `member` and
    /// `executable_sha256` come together, and a member's path stays inside its archive.
    pub fn member_fault(&self) -> Option<&'static str> {
        let member = match (&self.member, &self.executable_sha256) {
            (None, None) => return None,
            (Some(_), None) => return Some("member is set, executable_sha256 is missing"),
            (None, Some(_)) => return Some("executable_sha256 is set, member is missing"),
            (Some(member), Some(_)) => member,
        };
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let inside = member.split('/').all(plain) && !member.contains(['\\', '\0']);
        (!inside).then_some("member is no plain path inside an archive")
    }
}

/// A release as an instruction names it. The bytes are decided by the signed manifest behind `manifest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// The release.
    pub name: ReleaseName,
    /// Its place in the maintainers' order; grows with every release.
    pub sequence: u64,
    /// SHA-256 of the manifest's bytes.
    pub manifest: Digest,
}

/// A release that is on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRelease {
    /// The release, `genesis` for the one the host started with.
    pub name: ReleaseName,
    /// Its sequence; 0 for a release that came without a manifest.
    pub sequence: u64,
    /// Digest of the executable.
    pub digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(rest: &str) -> Artifact {
        let sha256 = Digest([1; 32]);
        let text = format!(
            r#"{{"os":"linux","arch":"x86_64","url":"https://r.example.org/x","sha256":"{sha256}","size":1{rest}}}"#
        );
        let artifact: Artifact = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&artifact).unwrap(), text, "nothing is added to what was published");
        artifact
    }

    fn member(path: &str) -> Artifact {
        let quoted = serde_json::to_string(path).unwrap();
        artifact(&format!(r#","member":{quoted},"executable_sha256":"{}""#, Digest([2; 32])))
    }

    #[test]
    fn the_executable_is_the_file_or_its_member() {
        let raw = artifact("");
        assert_eq!((raw.executable(), raw.member_fault()), (Digest([1; 32]), None));
        let packed = member("pkg/bin/geth");
        assert_eq!((packed.executable(), packed.member_fault()), (Digest([2; 32]), None));
    }

    #[test]
    fn a_member_is_named_completely_and_stays_inside() {
        let half =
            [r#","member":"geth""#.to_owned(), format!(r#","executable_sha256":"{}""#, Digest([2; 32]))];
        for rest in half {
            assert!(artifact(&rest).member_fault().unwrap().contains("missing"), "{rest}");
        }
        for bad in ["", "/geth", "../geth", "a/../geth", "./geth", "a//geth", "a/", "a\\geth", "a\0"] {
            assert!(member(bad).member_fault().unwrap().contains("plain path"), "{bad:?}");
        }
    }
}
