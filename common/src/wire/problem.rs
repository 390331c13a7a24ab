//! The one error body of every HTTP answer (RFC 9457, `application/problem+json`).
use serde::{Deserialize, Serialize};

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code in `kebab-case`; each has a row in `docs/operations.md`.
    pub code: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong, naming the thing.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Id of the request, also in the coordinator's log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}
