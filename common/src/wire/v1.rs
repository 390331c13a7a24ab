//! Version 1 of the protocol between an agent and the coordinator: one endpoint, full report in, full instruction out.
use crate::chain::{BlockRoots, Fork, Hash32};
use crate::id::{NodeName, RolloutId};
use crate::release::{InstalledRelease, ReleaseRef};
use crate::time::{Span, UnixMs};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/nodes/{node}/sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The node that reports; must be the one the client certificate names.
    pub node: NodeName,
    /// Newest generation the agent has stored; 0 before the first.
    pub generation: u64,
    /// Whether the coordinator may hold the request until there is news (long poll).
    #[serde(default)]
    pub hold: bool,
    /// The full report.
    pub report: NodeReport,
}

/// Answer to a [`SyncRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncResponse {
    /// The coordinator's clock when it answered.
    pub now: UnixMs,
    /// The full instruction, never a delta.
    pub instruction: Instruction,
    /// How long the coordinator will hold the next request at most; the agent's read time-out must be longer.
    pub hold: Span,
    /// A fresh certificate chain (PEM) when the agent's is due for renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// What an agent is to bring about. Complete and immutable for its generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Grows by one with every change for this node; an agent refuses anything older than what it stored.
    pub generation: u64,
    /// The rollout this belongs to; `None` when the node is only to be kept running.
    #[serde(default)]
    pub rollout: Option<RolloutId>,
    /// The release in question; `None` with [`Goal::Run`] outside a rollout.
    #[serde(default)]
    pub release: Option<ReleaseRef>,
    /// What to do with it.
    pub goal: Goal,
    /// Deadlines the agent keeps by itself.
    #[serde(default)]
    pub limits: Limits,
}

impl Instruction {
    /// What a node has before its first instruction.
    pub fn none() -> Self {
        Self { generation: 0, rollout: None, release: None, goal: Goal::Run, limits: Limits::default() }
    }
}

/// How far an agent may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Goal {
    /// Keep the current release running; start no step of an upgrade. A step that cannot be left half way is finished.
    Run,
    /// Download, verify and pre-flight the release; leave the node alone.
    Stage,
    /// As `Stage`, then stop, switch, start and probe, under this permission.
    Switch {
        /// Leave to stop the node.
        permission: Permission,
    },
    /// Go back to the release that ran before this one, under this permission.
    Rollback {
        /// Leave to stop the node.
        permission: Permission,
    },
}

/// Leave to stop one node. The agent must not begin to stop its node after `expires_at` minus its allowed clock skew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Unique in the fleet; grows.
    pub id: u64,
    /// When it was granted, by the coordinator's clock.
    pub granted_at: UnixMs,
    /// End of validity, by the coordinator's clock.
    pub expires_at: UnixMs,
}

/// Deadlines of single steps on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Download and verification.
    pub download: Span,
    /// From SIGTERM to SIGKILL.
    pub stop: Span,
    /// From exec to a process that stays.
    pub start: Span,
    /// From exec to an answering RPC whose head advances.
    pub rpc: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self { download: Span::mins(30), stop: Span::mins(5), start: Span::mins(2), rpc: Span::mins(3) }
    }
}

/// Everything an agent knows about its node. Always complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The agent's clock.
    pub at: UnixMs,
    /// Version of the agent.
    pub agent_version: String,
    /// Where the upgrade machine stands.
    pub phase: AgentPhase,
    /// The release the machine works on, when it works on one.
    #[serde(default)]
    pub target: Option<ReleaseRef>,
    /// Whether the machine works towards `target` or back from it.
    #[serde(default)]
    pub direction: Direction,
    /// When `phase` was entered, by the agent's clock.
    pub phase_since: UnixMs,
    /// The release `current` points to, with the digest checked at the last exec.
    #[serde(default)]
    pub running: Option<InstalledRelease>,
    /// The release before it, to which a rollback would go.
    #[serde(default)]
    pub previous: Option<InstalledRelease>,
    /// The node process.
    pub process: ProcessState,
    /// The node's own view of the chain.
    pub health: NodeHealth,
    /// Why the machine failed or waits, when it does.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// How long the last stop took; `None` before the first.
    #[serde(default)]
    pub last_stop: Option<Span>,
    /// How long the last start took, exec to RPC up; `None` before the first.
    #[serde(default)]
    pub last_start: Option<Span>,
}

