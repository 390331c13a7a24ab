//! The coordinator as its reconciliation does it: durable rollout, instructions and permissions; observations and the
//! chain view in memory only.
use super::rng::Rng;
use crate::toy;
use common::fleet::NodeRecord;
use common::id::{PolicyName, RolloutId};
use common::manifest::Activation;
use common::planner::{Action, NodeView, OutstandingPermission, Plan, PlanInput};
use common::policy::PolicyFile;
use common::release::Digest;
use common::rollout::{Control, Origin, Rollout, Verb};
use common::time::{Span, UnixMs};
use common::wire::v1::Instruction;
use std::collections::BTreeMap;

pub const SILENT_AFTER: Span = Span::secs(20);

#[derive(Debug)]
pub struct Coordinator {
    /// The store and the memory, as the planner is handed them.
    pub input: PlanInput,
    pub up: bool,
}

fn policy(rng: &mut Rng, rpcs: usize) -> String {
    let reserve = format!("reserve = {}", rng.range(0, 1));
    let mut defaults = format!("max_parallel = {}", rng.range(1, 6));
    if rng.chance(400) {
        defaults.push_str("\non_failure = \"rollback\"");
    }
    if rng.chance(300) {
        defaults.push_str("\noffline = \"block\"");
    }
    let mut text = toy::POLICY
        .replace("reserve = 1", &reserve)
        .replace("max_parallel = 8", &defaults)
        .replace(
            "download = \"2m\", stop = \"1m\", start = \"1m\"",
            "download = \"1m\", stop = \"30s\", start = \"30s\"",
        )
        .replace("progress = \"5m\"", "progress = \"4m\"")
        .replace("sealing = \"2m\"", "sealing = \"1m\"");
    if rng.chance(300) {
        text = text.replace("\nparallel = 2", "\nparallel = 1\npromote = \"manual\"");
    }
    if rng.chance(300) {
        // No canary: the remaining validators alone.
        let from = text.find("[[stage]]\nname = \"validator-canary\"").unwrap();
        let to = text.find("[[stage]]\nname = \"validators\"").unwrap();
        text.replace_range(from..to, "");
    }
    if rpcs == 1 {
        let from = text.find("[[stage]]\nname = \"rpc\"").unwrap();
        let to = text.find("[[stage]]\nname = \"validator").unwrap();
        text.replace_range(from..to, "");
        text = text.replacen("count = 1\n", "", 1);
    }
    text
}

impl Coordinator {
    pub fn new(nodes: Vec<NodeRecord>, now: UnixMs, rng: &mut Rng) -> Coordinator {
        let rpcs = nodes.iter().filter(|n| n.validator.is_none()).count();
        let manifest = toy::manifest(Activation::Anytime);
        let release = manifest.as_ref(Digest([9; 32]));
        let file = PolicyFile::parse(&policy(rng, rpcs)).unwrap();
        let resolved = file.resolve(PolicyName::new("sim").unwrap(), &nodes).unwrap();
        let by = Origin::Operator { name: "ada".into() };
        let id = RolloutId::new("r1").unwrap();
        let draft = Rollout::draft(id, release, manifest, resolved, by, now);
        let (rollout, _) = draft.apply(Verb::Approve, "ada", "go", now).unwrap();
        let view = |record: NodeRecord| NodeView { record, observed: None, desired: Instruction::none() };
        let input = PlanInput {
            now,
            rollout,
            nodes: nodes.into_iter().map(|r| (r.name.clone(), view(r))).collect(),
            permissions: BTreeMap::new(),
            chain: None,
            cancelled_on_chain: false,
            next_permission: 1,
            silent_after: SILENT_AFTER,
        };
        Coordinator { input, up: true }
    }

    pub fn crash(&mut self) {
        self.up = false;
        self.input.chain = None;
        self.input.nodes.values_mut().for_each(|n| n.observed = None);
    }

    /// Carries out a verb if it is legal now.
    pub fn verb(&mut self, verb: Verb, now: UnixMs) -> bool {
        let made = self.input.rollout.apply(verb, "eve", "why not", now);
        made.map(|(next, _)| self.input.rollout = next).is_ok()
    }

    pub fn store(&mut self, plan: Plan) {
        for action in &plan.actions {
            match action {
                Action::Instruct { node, release, goal, limits } => {
                    let desired = &mut self.input.nodes.get_mut(node).unwrap().desired;
                    *desired = Instruction {
                        generation: desired.generation + 1,
                        rollout: release.as_ref().map(|_| plan.rollout.id.clone()),
                        release: release.clone(),
                        goal: goal.clone(),
                        limits: *limits,
                    };
                }
                Action::Grant { node, permission } => {
                    self.input.next_permission = self.input.next_permission.max(permission.id + 1);
                    let rollout = Some(plan.rollout.id.clone());
                    let held = OutstandingPermission { permission: permission.clone(), rollout };
                    self.input.permissions.insert(node.clone(), held);
                }
                Action::Free { node, permission } => {
                    let granted_since = plan
                        .actions
                        .iter()
                        .any(|a| matches!(a, Action::Grant { node: other, .. } if other == node));
                    let stored = self.input.permissions.get(node).map(|p| p.permission.id);
                    if stored == Some(*permission) && !granted_since {
                        self.input.permissions.remove(node);
                    }
                }
            }
        }
        self.input.rollout = plan.rollout;
    }

    pub fn control(&self) -> &Control {
        &self.input.rollout.control
    }
}
