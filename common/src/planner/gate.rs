//! Gates: conditions on a stage whose nodes are all proved. No data is inconclusive, and inconclusive does not pass.
use super::pass::Pass;
use super::proof;
use crate::id::NodeName;
use crate::policy::Gate;
use crate::rollout::NodeState;

/// What a stage's gates say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Passed,
    /// Which gate and why.
    NotPassed(String),
}

/// Judges every gate of a stage; the first that does not hold is named.
pub(super) fn judge(pass: &Pass<'_>, index: usize) -> Judgement {
    let Some(stage) = pass.rollout.policy.stages.get(index) else { return Judgement::Passed };
    let proved: Vec<&NodeName> =
        stage.nodes.iter().filter(|n| pass.node(n).is_some_and(|n| n.state == NodeState::Done)).collect();
    for gate in &stage.gates {
        let found = match gate {
            Gate::StateRootEqual => first(&proved, |n| state_root_equal(pass, n)),
            Gate::RpcOk => first(&proved, |n| rpc_ok(pass, n)),
            Gate::Sealing => first(&proved, |n| sealing(pass, n)),
            Gate::Peers(least) => first(&proved, |n| peers(pass, n, *least)),
            Gate::ChainHealth => chain_health(pass),
        };
        if let Some(why) = found {
            return Judgement::NotPassed(format!("{}: {why}", name(gate)));
        }
    }
    Judgement::Passed
}

fn first(nodes: &[&NodeName], wrong: impl Fn(&NodeName) -> Option<String>) -> Option<String> {
    nodes.iter().find_map(|n| wrong(n))
}

fn name(gate: &Gate) -> String {
    match gate {
        Gate::StateRootEqual => "state_root_equal".to_owned(),
        Gate::RpcOk => "rpc_ok".to_owned(),
        Gate::Sealing => "sealing".to_owned(),
        Gate::ChainHealth => "chain_health".to_owned(),
        Gate::Peers(least) => format!("peers>={least}"),
    }
}

fn state_root_equal(pass: &Pass<'_>, name: &NodeName) -> Option<String> {
    match proof::evidence(&pass.facts, name, pass.node(name)?) {
        None => Some(format!("no data from {name}")),
        Some(found) => match found.diverged {
            Some(height) => Some(format!("{name} differs at height {height}")),
            None if found.equal == 0 => Some(format!("no block of {name} could be compared")),
            None => None,
        },
    }
}

fn rpc_ok(pass: &Pass<'_>, name: &NodeName) -> Option<String> {
    match pass.facts.heard(name) {
        None => Some(format!("no data from {name}")),
        Some(said) if said.report.health.rpc_up => None,
        Some(_) => Some(format!("the RPC of {name} does not answer")),
    }
}

fn sealing(pass: &Pass<'_>, name: &NodeName) -> Option<String> {
    let Some(chain) = &pass.facts.chain else { return Some("no chain view".to_owned()) };
    let address = pass.facts.voter(name)?;
    (!chain.seen.contains(&address)).then(|| format!("{name} does not seal"))
}

fn peers(pass: &Pass<'_>, name: &NodeName, least: u32) -> Option<String> {
    match pass.facts.heard(name).and_then(|s| s.report.health.peers) {
        None => Some(format!("no data from {name}")),
        Some(peers) if peers >= least => None,
        Some(peers) => Some(format!("{name} has {peers}")),
    }
}

fn chain_health(pass: &Pass<'_>) -> Option<String> {
    if let Some(reason) = pass.facts.chain_block() {
        return Some(reason.message());
    }
    pass.rollout.baseline_interval_ms.is_none().then(|| "the block interval is not known".to_owned()).or_else(
        || {
            let report = pass.facts.quorum_report(&pass.down())?;
            let reserve = i64::try_from(report.reserve).unwrap_or(i64::MAX);
            (report.slack < reserve)
                .then(|| format!("{} vote(s) above quorum, the reserve is {reserve}", report.slack))
        },
    )
}
