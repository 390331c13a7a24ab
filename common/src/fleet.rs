//! The nodes we are responsible for, as registered.
use crate::chain::Address;
use crate::id::{NetworkName, NodeName};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Proposes and seals blocks.
    Validator,
    /// Shields validators from the public network.
    Sentry,
    /// Serves JSON-RPC.
    Rpc,
    /// Keeps all historical state.
    Archive,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Validator => "validator",
            Role::Sentry => "sentry",
            Role::Rpc => "rpc",
            Role::Archive => "archive",
        })
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "validator" => Ok(Role::Validator),
            "sentry" => Ok(Role::Sentry),
            "rpc" => Ok(Role::Rpc),
            "archive" => Ok(Role::Archive),
            other => Err(format!("{other:?} is no role: validator, sentry, rpc or archive")),
        }
    }
}

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name, unique in the fleet.
    pub name: NodeName,
    /// The network it belongs to.
    pub network: NetworkName,
    /// What it is for.
    pub role: Role,
    /// Free labels for selectors, for example `zone`, `provider`, `canary`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The address it seals with; required for a validator.
    #[serde(default)]
    pub validator: Option<Address>,
    /// `user@host:port` for installation over SSH; `None` for a node enrolled by token.
    #[serde(default)]
    pub ssh: Option<String>,
    /// Whether scheduling leaves it alone (`cordon`).
    #[serde(default)]
    pub cordoned: bool,
    /// When it was registered.
    pub added_at: UnixMs,
    /// SHA-256 of the public key its agent enrolled with (DER, SubjectPublicKeyInfo); `None` until then.
    #[serde(default)]
    pub agent_key: Option<crate::release::Digest>,
}
