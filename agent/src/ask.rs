//! Asking a running agent, from another process.
use crate::driver::{Answer, Request};
use crate::home::Home;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No agent listens.
    #[error("no wemixvisor runs for {0}")]
    Nobody(String),
    /// The conversation broke off.
    #[error("the running agent did not answer: {0}")]
    Broken(io::Error),
    /// Another version, most likely.
    #[error("the running agent's answer cannot be read: {0}")]
    Unreadable(serde_json::Error),
}

/// Asks the agent of a home.
///
/// # Errors
/// [`AskError::Nobody`] when no agent runs.
pub fn ask(home: &Home, request: &Request) -> Result<Answer, AskError> {
    ask_within(home, request, Duration::from_secs(30))
}

/// As [`ask`], with another patience.
///
/// # Errors
/// As [`ask`]; [`AskError::Broken`] with `WouldBlock` when the time is over.
pub fn ask_within(home: &Home, request: &Request, within: Duration) -> Result<Answer, AskError> {
    let nobody = |_: io::Error| AskError::Nobody(home.base.display().to_string());
    let mut stream = connect(home).map_err(nobody)?;
    let mut said = String::new();
    let talk = (|| {
        stream.set_read_timeout(Some(within))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        stream.read_to_string(&mut said)
    })();
    talk.map_err(AskError::Broken)?;
    serde_json::from_str(&said).map_err(AskError::Unreadable)
}

/// Socket paths are limited to about a hundred bytes; through the folder's descriptor they are short.
fn connect(home: &Home) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(home.root())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), Home::control_name()))
}