/// Steps of the upgrade machine on a host, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentPhase {
    /// No upgrade in hand; the current release is supervised.
    Idle,
    /// Fetching manifest and artifact.
    Downloading,
    /// Checking signatures, digest and size.
    Verifying,
    /// The verified artifact is in its final place.
    Staged,
    /// Running the checks that need no stop.
    Preflighting,
    /// Everything that can be checked beforehand is; waiting for a permission.
    Ready,
    /// SIGTERM sent; waiting for the process to go.
    Stopping,
    /// Replacing `current`.
    Switching,
    /// Executing the release.
    Starting,
    /// Waiting for RPC and an advancing head.
    Probing,
    /// The target runs and looks healthy from the host.
    Done,
    /// A step failed; `fault` names it. The node runs its old release or is being brought back to it.
    Failed,
}

/// Which way the machine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards the target.
    #[default]
    Forward,
    /// Back to the release before it.
    Back,
}

/// The node process as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProcessState {
    /// No process, and none wanted at the moment.
    Stopped,
    /// A process runs.
    Running {
        /// Process id on the host.
        pid: u32,
        /// When it was executed, by the agent's clock.
        since: UnixMs,
    },
    /// It ended by itself and will be started again.
    BackingOff {
        /// How often it ended since it was last healthy.
        restarts: u32,
        /// When it is started again.
        until: UnixMs,
        /// Its last exit, for people.
        exit: String,
    },
}

/// The node's own answers. `None` means it was not said, never "zero".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Whether RPC answers.
    pub rpc_up: bool,
    /// EIP-155 chain id.
    #[serde(default)]
    pub chain_id: Option<u64>,
    /// Hash of block 0.
    #[serde(default)]
    pub genesis_hash: Option<Hash32>,
    /// Newest blocks of the node, oldest first, at most 8.
    #[serde(default)]
    pub recent: Vec<BlockRoots>,
    /// When the head was last seen to grow, by the agent's clock.
    #[serde(default)]
    pub head_advanced_at: Option<UnixMs>,
    /// Connected peers.
    #[serde(default)]
    pub peers: Option<u32>,
    /// Whether the node says it is catching up. A halted chain says no.
    #[serde(default)]
    pub syncing: Option<bool>,
    /// `web3_clientVersion`, at most 256 characters.
    #[serde(default)]
    pub client_version: Option<String>,
    /// Forks the running binary knows (`admin_nodeInfo`).
    #[serde(default)]
    pub forks: Vec<Fork>,
    /// Free bytes on the node's file system.
    #[serde(default)]
    pub disk_free_bytes: Option<u64>,
}

impl NodeHealth {
    /// The node's newest block, when it said one.
    pub fn head(&self) -> Option<&BlockRoots> {
        self.recent.last()
    }
}

/// What went wrong on the host: a code for machines and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which operation failed.
    pub code: FaultCode,
    /// What exactly, at most 512 characters; data, to be escaped wherever it is shown.
    pub detail: String,
    /// When, by the agent's clock.
    pub at: UnixMs,
}

/// Operations of the agent that can fail. Each has a row in `docs/operations.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The manifest could not be fetched.
    ManifestUnavailable,
    /// The manifest's bytes are not those the coordinator named, or are no manifest.
    ManifestMismatch,
    /// Not enough valid signatures of maintainers.
    SignatureThreshold,
    /// The manifest's sequence is below the highest this host accepted.
    SequenceTooOld,
    /// The manifest's time is over.
    ManifestExpired,
    /// The manifest is for another chain.
    WrongChain,
    /// No artifact for this platform.
    NoArtifact,
    /// The artifact could not be fetched.
    ArtifactUnavailable,
    /// The artifact's bytes are not those of the manifest.
    DigestMismatch,
    /// The disk is full or refuses writes.
    DiskFull,
    /// The staged binary does not run, or says another version.
    BinaryUnusable,
    /// The staged binary does not know a fork the release is for.
    ForkUnknown,
    /// The permission ended before the stop could begin.
    PermissionExpired,
    /// The node did not stop in time.
    StopFailed,
    /// The backup before the switch could not be made.
    BackupFailed,
    /// A program run before the switch refused it, failed, or did not end in time.
    HookFailed,
    /// `current` could not be replaced.
    SwitchFailed,
    /// The release does not stay up.
    CrashLoop,
    /// RPC does not answer in time, or the head does not advance.
    NotHealthy,
    /// The instruction is older than the stored one.
    GenerationOld,
    /// Same generation, other content.
    GenerationConflict,
    /// There is nothing to go back to, or going back is not allowed.
    RollbackRefused,
}
