//! The fleet's files on a host: key, certificate, CA, and where the fleet is.
use crate::host::files::replace;
use common::id::NodeName;
use common::manifest::TrustRoot;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct FleetFiles(PathBuf);

/// What enrolment wrote down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The coordinator.
    pub url: String,
    /// This node's name.
    pub node: NodeName,
    /// Whom this host believes, when the installation said so.
    #[serde(default)]
    pub trust: Option<TrustRoot>,
}

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl FleetFiles {
    /// The files in a folder.
    pub fn new(folder: PathBuf) -> FleetFiles {
        FleetFiles(folder)
    }

    /// The private key.
    pub fn key(&self) -> PathBuf {
        self.0.join("agent.key")
    }

    /// The certificate chain.
    pub fn certificate(&self) -> PathBuf {
        self.0.join("agent.crt")
    }

    /// The only CA this host accepts.
    pub fn ca(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// What enrolment wrote down.
    pub fn membership(&self) -> PathBuf {
        self.0.join("membership.json")
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        let failed = |source| FileError { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed)?;
        replace(path, bytes, mode).map_err(failed)
    }

    /// Writes the private key, readable by the owner only.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_key(&self, pem: &str) -> Result<(), FileError> {
        self.write(&self.key(), pem.as_bytes(), 0o600)
    }

    /// Replaces the certificate chain.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_certificate(&self, pem: &str) -> Result<(), FileError> {
        self.write(&self.certificate(), pem.as_bytes(), 0o644)
    }

    /// Writes the CA.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_ca(&self, pem: &str) -> Result<(), FileError> {
        self.write(&self.ca(), pem.as_bytes(), 0o644)
    }

    /// Writes down where the fleet is. Keys of maintainers that this host has already are kept: nobody
    /// but the operator on the host changes whom it believes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_membership(&self, mut membership: Membership) -> Result<(), FileError> {
        if let Some(before) = self.read_membership()?.and_then(|m| m.trust) {
            membership.trust = Some(before);
        }
        let path = self.membership();
        let bytes = serde_json::to_vec_pretty(&membership)
            .map_err(|e| FileError { path: path.clone(), source: e.into() })?;
        self.write(&path, &bytes, 0o644)
    }

    /// Reads what enrolment wrote down; `None` when this host is in no fleet.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read_membership(&self) -> Result<Option<Membership>, FileError> {
        let path = self.membership();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError { path, source }),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| FileError { path, source: e.into() })
    }
}
