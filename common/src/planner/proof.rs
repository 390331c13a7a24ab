//! Proof of life: only the chain frees a slot, never an agent's word.
use super::facts::{Chain, Facts};
use super::pass::Pass;
use crate::chain::Address;
use crate::id::NodeName;
use crate::policy::ProofPolicy;
use crate::rollout::{NodeProgress, NodeState, Proof, Reason};
use crate::wire::v1::{AgentPhase, Goal, NodeHealth, ProcessState};

/// Seals that a block proposed at round 0 needs beside it.
const SEALS_WITH_PROPOSAL: u64 = 2;

/// What the chain shows of a node since its process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evidence {
    pub seals: u64,
    pub proposed: u64,
    pub equal: u64,
    pub heights: (u64, u64),
    /// A height at which the node has another block than the network.
    pub diverged: Option<u64>,
}

impl Evidence {
    fn proves(&self, rule: &ProofPolicy, votes: bool) -> bool {
        let seals =
            !votes || self.seals >= rule.seals || (self.proposed > 0 && self.seals >= SEALS_WITH_PROPOSAL);
        self.diverged.is_none() && seals && self.equal >= rule.compare
    }
}

/// Gathers evidence. `None` when there is no view on which enough endpoints other than the node itself agree, when the
/// node is not heard, or when it is not known since when its process runs.
pub(super) fn evidence(facts: &Facts<'_>, name: &NodeName, node: &NodeProgress) -> Option<Evidence> {
    let chain = facts.chain.as_ref()?;
    let others = chain.view.agreeing.iter().filter(|n| *n != name).count();
    if others < chain.view.required.max(1) {
        return None;
    }
    // The head may have been read a moment before the process was seen: leave one block out.
    let after = node.started_height? + 1;
    let said = facts.heard(name)?;
    let mut found = compare(chain, &said.report.health, after);
    if let Some(address) = facts.voter(name) {
        votes(chain, address, after, facts.input.rollout.policy.proof.blocks, &mut found);
    }
    Some(found)
}

fn compare(chain: &Chain<'_>, health: &NodeHealth, after: u64) -> Evidence {
    let mut found = Evidence { seals: 0, proposed: 0, equal: 0, heights: (u64::MAX, 0), diverged: None };
    // Without instant finality the newest blocks may still change.
    let settled = if chain.view.bft { chain.head } else { chain.head.saturating_sub(2) };
    for own in health.recent.iter().filter(|b| b.height > after && b.height <= settled) {
        let Some(theirs) = chain.blocks.get(&own.height).map(|b| &b.block) else { continue };
        let same = own.hash == theirs.hash
            && own.state_root == theirs.state_root
            && own.receipts_root == theirs.receipts_root;
        if same {
            found.equal += 1;
            widen(&mut found.heights, own.height);
        } else {
            found.diverged.get_or_insert(own.height);
        }
    }
    found
}

fn votes(chain: &Chain<'_>, address: Address, after: u64, blocks: u64, found: &mut Evidence) {
    let newest = chain.sealed.iter().rev().filter(|b| b.block.height > after);
    for block in newest.take(usize::try_from(blocks).unwrap_or(usize::MAX)) {
        if block.sealers.contains(&address) {
            found.seals += 1;
            widen(&mut found.heights, block.block.height);
        }
        found.proposed += u64::from(block.proposer == address && block.round == 0);
    }
}

fn widen(heights: &mut (u64, u64), height: u64) {
    *heights = (heights.0.min(height), heights.1.max(height));
}

/// Ends the work on every node that the chain proves, and frees its slot.
pub(super) fn settle(pass: &mut Pass<'_>) {
    for name in pass.names_in(is_to_be_proved) {
        if let Some((state, proof)) = proved(pass, name) {
            pass.note(name, |n| n.proof = Some(proof));
            pass.enter(name, state, true);
            pass.free(name);
            pass.instruct(name, state == NodeState::Done, Goal::Run);
        }
    }
}

fn is_to_be_proved(state: NodeState) -> bool {
    use NodeState as S;
    matches!(state, S::RpcUp | S::CatchingUp | S::Sealing | S::NotSealing | S::SwitchFailed | S::RollingBack)
}

fn proved(pass: &Pass<'_>, name: &NodeName) -> Option<(NodeState, Proof)> {
    use NodeState as S;
    let node = pass.node(name)?;
    if !pass.can_act(name, 2) {
        return None;
    }
    let report = &pass.facts.current(name)?.report;
    let on_target = pass.facts.is_target(report.running.as_ref());
    let state = match node.state {
        S::SwitchFailed | S::RollingBack if !on_target => S::RolledBack,
        S::RollingBack => return None,
        _ if on_target => S::Done,
        _ => return None,
    };
    let at_rest =
        matches!(report.phase, AgentPhase::Done | AgentPhase::Failed | AgentPhase::Idle | AgentPhase::Ready);
    let up = report.health.rpc_up && matches!(report.process, ProcessState::Running { .. });
    if !(at_rest && up && report.running.is_some()) {
        return None;
    }
    let found = evidence(&pass.facts, name, node)?;
    let votes = pass.facts.voter(name).is_some();
    found.proves(&pass.rollout.policy.proof, votes).then(|| {
        let proof = Proof {
            at: pass.now,
            heights: found.heights,
            seals: found.seals,
            proposed: found.proposed,
            blocks_equal: found.equal,
        };
        (state, proof)
    })
}

/// Whether the node is seen at or past a height on the network's own blocks.
pub(super) fn passed(facts: &Facts<'_>, name: &NodeName, height: u64) -> bool {
    let (Some(chain), Some(said)) = (&facts.chain, facts.heard(name)) else { return false };
    let others = chain.view.agreeing.iter().filter(|n| *n != name).count();
    let found = compare(chain, &said.report.health, height.saturating_sub(1));
    others >= chain.view.required.max(1) && found.equal > 0 && found.diverged.is_none()
}

/// What a node that is being proved still lacks.
pub(super) fn missing(facts: &Facts<'_>, name: &NodeName, node: &NodeProgress) -> Reason {
    let rule = &facts.input.rollout.policy.proof;
    let found = evidence(facts, name, node);
    let (seals, equal) = found.map_or((0, 0), |e| (e.seals, e.equal));
    if facts.voter(name).is_some() && seals < rule.seals {
        Reason::SealMissing { node: name.clone(), seen: seals, need: rule.seals }
    } else {
        Reason::ProofPending { node: name.clone(), seen: equal, need: rule.compare }
    }
}
