//! What a policy must satisfy before any fleet is looked at.
use super::schema::{ParallelValue, PolicyFile, PolicyToml, StageTable};
use super::{Gate, QuorumRule, Selector};
use std::collections::BTreeSet;
use std::fmt;

/// One thing wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct PolicyError {
    /// The key, for example `stage.validators.count`; empty when the text is no TOML of this shape.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl PolicyError {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// Everything wrong with a policy; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl PolicyErrors {
    pub(super) fn one(key: &str, problem: String) -> Self {
        Self(vec![PolicyError::new(key, problem)])
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// Keys of the full design that are not built yet: table path (`stage` for every stage) and key.
const NOT_YET: &[(&str, &str)] = &[
    ("", "check"),
    ("", "window"),
    ("", "blackout"),
    ("", "hold"),
    ("", "hooks"),
    ("", "notify"),
    ("defaults", "rounding"),
    ("stage", "approvals"),
    ("stage", "growth"),
    ("stage", "max_unavailable"),
    ("stage", "hold"),
    ("stage", "hooks"),
    ("soak", "epochs"),
    ("soak", "time"),
    ("abort_if", "or_percent"),
    ("abort_if", "min_samples"),
];

/// Values of the full design that are not built yet: table, key, value.
const NOT_YET_VALUES: &[(&str, &str, &str)] = &[
    ("rollout", "mode", "at_height"),
    ("rollout", "mode", "emergency"),
    ("rollout", "supersede", "queue"),
    ("rollout", "supersede", "replace"),
    ("quorum", "rule", "weighted_two_thirds"),
    ("defaults", "offline", "fail"),
    ("defaults", "on_failure", "forward"),
    ("defaults", "download_before", "stage"),
];

fn is_not_yet(table: &str, key: &str, value: &toml::Value) -> bool {
    NOT_YET.contains(&(table, key))
        || value.as_str().is_some_and(|v| NOT_YET_VALUES.contains(&(table, key, v)))
}

/// Visits every table with its kind (as in [`NOT_YET`]) and its path for people.
fn tables(root: &mut toml::Table, visit: &mut dyn FnMut(&str, &str, &mut toml::Table)) {
    visit("", "", root);
    for kind in ["rollout", "quorum", "defaults"] {
        if let Some(toml::Value::Table(table)) = root.get_mut(kind) {
            visit(kind, kind, table);
        }
    }
    let Some(toml::Value::Array(stages)) = root.get_mut("stage") else { return };
    for (i, stage) in stages.iter_mut().enumerate() {
        let toml::Value::Table(stage) = stage else { continue };
        let name = stage.get("name").and_then(|n| n.as_str()).map_or((i + 1).to_string(), str::to_owned);
        visit("stage", &format!("stage.{name}"), stage);
        for kind in ["soak", "abort_if"] {
            if let Some(toml::Value::Table(table)) = stage.get_mut(kind) {
                visit(kind, &format!("stage.{name}.{kind}"), table);
            }
        }
    }
}

/// An error for every key and value that is not built yet.
pub(super) fn unsupported(root: &toml::Table) -> Vec<PolicyError> {
    let mut errors = Vec::new();
    tables(&mut root.clone(), &mut |kind, path, table| {
        for (key, value) in table.iter().filter(|(k, v)| is_not_yet(kind, k, v)) {
            let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let said = value.as_str().map_or(String::new(), |v| format!("{v:?} is "));
            errors.push(PolicyError::new(key, format!("{said}not supported yet")));
        }
    });
    errors
}

/// The same table without what [`unsupported`] found, so that the rest can be judged too.
pub(super) fn without_unsupported(mut root: toml::Table) -> toml::Table {
    tables(&mut root, &mut |kind, _, table| table.retain(|k, v| !is_not_yet(kind, k, v)));
    root
}

/// Judges a policy that was read; all errors at once.
pub(super) fn validate(read: PolicyToml) -> Result<PolicyFile, PolicyErrors> {
    let mut errors = Vec::new();
    numbers(&read, &mut errors);
    let (mut selectors, mut names) = (Vec::new(), BTreeSet::new());
    if read.stages.is_empty() {
        errors.push(PolicyError::new("stage", "at least one stage is needed"));
    }
    for stage in &read.stages {
        if !names.insert(stage.name.clone()) {
            errors.push(PolicyError::new(format!("stage.{}", stage.name), "the name is used twice"));
        }
        stage_values(stage, &mut errors);
        match Selector::parse(&stage.select) {
            Ok(selector) => selectors.push(selector),
            Err(e) => errors.push(PolicyError::new(format!("stage.{}.select", stage.name), e.to_string())),
        }
    }
    let after = order(&read.stages, &mut errors);
    if !errors.is_empty() {
        return Err(PolicyErrors(errors));
    }
    let PolicyToml { rollout, quorum, defaults, stages, .. } = read;
    Ok(PolicyFile { rollout, quorum, defaults, stages, selectors, after })
}

fn numbers(read: &PolicyToml, errors: &mut Vec<PolicyError>) {
    let mut refuse = |bad: bool, key: &str, problem: &str| {
        if bad {
            errors.push(PolicyError::new(key, problem));
        }
    };
    let (quorum, defaults) = (&read.quorum, &read.defaults);
    refuse(read.schema != 1, "schema", "this program knows schema 1");
    refuse(!quorum.unknown_is_down, "quorum.unknown_is_down", "false is not supported: unknown is down");
    let slow = quorum.max_block_slowdown;
    refuse(!(1.0..=1000.0).contains(&slow), "quorum.max_block_slowdown", "must be from 1.0 to 1000.0");
    refuse(quorum.view_max_age.as_ms() == 0, "quorum.view_max_age", "must be more than 0s");
    let weak = quorum.rule == QuorumRule::None && quorum.reserve > 1;
    refuse(weak, "quorum.reserve", "has no meaning with rule \"none\"");
    refuse(defaults.max_parallel == 0, "defaults.max_parallel", "must be at least 1");
    let proof = defaults.proof;
    refuse(!(1..=60).contains(&proof.blocks), "defaults.proof.blocks", "must be from 1 to 60");
    refuse(
        !(1..=proof.blocks).contains(&proof.seals),
        "defaults.proof.seals",
        "must be from 1 to proof.blocks",
    );
    refuse(!(1..=8).contains(&proof.compare), "defaults.proof.compare", "must be from 1 to 8");
    refuse(defaults.expect.switch.as_ms() == 0, "defaults.expect.switch", "must be more than 0s");
    let d = defaults.deadline;
    for (key, span) in [
        ("download", d.download),
        ("stop", d.stop),
        ("start", d.start),
        ("rpc", d.rpc),
        ("catch_up", d.catch_up),
        ("sealing", d.sealing),
        ("progress", d.progress),
    ] {
        refuse(span.as_ms() == 0, &format!("defaults.deadline.{key}"), "must be more than 0s");
    }
    let longest = d.download.max(d.stop).max(d.start).max(d.rpc).max(d.catch_up).max(d.sealing);
    refuse(
        d.progress < longest,
        "defaults.deadline.progress",
        "must not be shorter than the deadline of a single step",
    );
}

fn stage_values(stage: &StageTable, errors: &mut Vec<PolicyError>) {
    let mut refuse = |key: &str, problem: String| {
        errors.push(PolicyError::new(format!("stage.{}.{key}", stage.name), problem));
    };
    match (stage.count, stage.percent) {
        (Some(_), Some(_)) => refuse("percent", "count and percent exclude each other".to_owned()),
        (Some(0), None) => refuse("count", "0 nodes: a stage needs at least one".to_owned()),
        (None, Some(p)) if !(1..=100).contains(&p) => refuse("percent", "must be from 1 to 100".to_owned()),
        _ => {}
    }
    match &stage.parallel {
        Some(ParallelValue::Count(0)) => refuse("parallel", "must be at least 1 or \"slack\"".to_owned()),
        Some(ParallelValue::Word(word)) if word != "slack" => {
            refuse("parallel", format!("{word:?} is neither a number nor \"slack\""));
        }
        _ => {}
    }
    for text in &stage.gate {
        if let Err(problem) = read_gate(text) {
            refuse("gate", problem);
        }
    }
    if stage.abort_if.failed == 0 {
        refuse("abort_if.failed", "must be at least 1".to_owned());
    }
}

/// A gate from its text in a policy.
pub(super) fn read_gate(text: &str) -> Result<Gate, String> {
    match text {
        "state_root_equal" => Ok(Gate::StateRootEqual),
        "rpc_ok" => Ok(Gate::RpcOk),
        "sealing" => Ok(Gate::Sealing),
        "chain_health" => Ok(Gate::ChainHealth),
        _ if text.starts_with("metric:") => Err(format!("{text:?} is not supported yet")),
        _ => text.strip_prefix("peers>=").and_then(|n| n.trim().parse().ok()).map(Gate::Peers).ok_or_else(
            || format!("{text:?} is no gate: state_root_equal, rpc_ok, sealing, chain_health or peers>=N"),
        ),
    }
}

/// For each stage the stages it comes after: as written, or the one before it in the file.
fn order(stages: &[StageTable], errors: &mut Vec<PolicyError>) -> Vec<Vec<usize>> {
    let mut after = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let Some(names) = &stage.after else {
            after.push(i.checked_sub(1).into_iter().collect());
            continue;
        };
        let mut places = Vec::new();
        for name in names {
            match stages.iter().position(|s| s.name == *name) {
                Some(place) => places.push(place),
                None => errors.push(PolicyError::new(
                    format!("stage.{}.after", stage.name),
                    format!("there is no stage {name}"),
                )),
            }
        }
        after.push(places);
    }
    if let Some(stuck) = super::resolve::sorted(&after).err() {
        let names: Vec<_> = stuck.iter().map(|&i| stages[i].name.as_str()).collect();
        let key = format!("stage.{}.after", names.first().copied().unwrap_or_default());
        errors.push(PolicyError::new(key, format!("the stages {} wait for each other", names.join(", "))));
    }
    after
}
