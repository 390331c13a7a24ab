//! What the input says, worked out once: who is heard, who seals, who counts as down.
use super::{NodeView, PlanInput, QuorumReport};
use crate::chain::{Address, BlockSeals, ChainView};
use crate::id::NodeName;
use crate::inventory::Observation;
use crate::quorum::VoteSet;
use crate::release::InstalledRelease;
use crate::rollout::Reason;
use crate::time::Span;
use crate::wire::v1::ProcessState;
use std::collections::{BTreeMap, BTreeSet};

/// A validator without seal and proposal in this many newest sealed blocks counts as down. The seals of a block hold
/// only the first quorum of votes, so one block says nothing.
pub(super) const N_ABSENT: usize = 5;
/// The chain stands still when its head did not grow for this long, or five block intervals if that is longer.
const STANDSTILL: Span = Span::secs(15);
/// Blocks needed to say what the block interval is.
const MIN_INTERVALS: usize = 5;

/// The chain as far as decisions need it.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub view: &'a ChainView,
    pub head: u64,
    /// Mean block interval of the window in milliseconds.
    pub interval_ms: Option<u64>,
    /// Blocks of the window whose seals are known.
    pub sealed: Vec<&'a BlockSeals>,
    /// Who sealed or proposed in the newest sealed blocks.
    pub seen: BTreeSet<Address>,
    /// Blocks of the window by height.
    pub blocks: BTreeMap<u64, &'a BlockSeals>,
    /// The sets in which quorum must hold; empty when the chain has no BFT set.
    pub sets: Vec<VoteSet>,
}

/// Who counts as down, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Down {
    pub causes: BTreeMap<Address, String>,
    pub set: BTreeSet<Address>,
    /// Permissions of nodes that are no longer registered: votes of nobody knows whom.
    pub nameless: u64,
    /// Of `set`, those we did not stop and that do not seal.
    pub unexpected: Vec<String>,
}

impl Down {
    fn add(&mut self, who: Address, cause: String) {
        self.set.insert(who);
        self.causes.entry(who).or_insert(cause);
    }

    /// Counts one more permission.
    pub fn permit(&mut self, who: Address, name: &NodeName) {
        self.add(who, format!("{name}: permitted"));
    }
}

/// The facts of one pass.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub input: &'a PlanInput,
    pub chain: Option<Chain<'a>>,
}

impl<'a> Facts<'a> {
    pub fn new(input: &'a PlanInput) -> Self {
        Self { input, chain: usable(input).map(Chain::new) }
    }

    pub fn head(&self) -> Option<u64> {
        self.chain.as_ref().map(|c| c.head)
    }

