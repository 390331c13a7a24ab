//! A policy meets a fleet: selectors become names, shares become numbers.
use super::schema::{ParallelValue, PolicyFile, StageTable};
use super::validate::{PolicyError, PolicyErrors, read_gate};
use super::{Parallel, ProofPolicy, QuorumPolicy, QuorumRule, ResolvedPolicy, ResolvedStage};
use crate::fleet::{NodeRecord, Role};
use crate::id::{NetworkName, NodeName, PolicyName};
use std::collections::{BTreeMap, BTreeSet};

/// An order of stages in which each comes after those it names.
///
/// # Errors
/// The stages that wait for each other.
pub(super) fn sorted(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < after.len() {
        let next = (0..after.len())
            .find(|i| !order.contains(i) && after[*i].iter().all(|before| order.contains(before)));
        match next {
            Some(i) => order.push(i),
            None => return Err((0..after.len()).filter(|i| !order.contains(i)).collect()),
        }
    }
    Ok(order)
}

impl PolicyFile {
    /// Whether a draft made by governance is approved by the policy itself.
    pub fn auto_approve(&self) -> bool {
        self.rollout.auto_approve
    }

    /// The network it names, when it names one.
    pub fn network(&self) -> Option<&NetworkName> {
        self.rollout.network.as_ref()
    }

    /// Meets the fleet. Nodes of other networks are ignored.
    ///
    /// # Errors
    /// [`PolicyErrors`]: everything that is wrong, each with its key.
    pub fn resolve(&self, name: PolicyName, nodes: &[NodeRecord]) -> Result<ResolvedPolicy, PolicyErrors> {
        let network = self.resolve_network(nodes).map_err(|e| PolicyErrors(vec![e]))?;
        let fleet: BTreeMap<&NodeName, &NodeRecord> =
            nodes.iter().filter(|n| n.network == network).map(|n| (&n.name, n)).collect();
        let mut errors = Vec::new();
        let order = sorted(&self.after).unwrap_or_default();
        let mut free: BTreeSet<&NodeName> =
            fleet.keys().copied().filter(|n| !self.rollout.left_out.contains(n)).collect();
        for missing in self.rollout.left_out.iter().filter(|n| !fleet.contains_key(n)) {
            let problem = format!("{missing} is no node of network {network}");
            errors.push(PolicyError::new("rollout.left_out", problem));
        }
        let mut stages = Vec::new();
        for &i in &order {
            let taken = self.take(i, &fleet, &free, &mut errors);
            for node in &taken {
                free.remove(node);
            }
            let after = self.after[i].iter().filter_map(|b| order.iter().position(|o| o == b)).collect();
            stages.push(resolve_stage(&self.stages[i], after, taken));
        }
        if !free.is_empty() {
            let names: Vec<_> = free.iter().map(|n| n.as_str()).collect();
            let problem = format!("no stage takes {}; list them in rollout.left_out", names.join(", "));
            errors.push(PolicyError::new("stage", problem));
        }
        if errors.is_empty() { Ok(self.resolved(name, network, stages)) } else { Err(PolicyErrors(errors)) }
    }

    fn resolve_network(&self, nodes: &[NodeRecord]) -> Result<NetworkName, PolicyError> {
        let networks: BTreeSet<_> = nodes.iter().map(|n| &n.network).collect();
        let refuse = |problem: String| Err(PolicyError::new("rollout.network", problem));
        match &self.rollout.network {
            Some(named) if networks.contains(named) => Ok(named.clone()),
            Some(named) => refuse(format!("no node is registered in network {named}")),
            None => match networks.iter().next() {
                Some(only) if networks.len() == 1 => Ok((*only).clone()),
                Some(_) => refuse("the fleet has several networks; name one".to_owned()),
                None => refuse("no node is registered".to_owned()),
            },
        }
    }

