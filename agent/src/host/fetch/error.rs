//! Why a download failed.
use super::archive::ArchiveError;
use super::checksum::Checksum;
use super::executable::ExecutableError;
use super::info::InfoError;
use super::source::SourceError;
use crate::clock;
use crate::host::disk;
use common::id::ReleaseName;
use common::time::Span;
use common::wire::v1::{Fault, FaultCode};
use reqwest::StatusCode;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Why a download failed. URLs are shown without user, password and query.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The settings do not allow it.
    #[error(
        "releases are not fetched from URLs here: set [download] allowed = true, or add the executable with add-upgrade"
    )]
    NotAllowed,
    /// The name is taken.
    #[error("{0} is the release a host starts with; a plan cannot bring it")]
    Reserved(ReleaseName),
    /// It is running with other bytes.
    #[error("{0} is running here with other bytes; its folder is not written to")]
    Occupied(ReleaseName),
    /// The plan names nothing that can be fetched.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// A URL cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The URL is plain http.
    #[error("{0} is plain http: publish it with https, or set [download] http = true")]
    PlainHttp(String),
    /// A name has no address.
    #[error("the name {host} was not resolved: {why}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// An address that is not of the public internet.
    #[error(
        "{host} has the address {address}, which is not public: set [download] private = true if it is meant"
    )]
    Private {
        /// The name.
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// The client cannot be made.
    #[error(
        "the HTTPS client cannot be made: {0}; are CA certificates installed, and is [download] ca right?"
    )]
    Client(String),
    /// The server shows a certificate that is not believed.
    #[error(
        "{url}: the server's certificate is not accepted: {why}; name its CA in [download] ca if it is meant"
    )]
    Certificate {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection failed, broke or went silent.
    #[error("{url} after {done} bytes: {why}")]
    Transport {
        /// The URL.
        url: String,
        /// Bytes that had arrived.
        done: u64,
        /// What happened.
        why: String,
    },
    /// Another status than success.
    #[error("{url}: the server answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects {why}")]
    Redirect {
        /// The URL.
        url: String,
        /// Where to, and why that is not followed.
        why: String,
    },
    /// More bytes than allowed.
    #[error("{url} is longer than {most} bytes ([download] max_bytes, or what its kind may have)")]
    TooLarge {
        /// The URL.
        url: String,
        /// Most bytes accepted.
        most: u64,
    },
    /// Other bytes than the manifest says, by their number.
    #[error("{url} has {found} bytes, its manifest says {wanted}")]
    Length {
        /// The URL.
        url: String,
        /// Bytes by the manifest.
        wanted: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Nothing came.
    #[error("{0}: no content returned")]
    Empty(String),
    /// No checksum by any way.
    #[error("{0} has no checksum: put ?checksum=sha256:HEX into the plan, or publish {0}.sha256 beside it")]
    NoChecksum(String),
    /// A checksum file does not say the checksum.
    #[error("{url} does not say the checksum of {name}")]
    ChecksumFile {
        /// The checksum file.
        url: String,
        /// The file it should name.
        name: String,
    },
    /// Wrong bytes.
    #[error(
        "{url}: checksums did not match: expected {wanted}, got {found}; ask whoever made the plan, the file is not what it names"
    )]
    Checksum {
        /// The URL.
        url: String,
        /// As said.
        wanted: Checksum,
        /// As computed.
        found: Checksum,
    },
    /// The manifest or its signatures are not what they should be.
    #[error("{}", .0.detail)]
    Manifest(Fault),
    /// The archive gives no executable.
    #[error("{url}: {source}")]
    Archive {
        /// The URL.
        url: String,
        /// Why.
        source: ArchiveError,
    },
    /// The file is no executable for this host.
    #[error("{url}: {source}")]
    Executable {
        /// The URL.
        url: String,
        /// Why.
        source: ExecutableError,
    },
    /// Other bytes in the archive than the manifest says.
    #[error("{url}: the executable in the archive has digest {found}, its manifest says {wanted}")]
    Member {
        /// The URL.
        url: String,
        /// By the manifest.
        wanted: common::release::Digest,
        /// As computed.
        found: common::release::Digest,
    },
    /// Too little space.
    #[error("{free} bytes are free at {path}, {need} are needed")]
    Space {
        /// The folder.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        need: u64,
    },
    /// A file cannot be written or read.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process works on it.
    #[error("another process is fetching {0}; wait for it, or end it")]
    Busy(PathBuf),
    /// Time is over.
    #[error("it was not fetched within {within} ([download] within){}", last.as_ref().map(|e| format!("; the last failure: {e}")).unwrap_or_default())]
    Deadline {
        /// The time it had.
        within: Span,
        /// What was tried again last.
        last: Option<Box<FetchError>>,
    },
}

impl FetchError {
    /// Whether another try may help.
    pub fn passing(&self) -> bool {
        match self {
            FetchError::Transport { .. } | FetchError::Resolve { .. } | FetchError::Busy(_) => true,
            FetchError::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            _ => false,
        }
    }

    /// As the machine, the coordinator and the console know it.
    pub fn fault(self) -> Fault {
        if let FetchError::Manifest(fault) = self {
            return fault;
        }
        let full = |e: &io::Error| {
            if disk::is_full(e) { FaultCode::DiskFull } else { FaultCode::ArtifactUnavailable }
        };
        let code = match &self {
            FetchError::Info(_) | FetchError::Reserved(_) => FaultCode::NoArtifact,
            FetchError::Checksum { .. } | FetchError::Length { .. } | FetchError::Member { .. } => {
                FaultCode::DigestMismatch
            }
            FetchError::Occupied(_) => FaultCode::ManifestMismatch,
            FetchError::Archive { source: ArchiveError::Io { source, .. }, .. } => full(source),
            FetchError::Archive { .. } | FetchError::Executable { .. } => FaultCode::BinaryUnusable,
            FetchError::Space { .. } => FaultCode::DiskFull,
            FetchError::Disk { source, .. } => full(source),
            _ => FaultCode::ArtifactUnavailable,
        };
        clock::fault(code, self)
    }
}

/// A failed operation on a file.
pub(crate) fn disk_error(path: &Path) -> impl FnOnce(io::Error) -> FetchError + '_ {
    move |source| FetchError::Disk { path: path.to_owned(), source }
}
