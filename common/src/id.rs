//! Names of things. One grammar for all: `^[a-z0-9][a-z0-9._-]{0,63}$`. Only a release can have a wider
//! one on a host, because its name there is the folder that an upgrade plan of the chain named.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name accepted, in bytes.
pub const MAX_NAME_LEN: usize = 64;
/// Longest name of a release on a host, in bytes.
pub const MAX_RELEASE_NAME_LEN: usize = 128;

/// A text that is not a name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a {kind} must not be empty")]
    Empty {
        /// What was being named.
        kind: &'static str,
    },
    /// The text is longer than [`MAX_NAME_LEN`].
    #[error("a {kind} has at most 64 characters, this one has {len}")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The text holds a character the grammar does not allow.
    #[error(
        "{text:?} is no {kind}: lower-case letters, digits, '.', '_' and '-' only, and a letter or digit first"
    )]
    Character {
        /// What was being named.
        kind: &'static str,
        /// The refused text.
        text: String,
    },
    /// The name of a release is longer than [`MAX_RELEASE_NAME_LEN`].
    #[error("a release name has at most 128 bytes, this one has {len}")]
    ReleaseTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The name of a release holds a character that no folder of a release has.
    #[error(
        "{text:?} is no release name: letters, digits and '.', '_', '%', '~', '+', '-', '@', ':', '$', '&', '=' only, and a letter, a digit or '%' first"
    )]
    ReleaseCharacter {
        /// The refused text.
        text: String,
    },
}

/// The grammar of a release's name on a host: what Go's `url.PathEscape` leaves of an upgrade's name, so
/// that the folders of homes that other supervisors made can be named. Never `.` or `..`, no separator.
fn check_release(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAX_RELEASE_NAME_LEN {
        return Err(NameError::ReleaseTooLong { len: text.len() });
    }
    let bytes = text.as_bytes();
    let first = bytes[0].is_ascii_alphanumeric() || bytes[0] == b'%';
    if first && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._%~+-@:$&=".contains(b)) {
        Ok(())
    } else {
        Err(NameError::ReleaseCharacter { text: text.to_owned() })
    }
}

fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAX_NAME_LEN {
        return Err(NameError::TooLong { kind, len: text.len() });
    }
    let bytes = text.as_bytes();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ok = plain(bytes[0]) && bytes.iter().all(|&b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
    if ok { Ok(()) } else { Err(NameError::Character { kind, text: text.to_owned() }) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        name_type!($(#[$doc])* $type, $kind, check);
    };
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Takes a text that follows the grammar of names.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check($kind, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name_type!(
    /// One host running one chain client.
    NodeName,
    "node name"
);
name_type!(
    /// A chain network: the domain in which permissions are shared.
    NetworkName,
    "network name"
);
name_type!(
    /// A release of the chain client, as its folder on a host is called. Wider than other names: plans of
    /// the chain name releases too, so letters of both cases and `._%~+-@:$&=` are allowed, up to 128 bytes.
    ReleaseName,
    "release name",
    check_release
);

impl ReleaseName {
    /// Whether the name follows the grammar of all other names, as the name in a manifest must.
    pub fn is_published(&self) -> bool {
        check("release name", &self.0).is_ok()
    }
}

name_type!(
    /// A rollout attempt. The attempt, not the release, is the identity: a release can be tried twice.
    RolloutId,
    "rollout id"
);
name_type!(
    /// A configured stage of a policy.
    StageName,
    "stage name"
);
name_type!(
    /// A rollout policy.
    PolicyName,
    "policy name"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for good in ["a", "0", "val-07", "v1.2.3_rc", &"x".repeat(64)] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "é", "a\n", "../x", &"x".repeat(65)] {
            assert!(NodeName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn releases_have_the_folders_of_other_supervisors() {
        for good in ["genesis", "Chain2", "my%20up", "%E2%9C%93", "a.b_c~d+e-f@g:h$i&j=k", &"x".repeat(128)] {
            let name = ReleaseName::new(good);
            assert!(name.is_ok(), "{good}: {name:?}");
        }
        for bad in
            ["", ".", "..", ".a", "-a", "~a", "a/b", "a b", "a\\b", "é", "a\n", "a\0", &"x".repeat(129)]
        {
            assert!(ReleaseName::new(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<ReleaseName>("\"../x\"").is_err());
    }

    #[test]
    fn a_published_release_has_a_strict_name() {
        let published = |text: &str| ReleaseName::new(text).unwrap().is_published();
        assert!(published("v1.2.3-rc_1") && published(&"x".repeat(64)));
        for local in ["Chain2", "my%20up", "v2+fix", "a@b", &"x".repeat(65)] {
            assert!(!published(local), "{local}");
        }
    }

    #[test]
    fn json_refuses_what_the_grammar_refuses() {
        assert!(serde_json::from_str::<NodeName>("\"val-1\"").is_ok());
        let said = serde_json::from_str::<NodeName>("\"Val 1\"").unwrap_err().to_string();
        assert!(said.contains("is no node name"), "{said}");
    }
}
