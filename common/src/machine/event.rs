//! What happens to the machine.
use super::{HostPlan, Ledger};
use crate::release::{Artifact, Digest, InstalledRelease};
use crate::time::{Span, UnixMs};
use crate::wire::v1::{Fault, Instruction};

/// Something the driver tells the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent started; what it stored and what it found.
    Booted {
        /// The stored ledger.
        ledger: Box<Ledger>,
        /// The host as found.
        found: Found,
    },
    /// An instruction came. `clock_ahead` is how much the coordinator's clock is ahead of ours, in milliseconds.
    Instructed {
        /// The instruction.
        instruction: Box<Instruction>,
        /// Coordinator's clock minus agent's clock in milliseconds.
        clock_ahead_ms: i64,
    },
    /// What this host's own plans ask for next; `None` when nothing is pending.
    Planned(Option<Box<HostPlan>>),
    /// Releases that failed here may be tried again.
    Forgiven,
    /// The node is to be stopped and started again on its current release.
    RestartAsked,
    /// The manifest is fetched and verified and the artifact verified in its final place, or why not.
    Staged(Result<StagedRelease, Fault>),
    /// The pre-flight checks passed, or why not.
    Preflighted(Result<(), Fault>),
    /// The node process is gone after a stop that was asked for, or it would not go.
    Stopped(Result<Span, Fault>),
    /// Backup and hooks are done, or why the switch must not be.
    Prepared(Result<(), Fault>),
    /// `current` points to the release asked for, or why not.
    Switched(Result<(), Fault>),
    /// The node process was executed, or why not.
    Started(Result<u32, Fault>),
    /// The node process ended without being asked to.
    Exited {
        /// Exit status for people, for example `exit code 1` or `signal 9`.
        exit: String,
    },
    /// The node's health as of now.
    Probed(Probe),
    /// Time passed; sent at least once a second while the machine waits for time.
    Tick,
}

/// What a verified manifest says about the release that is now staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedRelease {
    /// As it will be installed; its digest is that of the executable.
    pub installed: InstalledRelease,
    /// Its artifact; `None` for a release without a manifest.
    pub artifact: Option<Artifact>,
    /// First height under its rules.
    pub activation_height: Option<u64>,
    /// Whether it forbids going back.
    pub irreversible: bool,
    /// Whether the signatures allow the switch at that height without a permission (at-height mode).
    pub at_height: bool,
}

/// The host as found at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Digest of the executable `current` points to; `None` when there is none.
    pub current: Option<InstalledRelease>,
    /// The node process that already runs (adopted), with when it was started.
    pub process: Option<(u32, UnixMs)>,
    /// Digest of the executable that process runs; `None` without a process or when it cannot be read.
    pub running: Option<Digest>,
    /// Whether that process was already asked to stop (its one SIGTERM is sent).
    pub stopping: bool,
}

/// One look at the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probe {
    /// Whether RPC answers.
    pub rpc_up: bool,
    /// Its head, when it says one.
    pub head: Option<u64>,
    /// Whether the head grew since the process was started.
    pub head_advanced: bool,
}
