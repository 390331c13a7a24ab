//! Operators: bearer tokens of 256 random bits, stored hashed, with a role and an end.
use common::release::Digest;
use common::time::UnixMs;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an operator may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Look.
    Viewer,
    /// Register nodes, add releases, draft, pause, resume, promote, retry, abort.
    Operator,
    /// Approve and roll back.
    Approver,
    /// Tokens, certificates, join tokens.
    Admin,
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OperatorRole::Viewer => "viewer",
            OperatorRole::Operator => "operator",
            OperatorRole::Approver => "approver",
            OperatorRole::Admin => "admin",
        })
    }
}

impl FromStr for OperatorRole {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(OperatorRole::Viewer),
            "operator" => Ok(OperatorRole::Operator),
            "approver" => Ok(OperatorRole::Approver),
            "admin" => Ok(OperatorRole::Admin),
            other => Err(format!("{other:?} is no role: viewer, operator, approver or admin")),
        }
    }
}

/// What is stored of a token: never the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// SHA-256 of the token; names it in `token revoke`.
    pub id: Digest,
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// End of validity.
    pub expires_at: UnixMs,
}

/// A one-time token for one node's enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRecord {
    /// SHA-256 of the token.
    pub id: Digest,
    /// The only node it enrols.
    pub node: common::id::NodeName,
    /// End of validity, at most 15 minutes after its making.
    pub expires_at: UnixMs,
}

/// A new token: 256 random bits in hexadecimal, and what is stored of it.
pub fn new_token() -> (String, Digest) {
    let mut bytes = [0u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    let token = hex::encode(bytes);
    let id = Digest::of(token.as_bytes());
    (token, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_found_by_digest() {
        let ((a, id), (b, _)) = (new_token(), new_token());
        assert_ne!(a, b);
        assert_eq!(a.len(), 64);
        assert_eq!(Digest::of(a.as_bytes()), id);
    }

    #[test]
    fn roles_include_those_before() {
        assert!(
            OperatorRole::Admin > OperatorRole::Approver && OperatorRole::Operator > OperatorRole::Viewer
        );
        assert!("root".parse::<OperatorRole>().is_err());
    }
}
