//! The socket in the home that `status` asks, and the memory of the node's chain.
use super::Driver;
use crate::home::Home;
use crate::host::files;
use crate::host::verify::ChainId;
use crate::sync::Contact;
use common::wire::v1::NodeReport;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

/// What a running agent says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the agent.
    pub agent_pid: u32,
    /// The home.
    pub home: String,
    /// The node's name.
    pub node: String,
    /// Newest generation stored.
    pub generation: u64,
    /// Everything the coordinator is told.
    pub report: NodeReport,
    /// How it stands with the coordinator; `None` in no fleet.
    pub contact: Option<Contact>,
}

/// Opens the socket in the working folder, which is the home's.
pub(super) fn listen() -> io::Result<UnixListener> {
    // The home's lock is held, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(Home::control_name());
    let listener = UnixListener::bind(Home::control_name())?;
    let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(Home::control_name(), only_us)?;
    Ok(listener)
}

impl Driver {
    /// Says everything and closes.
    pub(super) fn answer(&self, mut stream: UnixStream) {
        let request = self.reports.borrow().clone();
        let contact =
            self.parts.coordinator.as_ref().and_then(|_| Some(self.parts.contact.lock().ok()?.clone()));
        let status = Status {
            agent_pid: std::process::id(),
            home: self.parts.home.base.display().to_string(),
            node: request.node.to_string(),
            generation: request.generation,
            report: request.report,
            contact,
        };
        let Ok(bytes) = serde_json::to_vec(&status) else { return };
        tokio::spawn(async move {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        });
    }
}

/// What the node's chain was when it last said so: a release can then be staged with the node down.
pub(super) fn remembered_chain(home: &Home) -> Option<ChainId> {
    serde_json::from_slice(&std::fs::read(home.chain()).ok()?).ok()
}

pub(super) fn remember_chain(home: &Home, chain: Option<ChainId>) {
    let written = serde_json::to_vec(&chain).map_err(io::Error::from);
    let written = written.and_then(|bytes| files::replace(&home.chain(), &bytes, 0o644));
    if let Err(error) = written {
        tracing::warn!(%error, "the node's chain could not be written down");
    }
}
