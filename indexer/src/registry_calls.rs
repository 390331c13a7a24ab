//! The `UpgradeRegistry` contract as bytes: what deploys it and what calls it. Nothing here talks to a chain.
use alloy::sol_types::{SolCall, SolConstructor, SolEvent, SolValue};
use common::chain::{Address, Hash32};
use common::release::Digest;
use serde::Deserialize;
use serde_json::Value;

/// Interface of `registry.v1`; a test holds it against the compiled contract.
#[allow(missing_docs)]
pub(crate) mod abi {
    alloy::sol! {
        event PlanProposed(bytes32 indexed planId, string name, uint64 height, bytes32 manifestHash, string uri);
        event PlanVoted(bytes32 indexed planId, address indexed voter, uint256 votes, uint256 required);
        event PlanApproved(bytes32 indexed planId);
        event PlanCancelled(bytes32 indexed planId);

        function propose(string name, uint64 height, bytes32 manifestHash, string uri) returns (bytes32 planId);
        function vote(bytes32 planId);
        function cancel(bytes32 planId);
        function members() view returns (address[]);
        function threshold() view returns (uint256);

        contract Registry {
            constructor(address[] members, uint256 threshold);
        }
    }
}

/// The compiled contract as it is checked in.
const ARTIFACT: &str = include_str!("../contracts/artifacts/UpgradeRegistry.json");

/// The checked-in artifact cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the artifact of UpgradeRegistry cannot be read: {0}")]
pub struct ArtifactError(String);

/// Bytecode that a deployment starts with, without the constructor's arguments.
///
/// # Errors
/// [`ArtifactError`] when the artifact in this build is broken.
pub fn bytecode() -> Result<Vec<u8>, ArtifactError> {
    #[derive(Deserialize)]
    struct Artifact {
        bytecode: String,
    }
    let artifact: Artifact = serde_json::from_str(ARTIFACT).map_err(|e| ArtifactError(e.to_string()))?;
    let digits = artifact.bytecode.strip_prefix("0x").unwrap_or_default();
    match hex::decode(digits) {
        Ok(code) if !code.is_empty() => Ok(code),
        Ok(_) => Err(ArtifactError("there is no bytecode".to_owned())),
        Err(error) => Err(ArtifactError(error.to_string())),
    }
}

/// Input of the transaction (without `to`) that creates a registry.
///
/// # Errors
/// [`ArtifactError`] when the artifact in this build is broken.
pub fn deploy(members: &[Address], threshold: u64) -> Result<Vec<u8>, ArtifactError> {
    let members = members.iter().map(|m| m.0.into()).collect();
    let arguments =
        abi::Registry::constructorCall { members, threshold: alloy::primitives::U256::from(threshold) };
    let mut code = bytecode()?;
    code.extend_from_slice(&arguments.abi_encode());
    Ok(code)
}

/// Input of a call that proposes a plan; it counts as the sender's vote.
pub fn propose(name: &str, height: u64, manifest: Digest, uri: &str) -> Vec<u8> {
    let (name, uri) = (name.to_owned(), uri.to_owned());
    abi::proposeCall { name, height, manifestHash: manifest.0.into(), uri }.abi_encode()
}

/// Input of a call that votes for a plan.
pub fn vote(plan_id: Hash32) -> Vec<u8> {
    abi::voteCall { planId: plan_id.0.into() }.abi_encode()
}

/// Input of a call that cancels a plan, or asks for it.
pub fn cancel(plan_id: Hash32) -> Vec<u8> {
    abi::cancelCall { planId: plan_id.0.into() }.abi_encode()
}

/// Input of a read-only call for the members, and how to read what it returns.
pub fn members() -> Vec<u8> {
    abi::membersCall {}.abi_encode()
}

/// The members in the answer to [`members`]; `None` when it is no such answer.
pub fn read_members(answer: &[u8]) -> Option<Vec<Address>> {
    let list = <Vec<alloy::primitives::Address>>::abi_decode(answer).ok()?;
    Some(list.into_iter().map(|a| Address(a.into_array())).collect())
}

/// The plan that a transaction proposed, read from its receipt as `eth_getTransactionReceipt` gives it.
pub fn proposed_plan(receipt: &Value) -> Option<Hash32> {
    let logs = receipt.get("logs")?.as_array()?;
    logs.iter().find_map(|log| {
        let topics = log.get("topics")?.as_array()?;
        let signature: Hash32 = topics.first()?.as_str()?.parse().ok()?;
        let plan: Hash32 = topics.get(1)?.as_str()?.parse().ok()?;
        (signature.0 == abi::PlanProposed::SIGNATURE_HASH.0).then_some(plan)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn interface_is_the_compiled_one() {
        let artifact: Value = serde_json::from_str(ARTIFACT).unwrap();
        let methods = artifact["methodIdentifiers"].as_object().unwrap();
        for (signature, selector) in [
            (abi::proposeCall::SIGNATURE, abi::proposeCall::SELECTOR),
            (abi::voteCall::SIGNATURE, abi::voteCall::SELECTOR),
            (abi::cancelCall::SIGNATURE, abi::cancelCall::SELECTOR),
            (abi::membersCall::SIGNATURE, abi::membersCall::SELECTOR),
            (abi::thresholdCall::SIGNATURE, abi::thresholdCall::SELECTOR),
        ] {
            assert_eq!(methods[signature], json!(hex::encode(selector)), "{signature}");
        }
        let events: Vec<String> = artifact["abi"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["type"] == "event")
            .map(|e| {
                let inputs = e["inputs"].as_array().unwrap().iter().map(|i| i["type"].as_str().unwrap());
                format!("{}({})", e["name"].as_str().unwrap(), inputs.collect::<Vec<_>>().join(","))
            })
            .collect();
        for signature in [
            abi::PlanProposed::SIGNATURE,
            abi::PlanVoted::SIGNATURE,
            abi::PlanApproved::SIGNATURE,
            abi::PlanCancelled::SIGNATURE,
        ] {
            assert!(events.iter().any(|e| e == signature), "{signature} is not in {events:?}");
        }
        assert_eq!(events.len(), 4, "every event of the contract is known: {events:?}");
    }

    #[test]
    fn artifact_is_of_the_source_beside_it() {
        let artifact: Value = serde_json::from_str(ARTIFACT).unwrap();
        let source = include_bytes!("../contracts/UpgradeRegistry.sol");
        assert_eq!(artifact["sourceSha256"], json!(Digest::of(source).to_string()), "run npm run build");
    }

    #[test]
    fn deployment_carries_the_arguments() {
        let code = bytecode().unwrap();
        let deployed = deploy(&[Address([7; 20])], 1).unwrap();
        assert!(deployed.starts_with(&code));
        assert_eq!(deployed.len() - code.len(), 4 * 32);
    }
}