    /// What the node said, if it was heard lately.
    pub fn heard(&self, name: &NodeName) -> Option<&'a Observation> {
        self.heard_of(self.input.nodes.get(name)?)
    }

    /// What the node said, if it was heard lately and knows its newest instruction.
    pub fn current(&self, name: &NodeName) -> Option<&'a Observation> {
        self.current_of(self.input.nodes.get(name)?)
    }

    /// As [`Facts::heard`], for whoever has the node at hand.
    pub fn heard_of(&self, view: &'a NodeView) -> Option<&'a Observation> {
        let observed = view.observed.as_ref()?;
        (self.input.now.since(observed.received_at) <= self.input.silent_after).then_some(observed)
    }

    /// As [`Facts::current`], for whoever has the node at hand.
    pub fn current_of(&self, view: &'a NodeView) -> Option<&'a Observation> {
        self.heard_of(view).filter(|o| o.generation >= view.desired.generation)
    }

    /// Whether this is the release of the rollout.
    pub fn is_target(&self, running: Option<&InstalledRelease>) -> bool {
        let release = &self.input.rollout.release;
        running.is_some_and(|r| r.name == release.name && r.sequence == release.sequence)
    }

    /// The address with which a node votes now or in the next epoch; `None` for every other node.
    pub fn voter(&self, name: &NodeName) -> Option<Address> {
        let address = self.input.nodes.get(name)?.record.validator?;
        let chain = self.chain.as_ref()?;
        chain.sets.iter().any(|s| s.contains(&address)).then_some(address)
    }

    /// Whether the node votes now or in the next epoch.
    pub fn votes(&self, view: Option<&NodeView>) -> bool {
        let (Some(address), Some(chain)) = (view.and_then(|v| v.record.validator), &self.chain) else {
            return false;
        };
        chain.sets.iter().any(|s| s.contains(&address))
    }

    /// Why the chain permits nothing to anybody; `None` when it does not stand in the way.
    pub fn chain_block(&self) -> Option<Reason> {
        let Some(chain) = &self.chain else { return Some(Reason::ChainViewMissing) };
        let (now, quorum) = (self.input.now, &self.input.rollout.policy.quorum);
        let age = now.since(chain.view.observed_at);
        if age > quorum.view_max_age {
            return Some(Reason::ChainViewStale { age });
        }
        let age = now.since(chain.view.head_advanced_at);
        let patience = Span(chain.interval_ms.unwrap_or_default().saturating_mul(5)).max(STANDSTILL);
        if age > patience {
            return Some(Reason::ChainNotAdvancing { height: chain.head, age });
        }
        self.slow()
    }

    fn slow(&self) -> Option<Reason> {
        let rollout = &self.input.rollout;
        let interval_ms = self.chain.as_ref()?.interval_ms?;
        let baseline = rollout.baseline_interval_ms?;
        let limit_ms = baseline.saturating_mul(rollout.policy.quorum.max_block_slowdown_milli) / 1000;
        (interval_ms > limit_ms).then_some(Reason::ChainSlow { interval_ms, limit_ms })
    }

    /// Everybody who counts as down while `holders` hold permissions.
    pub fn down<'n>(&self, holders: impl Iterator<Item = &'n NodeName>) -> Down {
        let mut down = Down::default();
        for name in holders {
            match self.input.nodes.get(name) {
                None => down.nameless += 1,
                Some(node) => {
                    if let Some(address) = node.record.validator {
                        down.permit(address, name);
                    }
                }
            }
        }
        let mut names = BTreeMap::new();
        for (name, node) in &self.input.nodes {
            let Some(address) = node.record.validator else { continue };
            names.insert(address, name);
            match self.heard_of(node).map(|o| &o.report.process) {
                Some(ProcessState::Running { .. }) => {}
                Some(_) => down.add(address, format!("{name}: its process does not run")),
                None => down.add(address, format!("{name}: its agent is silent")),
            }
        }
        let Some(chain) = &self.chain else { return down };
        for address in chain.view.validators.iter().filter(|a| !chain.seen.contains(a)) {
            let label = names.get(address).map_or_else(|| address.to_string(), ToString::to_string);
            let permitted = down.causes.get(address).is_some_and(|c| c.ends_with(": permitted"));
            if !permitted {
                down.unexpected.push(label.clone());
            }
            down.add(*address, format!("{label}: does not seal"));
        }
        down
    }

    /// Votes above quorum in the worst set if everybody of ours were back, as far as the chain shows: for reckoning
    /// ahead, never for a grant.
    pub fn expected_slack(&self, at_work: impl Fn(&NodeName) -> bool) -> Option<i64> {
        let chain = self.chain.as_ref()?;
        let busy: BTreeSet<Address> = self
            .input
            .nodes
            .iter()
            .filter(|(name, _)| at_work(name))
            .filter_map(|(_, node)| node.record.validator)
            .collect();
        let absent = chain.view.validators.iter().filter(|a| !chain.seen.contains(a) && !busy.contains(a));
        let absent: BTreeSet<Address> = absent.copied().collect();
        chain.sets.iter().map(|s| s.slack(&absent, 0)).min()
    }

    /// How consensus stands in the set that has the least to spare.
    pub fn quorum_report(&self, down: &Down) -> Option<QuorumReport> {
        let chain = self.chain.as_ref()?;
        let set = chain.sets.iter().min_by_key(|s| s.slack(&down.set, down.nameless))?;
        Some(QuorumReport {
            total: set.total(),
            quorum: set.quorum(),
            reserve: self.input.rollout.policy.quorum.reserve,
            live: set.live(&down.set, down.nameless),
            slack: set.slack(&down.set, down.nameless),
            down: down
                .causes
                .iter()
                .filter(|(a, _)| set.contains(a))
                .map(|(a, cause)| match cause.split_once(": ") {
                    Some((name, why)) => (name.to_owned(), why.to_owned()),
                    None => (a.to_string(), cause.clone()),
                })
                .collect(),
        })
    }
}

/// The view, if enough endpoints agree on it and it is of the chain the release is for.
fn usable(input: &PlanInput) -> Option<&ChainView> {
    let manifest = &input.rollout.manifest;
    input.chain.as_ref().filter(|view| {
        view.agreeing.len() >= view.required.max(1)
            && view.chain_id == manifest.chain_id
            && view.genesis_hash == manifest.genesis_hash
    })
}

impl<'a> Chain<'a> {
    fn new(view: &'a ChainView) -> Self {
        let sealed: Vec<_> = view.window.iter().filter(|b| !b.sealers.is_empty()).collect();
        let newest = sealed.iter().rev().take(N_ABSENT);
        let seen = newest.flat_map(|b| b.sealers.iter().copied().chain([b.proposer])).collect();
        let mut sets = Vec::new();
        if view.bft {
            sets.push(VoteSet::new(view.validators.iter().copied()));
            if !view.next_validators.is_empty() {
                sets.push(VoteSet::new(view.next_validators.iter().copied()));
            }
        }
        let blocks = view.window.iter().map(|b| (b.block.height, b)).collect();
        Self { view, head: view.head.height, interval_ms: interval_ms(view), sealed, seen, blocks, sets }
    }
}

fn interval_ms(view: &ChainView) -> Option<u64> {
    let (first, last) = (view.window.first()?, view.window.last()?);
    let intervals = view.window.len() - 1;
    if intervals < MIN_INTERVALS {
        return None;
    }
    let seconds = last.block.timestamp_s.saturating_sub(first.block.timestamp_s);
    Some((seconds.saturating_mul(1000) / intervals as u64).max(1))
}
