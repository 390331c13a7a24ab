//! What an agent keeps on disk. Intent is written before an effect, the result after it.
use super::HostPlan;
use crate::id::ReleaseName;
use crate::release::{Artifact, Digest, InstalledRelease, ReleaseRef};
use crate::time::{Span, UnixMs};
use crate::wire::v1::{AgentPhase, Direction, Fault, Instruction};
use serde::{Deserialize, Serialize};

/// The agent's memory across crashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Newest instruction accepted; generation 0 before the first.
    pub instruction: Instruction,
    /// Where the machine stands.
    pub phase: AgentPhase,
    /// Since when, by the agent's clock.
    pub phase_since: UnixMs,
    /// Towards or back from `target`.
    #[serde(default)]
    pub direction: Direction,
    /// The release in hand.
    #[serde(default)]
    pub target: Option<ReleaseRef>,
    /// Its artifact for this host, known once the manifest is verified.
    #[serde(default)]
    pub artifact: Option<Artifact>,
    /// First height under the target's rules, from its verified manifest.
    #[serde(default)]
    pub activation_height: Option<u64>,
    /// Whether the target's manifest forbids going back.
    #[serde(default)]
    pub irreversible: bool,
    /// The height at which the target's signed manifest allows the switch without a permission.
    #[serde(default)]
    pub authorised_height: Option<u64>,
    /// What this host's own plans ask for next.
    #[serde(default)]
    pub plan: Option<HostPlan>,
    /// The release `current` points to.
    pub current: InstalledRelease,
    /// The release before `current`.
    #[serde(default)]
    pub previous: Option<InstalledRelease>,
    /// Highest sequence accepted.
    #[serde(default)]
    pub highest_sequence: u64,
    /// Releases this host refuses to try again in the same attempt, by manifest digest.
    #[serde(default)]
    pub refused: Vec<Digest>,
    /// Id of the permission under which the node was last stopped; never used twice.
    #[serde(default)]
    pub spent_permission: u64,
    /// The release in hand as it is installed, known once it is staged.
    #[serde(default)]
    pub staged: Option<InstalledRelease>,
    /// Where the host is being brought to; set from the intent to stop until the end of the probe.
    #[serde(default)]
    pub destination: Option<InstalledRelease>,
    /// Whether the way back was taken because the target failed here, not because it was ordered.
    #[serde(default)]
    pub failed: bool,
    /// Manifest of `current`; `None` for a release that came without one.
    #[serde(default)]
    pub current_manifest: Option<Digest>,
    /// First height under the rules of `current`, from its manifest.
    #[serde(default)]
    pub current_activation_height: Option<u64>,
    /// Whether the manifest of `current` forbids going back.
    #[serde(default)]
    pub current_irreversible: bool,
    /// Manifest of `previous`; `None` for a release that came without one.
    #[serde(default)]
    pub previous_manifest: Option<Digest>,
    /// The head when `current` was switched to; plans below it are of the past.
    #[serde(default)]
    pub switched_at: Option<u64>,
    /// Highest head the node ever told, as of the last write. `None` means unknown, never zero.
    #[serde(default)]
    pub head: Option<u64>,
    /// Coordinator's clock minus the agent's in milliseconds, as of the last instruction.
    #[serde(default)]
    pub clock_ahead_ms: i64,
    /// Last fault of the machine.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// How long the last stop took.
    #[serde(default)]
    pub last_stop: Option<Span>,
    /// How long the last start took.
    #[serde(default)]
    pub last_start: Option<Span>,
}

impl Ledger {
    /// The ledger of a host that has only the release it was installed with.
    pub fn genesis(name: ReleaseName, digest: Digest, now: UnixMs) -> Self {
        Ledger {
            instruction: Instruction::none(),
            phase: AgentPhase::Idle,
            phase_since: now,
            direction: Direction::Forward,
            target: None,
            artifact: None,
            activation_height: None,
            irreversible: false,
            authorised_height: None,
            plan: None,
            current: InstalledRelease { name, sequence: 0, digest },
            previous: None,
            highest_sequence: 0,
            refused: Vec::new(),
            spent_permission: 0,
            staged: None,
            destination: None,
            failed: false,
            current_manifest: None,
            current_activation_height: None,
            current_irreversible: false,
            previous_manifest: None,
            switched_at: None,
            head: None,
            clock_ahead_ms: 0,
            fault: None,
            last_stop: None,
            last_start: None,
        }
    }
}
