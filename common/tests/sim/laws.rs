//! What must hold after every event, judged by the truth of the world and not by what anybody was told.
use super::host::Host;
use super::world::World;
use common::id::NodeName;
use common::planner::{Action, Plan};
use common::rollout::Control;
use common::wire::v1::Goal;
use std::collections::BTreeSet;

/// How long an unexpected loss may stay unseen: silence, and blocks without a seal.
const UNSEEN_MS: u64 = 30_000;

impl World {
    pub fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// After every event: hosts are whole, and never are more validators down because of us than the chain bears.
    pub fn judge(&mut self) {
        let now = self.now;
        let mut ours_down = 0;
        let mut found = None;
        for (name, host) in &self.hosts {
            if !host.is_whole() {
                found = Some(format!("{name} is on neither release"));
            }
            let generation = host
                .machine
                .as_ref()
                .map_or(host.disk.instruction.generation, |m| m.ledger().instruction.generation);
            if generation < host.generation {
                found = Some(format!("I4: {name} went from generation {} to {generation}", host.generation));
            }
            let votes = self.coordinator.input.nodes[name].record.validator.is_some();
            if votes && !host.seals(now) && !by_itself(host, now) {
                ours_down += 1;
            }
        }
        for host in self.hosts.values_mut() {
            host.fell &= !host.is_up(now) && !host.stop_asked;
            if let Some(machine) = &host.machine {
                host.generation = machine.ledger().instruction.generation;
            }
        }
        let borne = self.chain.validators.len() - self.chain.quorum();
        if ours_down > borne {
            found =
                Some(format!("I1: {ours_down} validators are down because of us, the chain bears {borne}"));
        }
        if let Some(what) = found {
            self.violated(what);
        }
    }

    /// Before a plan is stored.
    pub fn judge_plan(&mut self, plan: &Plan) {
        let input = &self.coordinator.input;
        let paused = matches!(input.rollout.control, Control::Paused { .. });
        let held = matches!(plan.rollout.control, Control::Held { .. });
        let mut found = Vec::new();
        let mut holders: BTreeSet<NodeName> = input.permissions.keys().cloned().collect();
        for action in &plan.actions {
            match action {
                Action::Grant { node, permission } => {
                    if paused || held {
                        found.push(format!("I8: {node} was permitted while {:?}", plan.rollout.control));
                    }
                    let back = plan.actions.iter().any(|a| matches!(a, Action::Instruct { node: n, goal: Goal::Rollback { permission: p }, .. } if n == node && p == permission));
                    if !holders.insert(node.clone()) && !back {
                        found.push(format!("I3: {node} holds a permission and got {}", permission.id));
                    }
                    // On its way back a validator that the chain shows to be absent costs nothing.
                    let votes = self.coordinator.input.nodes[node].record.validator.is_some();
                    let free = !votes || (back && self.is_absent(node));
                    if let Some(what) = self.slack_is_gone(&holders).filter(|_| !free) {
                        found.push(format!("I1: {node} was permitted and {what}"));
                    }
                }
                Action::Free { node, permission } => {
                    holders.remove(node);
                    if let Some(what) = self.freed_without_proof(node, *permission) {
                        found.push(format!("I2: {node} was freed of {permission}: {what}"));
                    }
                }
                Action::Instruct { node, .. } if paused => {
                    found.push(format!("I8: {node} was instructed while paused"))
                }
                Action::Instruct { .. } => {}
            }
        }
        if !plan.rollout.is_over() && plan.rollout.waiting.is_empty() {
            found.push("I7: the rollout waits for nothing".to_owned());
        }
        if let Some(what) = found.into_iter().next() {
            self.violated(what);
        }
    }

