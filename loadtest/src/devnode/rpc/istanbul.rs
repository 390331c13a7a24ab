//! The namespace `istanbul`: who may seal, and who did.
use super::RpcError;
use crate::devnode::consensus::proposer;
use crate::devnode::record::SealRecord;
use crate::devnode::runner::State;
use common::chain::{Address, Hash32};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Blocks `istanbul_status` looks at when no range is given.
const STATUS_WINDOW: u64 = 64;
/// Most blocks it looks at.
const MAX_STATUS: u64 = 1024;

pub(super) fn call(state: &State, method: &str, params: &[Value]) -> Option<Result<Value, RpcError>> {
    Some(match method {
        "istanbul_nodeAddress" => Ok(json!(state.identity.address)),
        "istanbul_getValidators" => height(state, params.first()).map(|_| json!(state.genesis.validators())),
        "istanbul_getValidatorsAtHash" => {
            by_hash(state, params.first()).map(|_| json!(state.genesis.validators()))
        }
        "istanbul_isValidator" => {
            let known = height(state, params.first()).is_ok();
            Ok(json!(known && state.genesis.validators().contains(&state.identity.address)))
        }
        "istanbul_getCommitSignersFromBlock" => {
            height(state, params.first()).map(|h| signers(state, h, record(state, h)))
        }
        "istanbul_getCommitSignersFromBlockByHash" => {
            by_hash(state, params.first()).map(|h| signers(state, h, record(state, h)))
        }
        "istanbul_getWbftExtraInfo" => extra_height(state, params.first()).map(|h| extra_info(state, h)),
        "istanbul_status" => status(state, params),
        _ => return None,
    })
}

/// A height by number or tag; absent means the head.
fn height(state: &State, param: Option<&Value>) -> Result<u64, RpcError> {
    let head = state.head();
    let found = match param {
        None | Some(Value::Null) => head,
        Some(Value::Number(n)) => n.as_u64().ok_or_else(|| RpcError::params("invalid block number"))?,
        Some(Value::String(tag)) => match tag.as_str() {
            "latest" | "pending" | "safe" | "finalized" => head,
            "earliest" => 0,
            digits => number(digits).ok_or_else(|| RpcError::params("invalid block number"))?,
        },
        Some(_) => return Err(RpcError::params("invalid block number")),
    };
    if found > head { Err(RpcError::server("unknown block")) } else { Ok(found) }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// As in the original this call takes numbers only.
fn extra_height(state: &State, param: Option<&Value>) -> Result<u64, RpcError> {
    match param {
        Some(Value::String(tag)) if tag == "latest" => Err(RpcError::server("block -2 not found")),
        None => Err(RpcError::params("missing value for required argument 0")),
        other => height(state, other),
    }
}

fn by_hash(state: &State, param: Option<&Value>) -> Result<u64, RpcError> {
    let hash: Hash32 = param
        .and_then(Value::as_str)
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| RpcError::params("invalid block hash"))?;
    if hash == state.genesis_hash {
        return Ok(0);
    }
    let chain = state.chain();
    (1..=chain.head())
        .rev()
        .find(|h| chain.get(*h).is_some_and(|r| r.hash == Some(hash)))
        .ok_or_else(|| RpcError::server("unknown block"))
}

fn record(state: &State, height: u64) -> Option<SealRecord> {
    state.chain().get(height).map(|r| SealRecord::clone(r))
}

fn signers(state: &State, height: u64, record: Option<SealRecord>) -> Value {
    let (hash, author, committed) = match record {
        Some(r) => (r.hash.unwrap_or(Hash32([0; 32])), r.proposal.proposer, r.committed),
        None => (state.genesis_hash, Address([0; 20]), Vec::new()),
    };
    json!({"Number": height, "Hash": hash, "Author": author, "Committers": committed})
}

fn seal(sealers: &[Address]) -> Value {
    json!({"sealers": sealers, "signature": "0x"})
}

fn extra_info(state: &State, height: u64) -> Value {
    let chain = state.chain();
    let this = chain.get(height);
    let before = height.checked_sub(1).and_then(|h| chain.get(h));
    let committed = this.map(|r| r.committed.as_slice()).unwrap_or_default();
    let prev = this.map(|r| r.proposal.prev_committed.as_slice()).unwrap_or_default();
    let version = &state.release.version;
    // There is one vote phase here, so who committed had prepared.
    json!({
        "vanityData": if this.is_some_and(|r| r.proposal.proposer == state.identity.address) {
            format!("0x{:02x}{:02x}{:02x}", version.major, version.minor, version.patch)
        } else { "0x".to_owned() },
        "randaoReveal": "0x",
        "prevRound": before.map_or(0, |r| r.proposal.round),
        "prevPreparedSeal": seal(prev),
        "prevCommittedSeal": seal(prev),
        "round": this.map_or(0, |r| r.proposal.round),
        "preparedSeal": seal(committed),
        "committedSeal": seal(committed),
        "gasTip": "0",
        "epochInfo": null,
    })
}

fn status(state: &State, params: &[Value]) -> Result<Value, RpcError> {
    let head = state.head();
    let (start, end) = match params {
        [] => (head.saturating_sub(STATUS_WINDOW - 1).max(1), head),
        [start, end] => (height(state, Some(start))?, height(state, Some(end))?),
        _ => return Err(RpcError::params("pass the end block number")),
    };
    if start > end {
        return Err(RpcError::params("start block number should be less than end block number"));
    }
    if end - start >= MAX_STATUS {
        return Err(RpcError::params(format!("at most {MAX_STATUS} blocks")));
    }
    let count = |map: &mut BTreeMap<String, u64>, who: &[Address]| {
        who.iter().for_each(|a| *map.entry(a.to_string()).or_default() += 1);
    };
    let mut maps: [BTreeMap<String, u64>; 3] = Default::default();
    let [committed, prev, author] = &mut maps;
    let mut rounds: Map<String, Value> = Map::new();
    let mut missed: BTreeMap<String, u64> = BTreeMap::new();
    let chain = state.chain();
    for height in start.max(1)..=end {
        let Some(r) = chain.get(height) else { continue };
        count(committed, &r.committed);
        count(prev, &r.proposal.prev_committed);
        count(author, &[r.proposal.proposer]);
        let seen = rounds.entry(r.proposal.round.to_string()).or_insert(json!(0));
        *seen = json!(seen.as_u64().unwrap_or(0) + 1);
        let last = height.checked_sub(1).and_then(|h| chain.get(h)).map(|r| r.proposal.proposer);
        for round in 0..r.proposal.round {
            count(&mut missed, &[proposer(state.genesis.validators(), last, round)]);
        }
    }
    Ok(json!({
        "sealerActivity": {
            "total": end.saturating_sub(start.max(1)) + 1,
            "prepared": committed, "committed": committed,
            "prevPrepared": prev, "prevCommitted": prev,
        },
        "author": author,
        "blockRange": {"start": start, "end": end},
        "roundStats": {"roundDistribution": rounds, "missedProposals": missed},
    }))
}
