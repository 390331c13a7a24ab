//! Bodies of the REST API, shared with the command line.
use crate::release::ReleaseRecord;
use common::chain::{Address, ChainView};
use common::fleet::{NodeRecord, Role};
use common::id::{NetworkName, NodeName, PolicyName, ReleaseName};
use common::inventory::Observation;
use common::manifest::TrustRoot;
use common::planner::{Preview, QuorumReport};
use common::release::Digest;
use common::rollout::{Rollout, RolloutEvent, Verb};
use common::time::{Span, UnixMs};
use common::wire::v1::Instruction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// Its name.
    pub name: NodeName,
    /// Its network; must be the coordinator's.
    pub network: NetworkName,
    /// What it is for.
    pub role: Role,
    /// Labels for selectors.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Sealing address; required for a validator.
    #[serde(default)]
    pub validator: Option<Address>,
    /// `user@host:port`.
    #[serde(default)]
    pub ssh: Option<String>,
}

/// A node with what is known of it. `GET /v1/nodes/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// As registered.
    pub record: NodeRecord,
    /// Its last report since the coordinator started.
    pub observed: Option<Observation>,
    /// Its instruction.
    pub desired: Instruction,
    /// Whether it has not reported for longer than `silent_after`.
    pub silent: bool,
}

/// `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// When this was true.
    pub as_of: UnixMs,
    /// In name order.
    pub nodes: Vec<NodeStatus>,
}

/// `POST /v1/nodes/{name}/cordon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Whether scheduling leaves it alone.
    pub cordoned: bool,
}

/// Answer to `POST /v1/nodes/{name}/join-token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// 256 random bits, hexadecimal; shown once.
    pub token: String,
    /// End of validity.
    pub expires_at: UnixMs,
    /// SHA-256 of the CA certificate (DER).
    pub ca_hash: Digest,
    /// Where the agent enrols.
    pub url: String,
}

/// `POST /v1/nodes/{name}/certificate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRequest {
    /// PKCS#10, PEM.
    pub csr: String,
}

/// `POST /v1/enroll`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The node.
    pub node: NodeName,
    /// Its join token.
    pub token: String,
    /// PKCS#10, PEM.
    pub csr: String,
}

/// Answer to both ways of enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The agent's certificate, PEM.
    pub certificate: String,
    /// The fleet's CA, PEM.
    pub ca: String,
    /// Whose signatures the agent is to trust.
    pub trust: Option<TrustRoot>,
}

/// `POST /v1/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRelease {
    /// The manifest's bytes as published.
    pub manifest: String,
    /// The file of signatures.
    pub signatures: String,
}

/// `GET /v1/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseList {
    /// By sequence.
    pub releases: Vec<ReleaseRecord>,
}

/// A proposal of the index with what the coordinator made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalStatus {
    /// As indexed. Texts in it are a stranger's.
    pub proposal: indexer::proposal::Proposal,
    /// Checks between approval and draft, in the order made; the last one tells where it stands.
    #[serde(default)]
    pub check: Option<ProposalCheck>,
    /// The rollout drafted from it.
    #[serde(default)]
    pub rollout: Option<common::id::RolloutId>,
}

/// The newest result of turning an approved proposal into a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalCheck {
    /// Stable code, `ok` when a draft was made.
    pub code: String,
    /// In words.
    pub detail: String,
    /// When.
    pub at: UnixMs,
    /// Whether it is tried again by itself.
    pub transient: bool,
}

/// `GET /v1/proposals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalList {
    /// Newest last.
    pub proposals: Vec<ProposalStatus>,
}

/// `POST /v1/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRollout {
    /// A release that was added.
    pub release: ReleaseName,
    /// The policy, TOML.
    pub policy: String,
    /// Its name.
    pub policy_name: PolicyName,
    /// Only tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// A rollout with the newest plan's view of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// With waiting reasons as of `as_of`.
    pub rollout: Rollout,
    /// Deadline, waves and refusals.
    pub preview: Preview,
    /// How consensus stands.
    pub quorum: Option<QuorumReport>,
    /// When this was true, by the coordinator's clock.
    pub as_of: UnixMs,
}

/// `GET /v1/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutList {
    /// Oldest first.
    pub rollouts: Vec<Rollout>,
}

/// `POST /v1/rollouts/{id}/verbs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerbRequest {
    /// What to do.
    pub verb: Verb,
    /// Why; kept in the history.
    #[serde(default)]
    pub why: String,
    /// Only if the rollout still has this revision.
    #[serde(default)]
    pub revision: Option<u64>,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// Gap-free number in the fleet's history, from 1.
    pub seq: u64,
    /// When.
    pub at: UnixMs,
    /// The rollout.
    pub rollout: common::id::RolloutId,
    /// What happened.
    pub event: RolloutEvent,
    /// SHA-256 of the entry before; zeros for the first.
    pub previous: Digest,
}

/// `GET /v1/rollouts/{id}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventList {
    /// Oldest first, at most 1,000.
    pub events: Vec<EventEntry>,
}

/// `GET /v1/chain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainStatus {
    /// The network.
    pub network: NetworkName,
    /// What endpoints agree on.
    pub view: Option<ChainView>,
    /// The governance index.
    pub index: Option<IndexReport>,
    /// How consensus stands, from the newest plan or view.
    pub quorum: Option<QuorumReport>,
    /// When this was true.
    pub as_of: UnixMs,
}

/// Where the governance index stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexReport {
    /// Last height indexed.
    pub cursor: u64,
    /// Head of the chain.
    pub head: u64,
    /// Events indexed.
    pub events: u64,
    /// Events no adapter knew; kept raw.
    pub unknown_events: u64,
    /// Reorgs unwound.
    pub reorgs: u64,
    /// Last trouble.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: crate::auth::OperatorRole,
    /// How long.
    pub ttl: Span,
}

/// Answer to `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedToken {
    /// The token; shown once.
    pub token: String,
    /// What is stored of it.
    pub record: crate::auth::TokenRecord,
}

/// `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// In the order of their ids.
    pub tokens: Vec<crate::auth::TokenRecord>,
}
