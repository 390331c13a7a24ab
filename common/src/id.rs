//! Names of things. One grammar for all: `^[a-z0-9][a-z0-9._-]{0,63}$`.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name accepted, in bytes.
pub const MAX_NAME_LEN: usize = 64;

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
                check($kind, &text)?;
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
    /// A release of the chain client.
    ReleaseName,
    "release name"
);
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
    fn json_refuses_what_the_grammar_refuses() {
        assert!(serde_json::from_str::<NodeName>("\"val-1\"").is_ok());
        let said = serde_json::from_str::<NodeName>("\"Val 1\"").unwrap_err().to_string();
        assert!(said.contains("is no node name"), "{said}");
    }
}
