//! The socket in the home: one request a connection, a line of JSON each way.
use super::{Driver, Message, Pending};
use crate::health::Verdict;
use crate::home::Home;
use crate::host::files;
use crate::host::verify::ChainId;
use crate::sync::Contact;
use common::wire::v1::NodeReport;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// How long a client may take to say what it wants.
const WITHIN: Duration = Duration::from_secs(5);
/// Longest request, in bytes.
const MAX_REQUEST: u64 = 64 << 10;

/// What a client asks of a running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Everything the agent knows.
    Status,
    /// Stop the node, then end.
    Stop,
    /// Stop the node and start it again on its current release.
    Restart {
        /// Although the host is in a fleet, whose quorum is not asked.
        force: bool,
    },
    /// Read the settings again.
    Reload,
    /// Become the executable that is on the disk now; the node goes on.
    Replace,
    /// Look at the plan files now.
    Poke,
    /// Releases that failed here may be tried again.
    Forgive,
}

/// What the agent answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// It is done, or being done.
    Done {
        /// What exactly, for people.
        detail: String,
    },
    /// It is not done.
    Refused {
        /// Why.
        why: String,
        /// What to do instead.
        hint: String,
    },
}

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
    /// How the node was judged at the last look.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// The next plan of this host.
    #[serde(default)]
    pub plan: Option<Pending>,
    /// What is wrong with its plan files.
    #[serde(default)]
    pub plan_faults: Vec<String>,
}

/// A request on its way to the driver.
pub(super) struct Asked {
    pub request: Request,
    pub reply: oneshot::Sender<Answer>,
    /// Ends when the answer was handed to the kernel, or nobody wants it any more.
    pub written: oneshot::Receiver<()>,
}

/// Opens the socket in the working folder, which is the home's, and passes on what is asked there.
pub(super) fn listen(home: &Home, post: mpsc::UnboundedSender<Message>) -> io::Result<()> {
    // The home's lock is held, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(Home::control_name());
    let named =
        |e: io::Error| io::Error::new(e.kind(), format!("the socket {}: {e}", home.control().display()));
    let listener = UnixListener::bind(Home::control_name()).map_err(named)?;
    let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(Home::control_name(), only_us).map_err(named)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, post.clone()))),
                // Out of descriptors, most likely; the node matters more than this socket.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream, post: mpsc::UnboundedSender<Message>) {
    // Dropped at the end of this task, when the answer is out.
    let (_written_in, written) = oneshot::channel();
    let answer = match tokio::time::timeout(WITHIN, read(&mut stream)).await {
        Ok(Ok(request)) => {
            let (reply, told) = oneshot::channel();
            if post.send(Message::Asked(Asked { request, reply, written })).is_err() {
                return;
            }
            let Ok(answer) = told.await else { return };
            answer
        }
        Ok(Err(why)) => Answer::Refused { why, hint: "one line of JSON with an \"op\"".to_owned() },
        Err(_) => return,
    };
    let Ok(mut bytes) = serde_json::to_vec(&answer) else { return };
    bytes.push(b'\n');
    let _ = tokio::time::timeout(WITHIN, stream.write_all(&bytes)).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(512, stream.take(MAX_REQUEST));
    reader.read_line(&mut line).await.map_err(|e| format!("the request cannot be read: {e}"))?;
    serde_json::from_str(&line).map_err(|e| format!("the request cannot be read: {e}"))
}

impl Driver {
    /// Everything the agent knows.
    pub(super) fn status(&self) -> Status {
        let request = self.reports.borrow().clone();
        let contact =
            self.parts.coordinator.as_ref().and_then(|_| Some(self.parts.contact.lock().ok()?.clone()));
        Status {
            agent_pid: std::process::id(),
            home: self.parts.home.base.display().to_string(),
            node: request.node.to_string(),
            generation: request.generation,
            report: request.report,
            contact,
            verdict: self.parts.counters.verdict(),
            plan: self.pending_plan(),
            plan_faults: self.plans.faults().iter().map(ToString::to_string).collect(),
        }
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
