//! The one error body: `application/problem+json`.
use crate::artifacts::ArtifactError;
use crate::enrol::CaError;
use crate::fleet::FleetError;
use axum::response::{IntoResponse, Response};
use common::wire::problem::Problem;
use http::StatusCode;

/// An error answer.
#[derive(Debug)]
pub struct Trouble(pub Problem);

impl Trouble {
    /// An error with a stable code.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let request_id = format!("{:016x}", rand::random::<u64>());
        Trouble(Problem { code: code.into(), status, detail: detail.into(), hint: None, request_id })
    }

    /// With advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(code = self.0.code, request = self.0.request_id, "{}", self.0.detail);
        }
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(http::header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<FleetError> for Trouble {
    fn from(e: FleetError) -> Self {
        match e {
            FleetError::Refused { status, code, detail, hint } => {
                let trouble = Trouble::new(status, code, detail);
                match hint {
                    Some(hint) => trouble.hint(hint),
                    None => trouble,
                }
            }
            FleetError::Conflict => Trouble::new(409, "conflict", e.to_string()),
            other => Trouble::new(500, "store", other.to_string()),
        }
    }
}

impl From<CaError> for Trouble {
    fn from(e: CaError) -> Self {
        match e {
            CaError::Request(_) => Trouble::new(400, "bad-request-certificate", e.to_string()),
            other => Trouble::new(500, "ca", other.to_string()),
        }
    }
}

impl From<ArtifactError> for Trouble {
    fn from(e: ArtifactError) -> Self {
        let status = match &e {
            ArtifactError::Url { .. } | ArtifactError::Size { .. } | ArtifactError::Digest { .. } => 422,
            ArtifactError::Fetch { .. } => 502,
            ArtifactError::Disk { .. } => 507,
        };
        Trouble::new(status, e.code(), e.to_string())
    }
}

impl From<axum::extract::rejection::JsonRejection> for Trouble {
    fn from(e: axum::extract::rejection::JsonRejection) -> Self {
        Trouble::new(e.status().as_u16(), "bad-body", e.body_text())
    }
}

impl From<axum::extract::rejection::PathRejection> for Trouble {
    fn from(e: axum::extract::rejection::PathRejection) -> Self {
        Trouble::new(400, "bad-path", e.body_text())
    }
}

impl From<axum::extract::rejection::QueryRejection> for Trouble {
    fn from(e: axum::extract::rejection::QueryRejection) -> Self {
        Trouble::new(400, "bad-query", e.body_text())
    }
}
