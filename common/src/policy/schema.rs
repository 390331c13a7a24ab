//! A policy as written in TOML. What the full design has and this program does not do yet is refused by name.
use super::validate::{PolicyError, PolicyErrors};
use super::{Deadlines, Mode, Offline, OnFailure, Promote, ProofPolicy, QuorumRule, Selector};
use crate::id::{NetworkName, NodeName, StageName};
use crate::time::Span;
use serde::Deserialize;

/// A policy as written, checked as far as that goes without a fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFile {
    pub(super) rollout: RolloutTable,
    pub(super) quorum: QuorumTable,
    pub(super) defaults: DefaultsTable,
    pub(super) stages: Vec<StageTable>,
    /// The selector of each stage.
    pub(super) selectors: Vec<Selector>,
    /// The indices of the stages each stage comes after.
    pub(super) after: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyToml {
    pub schema: u32,
    #[serde(default)]
    pub rollout: RolloutTable,
    #[serde(default)]
    pub quorum: QuorumTable,
    #[serde(default)]
    pub defaults: DefaultsTable,
    #[serde(default, rename = "stage")]
    pub stages: Vec<StageTable>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RolloutTable {
    /// `None` takes the only network of the fleet.
    pub network: Option<NetworkName>,
    pub mode: Mode,
    pub supersede: Supersede,
    pub auto_approve: bool,
    /// Nodes that no stage takes, on purpose.
    pub left_out: Vec<NodeName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Supersede {
    #[default]
    Reject,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct QuorumTable {
    pub rule: QuorumRule,
    pub reserve: u64,
    pub unknown_is_down: bool,
    pub epoch_guard: bool,
    pub spread_by: Vec<String>,
    pub avoid_adjacent_proposers: bool,
    pub max_block_slowdown: f64,
    pub view_max_age: Span,
}

impl Default for QuorumTable {
    fn default() -> Self {
        Self {
            rule: QuorumRule::Wbft,
            reserve: 1,
            unknown_is_down: true,
            epoch_guard: true,
            spread_by: vec!["zone".to_owned(), "provider".to_owned()],
            avoid_adjacent_proposers: true,
            max_block_slowdown: 2.0,
            view_max_age: Span::secs(10),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DefaultsTable {
    pub max_parallel: u32,
    pub download_before: DownloadBefore,
    pub offline: Offline,
    pub on_failure: OnFailure,
    pub deadline: Deadlines,
    pub proof: ProofTable,
    pub expect: ExpectTable,
}

impl Default for DefaultsTable {
    fn default() -> Self {
        Self {
            max_parallel: 8,
            download_before: DownloadBefore::Fleet,
            offline: Offline::Defer,
            on_failure: OnFailure::Hold,
            deadline: Deadlines::default(),
            proof: ProofTable::default(),
            expect: ExpectTable::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DownloadBefore {
    Fleet,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ProofTable {
    pub blocks: u64,
    pub seals: u64,
    pub compare: u64,
}

impl Default for ProofTable {
    fn default() -> Self {
        let ProofPolicy { blocks, seals, compare } = ProofPolicy::default();
        Self { blocks, seals, compare }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectTable {
    pub switch: Span,
}

impl Default for ExpectTable {
    fn default() -> Self {
        Self { switch: super::resolved::default_expect_switch() }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageTable {
    pub name: StageName,
    /// `None` is the stage before it in the file.
    #[serde(default)]
    pub after: Option<Vec<StageName>>,
    pub select: String,
    #[serde(default)]
    pub count: Option<u32>,
    #[serde(default)]
    pub percent: Option<u32>,
    #[serde(default)]
    pub parallel: Option<ParallelValue>,
    #[serde(default)]
    pub soak: SoakTable,
    #[serde(default)]
    pub gate: Vec<String>,
    #[serde(default = "auto")]
    pub promote: Promote,
    #[serde(default)]
    pub abort_if: AbortTable,
}

fn auto() -> Promote {
    Promote::Auto
}

/// `"slack"` or a number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum ParallelValue {
    Count(u32),
    Word(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SoakTable {
    pub blocks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AbortTable {
    pub failed: u32,
}

impl Default for AbortTable {
    fn default() -> Self {
        Self { failed: 1 }
    }
}

impl PolicyFile {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyErrors`]: everything that is wrong, each with its key.
    pub fn parse(text: &str) -> Result<PolicyFile, PolicyErrors> {
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| PolicyErrors::one("", e.message().to_owned()))?;
        let mut errors = super::validate::unsupported(&table);
        let read = PolicyToml::deserialize(toml::Value::Table(super::validate::without_unsupported(table)));
        match read {
            Err(e) => errors.push(PolicyError::new("", e.to_string().trim().to_owned())),
            Ok(read) => match super::validate::validate(read) {
                Ok(file) if errors.is_empty() => return Ok(file),
                Ok(_) => {}
                Err(more) => errors.extend(more.0),
            },
        }
        Err(PolicyErrors(errors))
    }
}