    /// Votes that are up for certain once all holders are down, against quorum and reserve. What broke by itself
    /// within [`UNSEEN_MS`] cannot be known.
    fn slack_is_gone(&self, holders: &BTreeSet<NodeName>) -> Option<String> {
        let lost_unseen = |since: Option<u64>| since.is_some_and(|at| self.now < at + UNSEEN_MS);
        let mut live = self.foreign.values().filter(|f| f.up || lost_unseen(Some(f.since))).count();
        let nodes = &self.coordinator.input.nodes;
        for (name, host) in self.hosts.iter().filter(|(n, _)| nodes[*n].record.validator.is_some()) {
            let up = host.seals(self.now) || lost_unseen(host.crashed_at);
            live += usize::from(up && !holders.contains(name));
        }
        // A non-voter takes nothing from the chain, but a grant must never happen on a chain without quorum either.
        let granted_voters = holders.iter().any(|n| nodes[n].record.validator.is_some());
        let reserve = usize::try_from(self.coordinator.input.rollout.policy.quorum.reserve).unwrap();
        let quorum = self.chain.quorum();
        (granted_voters && live < quorum + reserve)
            .then(|| format!("{live} votes are left of {quorum} and {reserve} in reserve"))
    }

    /// Whether none of the newest five blocks whose seals are known shows the validator.
    fn is_absent(&self, node: &NodeName) -> bool {
        let Some(address) = self.coordinator.input.nodes[node].record.validator else { return false };
        let mut newest = self.chain.window.iter().rev().skip(1).take(5);
        !newest.any(|b| b.proposer == address || b.sealers.contains(&address))
    }

    /// A slot is free when the node works, or when the agent can never use the permission any more.
    fn freed_without_proof(&self, node: &NodeName, permission: u64) -> Option<String> {
        let host = &self.hosts[node];
        let desired = self.coordinator.input.nodes[node].desired.generation;
        let unusable = host.disk.spent_permission < permission && host.disk.instruction.generation >= desired;
        let works = host.process.as_ref().is_some_and(|p| p.worked > 0 && p.up_at <= self.now);
        let ended = host.crashed_at.into_iter().chain(host.worked_until).max();
        let broke_since = ended.is_some_and(|at| self.now < at + UNSEEN_MS);
        (!unusable && !works && !broke_since).then(|| format!("process {:?}", host.process))
    }

    /// Before the host stops its node.
    pub fn judge_stop(&mut self, node: &NodeName) {
        let host = &self.hosts[node];
        if host.process.as_ref().is_none_or(|p| p.stopping) {
            return;
        }
        let id = host.disk.spent_permission;
        let end = host.delivered.get(&id).copied();
        let what = match end {
            None => Some(format!("I5: {node} is stopped and permission {id} never came")),
            Some(_) if id < host.used => {
                Some(format!("I5: {node} is stopped under {id} after {}", host.used))
            }
            Some(end) if id > host.used && self.now >= end.0 => {
                Some(format!("I5: {node} is stopped after the end of {id}"))
            }
            Some(_) => None,
        };
        if let Some(host) = self.hosts.get_mut(node) {
            host.used = id.max(host.used);
        }
        if let Some(what) = what {
            self.violated(what);
        }
    }

    /// I14: after the last fault, either over or stopped for a reason, and the chain alive.
    pub fn judge_end(&mut self) {
        let rollout = &self.coordinator.input.rollout;
        let held = matches!(&rollout.control, Control::Held { .. });
        let halted = self.now > self.chain.advanced_at + 20_000;
        if !rollout.is_over() && !held {
            let states: Vec<_> = rollout.nodes.iter().map(|(n, p)| (n.as_str(), p.state)).collect();
            let what = format!(
                "I14: neither over nor held: {:?} {:?} {states:?} waiting {:?}",
                rollout.phase, rollout.control, rollout.waiting
            );
            self.violated(what);
        } else if halted {
            self.violated("I1: the chain stands at the end".to_owned());
        }
    }
}

/// Whether the node is down because it ended by itself, and has not been up or been stopped since.
fn by_itself(host: &Host, now: u64) -> bool {
    let lately = host.crashed_at.is_some_and(|at| now < at + UNSEEN_MS);
    lately || host.fell
}
