//! Why a host could not be installed: one variant per thing that can fail, with the name of the object.
use super::quote::QuoteError;
use std::time::Duration;

/// Why the work on one host ended.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The node has no usable SSH address.
    #[error("the node has no usable SSH address: {0}")]
    Address(String),
    /// The name does not resolve.
    #[error("{host} cannot be resolved: {why}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// No connection.
    #[error("{target} cannot be reached: {why}")]
    Unreachable {
        /// The address.
        target: String,
        /// What the network said.
        why: String,
    },
    /// The host's key is not known and may not be learnt.
    #[error("the host key of {host} is not known (it offers {fingerprint})")]
    HostKeyUnknown {
        /// The host.
        host: String,
        /// What it offers, `SHA256:…`.
        fingerprint: String,
    },
    /// The host's key is another than the pinned one.
    #[error("THE HOST KEY OF {host} HAS CHANGED: {pinned} is pinned (line {line}), it offers {offered}")]
    HostKeyChanged {
        /// The host.
        host: String,
        /// Fingerprint in the known hosts file.
        pinned: String,
        /// Its line there.
        line: usize,
        /// What the host offers.
        offered: String,
    },
    /// The file of pinned keys cannot be used.
    #[error("the known hosts file {path} cannot be used: {why}")]
    KnownHosts {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The SSH key cannot be used.
    #[error("the SSH key cannot be used: {0}")]
    Key(String),
    /// The host refuses the key for this account.
    #[error("{target} refuses the key")]
    AuthRefused {
        /// The address.
        target: String,
    },
    /// A step took longer than its limit.
    #[error("{step} took longer than {} s", limit.as_secs())]
    StepTimeout {
        /// The step.
        step: &'static str,
        /// Its limit.
        limit: Duration,
    },
    /// The connection broke during a step.
    #[error("{step} failed: {why}")]
    Transport {
        /// The step.
        step: &'static str,
        /// What SSH said.
        why: String,
    },
    /// A command on the host failed.
    #[error("{step} failed on the host with exit code {code}: {said}")]
    Command {
        /// The step.
        step: &'static str,
        /// Exit code.
        code: u32,
        /// What it said; data from the host.
        said: String,
    },
    /// The host said something unexpected.
    #[error("{step}: the host's answer cannot be understood: {said}")]
    Answer {
        /// The step.
        step: &'static str,
        /// What it said; data from the host.
        said: String,
    },
    /// Another operating system or architecture than the agent's binary.
    #[error("the agent's binary is for {binary}, the host is {host}")]
    Platform {
        /// `os/arch` of the binary.
        binary: String,
        /// `os/arch` of the host.
        host: String,
    },
    /// Too little room.
    #[error("{free} bytes are free at {path}, {need} are needed")]
    DiskFull {
        /// Where.
        path: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        need: u64,
    },
    /// The account may not do what installation needs.
    #[error("{user} is not root and `sudo -n` does not work: a systemd unit cannot be installed")]
    NoRoot {
        /// The account.
        user: String,
    },
    /// The uploaded bytes are not those sent.
    #[error("the uploaded agent has SHA-256 {found}, {expected} was sent")]
    Digest {
        /// What is on the host.
        found: String,
        /// What was sent.
        expected: String,
    },
    /// The coordinator said no, or could not be asked.
    #[error("{0}")]
    Fleet(String),
    /// The agent runs but the coordinator did not hear from it.
    #[error("the agent was started but did not report to the coordinator within {} s{}", limit.as_secs(), log.as_ref().map(|l| format!("; its log ends: {l}")).unwrap_or_default())]
    NoFirstSync {
        /// The limit.
        limit: Duration,
        /// End of the agent's log; data from the host.
        log: Option<String>,
    },
    /// An argument cannot be quoted.
    #[error(transparent)]
    Quote(#[from] QuoteError),
}

impl InstallError {
    /// What to do about it, when there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Address(_) => "register it with `node add NAME --ssh user@host:port …`",
            Self::HostKeyUnknown { .. } => {
                "add the key to the known hosts file, or pass --trust-on-first-use if you accept the key above"
            }
            Self::HostKeyChanged { .. } => {
                "somebody may be listening in. If the host was really reinstalled, remove its line from the known hosts file"
            }
            Self::AuthRefused { .. } => "is the public key in the account's authorized_keys? (--ssh-key)",
            Self::Unreachable { .. } | Self::Resolve { .. } => {
                "is the host up, and the address right? (`node show NAME`)"
            }
            Self::NoRoot { .. } => "use root, give the account passwordless sudo, or --init none",
            Self::Platform { .. } => "build the agent for that platform and name it with --agent-binary",
            Self::DiskFull { .. } => "make room on the host",
            Self::NoFirstSync { .. } => {
                "can the host reach the coordinator's public address? See the agent's log on the host"
            }
            _ => return None,
        })
    }
}
