//! What can go wrong with a network.
use super::rpc::RpcError;
use crate::devnode::datadir::DatadirError;
use crate::devnode::genesis::GenesisError;
use crate::devnode::release::ReleaseError;
use std::io;
use std::path::PathBuf;

/// A network cannot be made, or one of its processes not be handled.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// A value of the specification.
    #[error("{0}")]
    Spec(String),
    /// The execution layer's program is not there.
    #[error("anvil was not found: run `npm ci` in indexer/contracts, or name it by ANVIL or --anvil")]
    NoAnvil,
    /// A file.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No free port.
    #[error("no {wanted} free ports between 20000 and 32000")]
    Ports {
        /// How many were wanted.
        wanted: usize,
    },
    /// A program cannot be started.
    #[error("cannot start {program}")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process cannot be signalled or waited for.
    #[error("cannot {what} the process of {name}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Whose process.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A process did not end in time.
    #[error("{name} did not end within {limit_ms} ms")]
    DidNotEnd {
        /// Whose process.
        name: String,
        /// How long it was given.
        limit_ms: u128,
    },
    /// There is no such node.
    #[error("the network has no node {0:?}")]
    NoNode(String),
    /// It runs already.
    #[error("{0} runs already")]
    Running(String),
    /// It does not run.
    #[error("{0} does not run")]
    NotRunning(String),
    /// The execution layer did not come up.
    #[error("anvil did not answer on {url}; its log is {log}")]
    AnvilSilent {
        /// Where it should listen.
        url: String,
        /// Its log.
        log: PathBuf,
    },
    /// A data folder.
    #[error(transparent)]
    Datadir(#[from] DatadirError),
    /// The genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A release.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A call.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Makes a [`DevnetError::File`] out of an I/O error.
pub(super) fn file(what: &'static str, path: &std::path::Path) -> impl Fn(io::Error) -> DevnetError {
    let path = path.to_owned();
    move |source| DevnetError::File { what, path: path.clone(), source }
}