    /// The nodes of one stage, in name order.
    fn take(
        &self,
        i: usize,
        fleet: &BTreeMap<&NodeName, &NodeRecord>,
        free: &BTreeSet<&NodeName>,
        errors: &mut Vec<PolicyError>,
    ) -> Vec<NodeName> {
        let stage = &self.stages[i];
        let mut refuse = |key: &str, problem: String| {
            errors.push(PolicyError::new(format!("stage.{}.{key}", stage.name), problem));
        };
        let group: Vec<_> = fleet.values().filter(|n| self.selectors[i].matches(n)).collect();
        let open: Vec<_> = group.iter().filter(|n| free.contains(&n.name)).collect();
        if group.is_empty() {
            refuse("select", "selects no node".to_owned());
            return Vec::new();
        }
        if open.is_empty() {
            refuse("select", "every node it selects is taken by an earlier stage or left out".to_owned());
            return Vec::new();
        }
        let size = group.len();
        let wanted = match (stage.count, stage.percent) {
            (Some(count), _) => count as usize,
            (None, Some(percent)) => size * percent as usize / 100,
            (None, None) => open.len(),
        };
        if wanted == 0 {
            let percent = stage.percent.unwrap_or_default();
            refuse("percent", format!("{percent} percent of {size} node(s) is 0 nodes"));
        }
        let canary = stage.count.is_some() || stage.percent.is_some_and(|p| p < 100);
        if canary && wanted >= size {
            refuse(
                "count",
                format!(
                    "{wanted} of {size} selected node(s): a canary must be smaller than its group; leave count out to take all"
                ),
            );
        } else if wanted > open.len() {
            refuse("count", format!("{wanted} node(s) wanted, {} are left to take", open.len()));
        }
        for node in open.iter().filter(|n| n.role == Role::Validator) {
            if self.quorum.rule == QuorumRule::None {
                refuse("select", format!("{} is a validator and quorum.rule is \"none\"", node.name));
            } else if node.validator.is_none() {
                refuse("select", format!("{} is a validator without a validator address", node.name));
            }
        }
        open.into_iter().take(wanted).map(|n| n.name.clone()).collect()
    }

    fn resolved(&self, name: PolicyName, network: NetworkName, stages: Vec<ResolvedStage>) -> ResolvedPolicy {
        let (quorum, defaults) = (&self.quorum, &self.defaults);
        let proof = defaults.proof;
        ResolvedPolicy {
            name,
            network,
            auto_approve: self.rollout.auto_approve,
            quorum: QuorumPolicy {
                rule: quorum.rule,
                reserve: quorum.reserve,
                epoch_guard: quorum.epoch_guard,
                spread_by: quorum.spread_by.clone(),
                avoid_adjacent_proposers: quorum.avoid_adjacent_proposers,
                max_block_slowdown_milli: thousandths(quorum.max_block_slowdown),
                view_max_age: quorum.view_max_age,
            },
            max_parallel: defaults.max_parallel,
            deadlines: defaults.deadline,
            stages,
            left_out: self.rollout.left_out.clone(),
            mode: self.rollout.mode,
            offline: defaults.offline,
            on_failure: defaults.on_failure,
            proof: ProofPolicy { blocks: proof.blocks, seals: proof.seals, compare: proof.compare },
            expect_switch: defaults.expect.switch,
        }
    }
}

/// The value was checked to lie between 1 and 1000.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn thousandths(value: f64) -> u64 {
    (value * 1000.0).round() as u64
}

fn resolve_stage(stage: &StageTable, after: Vec<usize>, nodes: Vec<NodeName>) -> ResolvedStage {
    ResolvedStage {
        name: stage.name.clone(),
        after,
        nodes,
        parallel: match stage.parallel {
            Some(ParallelValue::Count(n)) => Parallel::Count(n),
            _ => Parallel::Slack,
        },
        soak_blocks: stage.soak.blocks,
        gates: stage.gate.iter().filter_map(|g| read_gate(g).ok()).collect(),
        promote: stage.promote,
        abort_failed: stage.abort_if.failed,
    }
}
