//! A policy after resolution against a fleet: integers and node names only. Frozen into the rollout by `plan`.
use crate::id::{NetworkName, NodeName, PolicyName, StageName};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// A policy that can be carried out on this fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedPolicy {
    /// Name of the policy it came from.
    pub name: PolicyName,
    /// The permission domain.
    pub network: NetworkName,
    /// Whether a draft made by governance is approved by the policy itself.
    pub auto_approve: bool,
    /// The rule no stage can weaken.
    pub quorum: QuorumPolicy,
    /// Most nodes that may be worked on (permission held) at once, over all stages.
    pub max_parallel: u32,
    /// Deadlines of single steps.
    pub deadlines: Deadlines,
    /// Stages in an order that respects `after`.
    pub stages: Vec<ResolvedStage>,
    /// Nodes of the network that no stage takes, on purpose.
    pub left_out: Vec<NodeName>,
    /// Whether the activation height is a deadline.
    #[serde(default)]
    pub mode: Mode,
    /// What becomes of nodes that do not report.
    #[serde(default)]
    pub offline: Offline,
    /// What a failed node does to the rollout.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What counts as proof of life.
    #[serde(default)]
    pub proof: ProofPolicy,
    /// Time one node is expected to take from its permission to its proof; `deadline` reckons with it until nodes are done.
    #[serde(default = "default_expect_switch")]
    pub expect_switch: Span,
}

/// Default of [`ResolvedPolicy::expect_switch`].
pub(super) fn default_expect_switch() -> Span {
    Span::secs(60)
}

/// Whether the activation height of a release is a deadline for the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No height is waited for; the rollout ends when its last stage is done.
    Anytime,
    /// Every node runs the release before the activation height, and is seen to pass it. Same as `Anytime` for a release without one.
    #[default]
    BeforeHeight,
}

/// What becomes of nodes that do not report and hold no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offline {
    /// They are left for later and named in the outcome.
    #[default]
    Defer,
    /// The rollout waits for them.
    Block,
}

/// What a failed node does to the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It holds until a person decides.
    #[default]
    Hold,
    /// Switched nodes go back by themselves, as far as that is still allowed; otherwise it holds.
    Rollback,
}

/// What counts as proof of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofPolicy {
    /// Newest blocks after the switch in which seals are looked for; 1 to 60.
    pub blocks: u64,
    /// Of those, how many must carry the validator's seal; 1 to `blocks`.
    pub seals: u64,
    /// Blocks of the node's own chain that must equal the network's; 1 to 8.
    pub compare: u64,
}

impl Default for ProofPolicy {
    fn default() -> Self {
        Self { blocks: 20, seals: 4, compare: 3 }
    }
}

/// The quorum rule and what surrounds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumPolicy {
    /// Which rule.
    pub rule: QuorumRule,
    /// Votes kept above quorum at every instant.
    pub reserve: u64,
    /// Permit nothing when an epoch ends within a node's worst-case downtime and the next set is unknown.
    pub epoch_guard: bool,
    /// Labels over which validators that are down together are spread.
    pub spread_by: Vec<String>,
    /// Avoid validators next to each other in proposer order.
    pub avoid_adjacent_proposers: bool,
    /// Hold when the mean block interval exceeds baseline times this, in thousandths (2000 = twice).
    pub max_block_slowdown_milli: u64,
    /// A chain view older than this permits nothing.
    pub view_max_age: Span,
}

/// How votes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuorumRule {
    /// Equal votes, quorum N - floor((N-1)/3), never below ceil(2N/3).
    Wbft,
    /// No BFT set; only for stages without validators.
    None,
}

/// Deadlines of single steps and of progress as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// Download and verification on a host.
    pub download: Span,
    /// SIGTERM to SIGKILL.
    pub stop: Span,
    /// Exec to a process that stays.
    pub start: Span,
    /// Exec to an answering RPC.
    pub rpc: Span,
    /// RPC up to head at the network's.
    pub catch_up: Span,
    /// Head at the network's to proof of sealing.
    pub sealing: Span,
    /// Longest time without any node getting further.
    pub progress: Span,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            download: Span::mins(30),
            stop: Span::mins(5),
            start: Span::mins(2),
            rpc: Span::mins(3),
            catch_up: Span::mins(30),
            sealing: Span::mins(10),
            progress: Span::mins(45),
        }
    }
}

/// One stage with its nodes by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedStage {
    /// Its name.
    pub name: StageName,
    /// Indices of the stages that must be done before.
    pub after: Vec<usize>,
    /// Its nodes, in name order.
    pub nodes: Vec<NodeName>,
    /// How many at once.
    pub parallel: Parallel,
    /// Blocks that must follow the last proof before the gate is judged.
    pub soak_blocks: u64,
    /// What must hold after the soak.
    pub gates: Vec<Gate>,
    /// Who opens the way to the next stage.
    pub promote: Promote,
    /// Failed nodes at which the rollout holds; at least 1.
    pub abort_failed: u32,
}

/// How many nodes of a stage may be worked on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parallel {
    /// As many as the quorum slack leaves, recomputed before every grant.
    Slack,
    /// A fixed number, and never more than slack leaves for validators.
    Count(u32),
}

/// A condition that opens or holds a stage. No data is inconclusive, and inconclusive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Blocks of the stage's nodes equal the network's in hash, state root and receipts root, for the whole soak.
    StateRootEqual,
    /// RPC of the stage's nodes answers.
    RpcOk,
    /// Every validator of the stage still seals.
    Sealing,
    /// Head advances, block interval within limits, no unpermitted validator lost.
    ChainHealth,
    /// At least this many peers.
    Peers(u32),
}

/// Who opens the way to the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promote {
    /// The gate alone.
    Auto,
    /// The gate and a person.
    Manual,
}
