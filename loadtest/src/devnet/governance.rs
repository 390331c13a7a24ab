//! The `UpgradeRegistry` on a development network: deployed, and used by real transactions through a devnode.
use super::poll::{PollError, wait_until};
use super::rpc::{Rpc, RpcError};
use crate::devnode::execution::quantity;
use common::chain::{Address, Hash32};
use common::release::Digest;
use indexer::registry_calls;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a transaction may take to be in a block; generous, a halted chain is what it is for.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(60);

/// A governance step failed.
#[derive(Debug, thiserror::Error)]
pub enum GovernanceError {
    /// A call.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// No receipt came.
    #[error(transparent)]
    Receipt(#[from] PollError),
    /// The transaction was executed and failed.
    #[error("{what} was reverted in block {block}")]
    Reverted {
        /// What it was to do.
        what: &'static str,
        /// In which block.
        block: u64,
    },
    /// The contract's artifact.
    #[error(transparent)]
    Artifact(#[from] registry_calls::ArtifactError),
    /// An answer without what is needed.
    #[error("the answer to {what} has no {field}")]
    Missing {
        /// What was done.
        what: &'static str,
        /// What is missing.
        field: &'static str,
    },
}

/// A deployed registry and the members that vote in it.
#[derive(Debug, Clone)]
pub struct Registry {
    rpc: Rpc,
    /// Where the contract is.
    pub address: Address,
    /// Block that holds it.
    pub block: u64,
    /// Members, unlocked accounts of the execution layer.
    pub members: Vec<Address>,
}

impl Registry {
    /// Deploys a registry in which the first three accounts vote and two votes are enough.
    ///
    /// # Errors
    /// The chain does not take the transaction, or does not execute it in a minute.
    pub async fn deploy(rpc: Rpc) -> Result<Self, GovernanceError> {
        let accounts = rpc.call("eth_accounts", json!([])).await?;
        let members: Vec<Address> = accounts
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|a| a.as_str()?.to_ascii_lowercase().parse().ok())
            .take(3)
            .collect();
        let from =
            *members.first().ok_or(GovernanceError::Missing { what: "eth_accounts", field: "account" })?;
        let code = registry_calls::deploy(&members, 2)?;
        let receipt = send(&rpc, "the deployment", from, None, &code).await?;
        let address = receipt["contractAddress"].as_str().and_then(|a| a.to_ascii_lowercase().parse().ok());
        let address =
            address.ok_or(GovernanceError::Missing { what: "the deployment", field: "contract address" })?;
        Ok(Self { rpc, address, block: quantity(&receipt["blockNumber"]).unwrap_or(0), members })
    }

    /// Proposes a plan as the first member, whose vote it counts as; its id.
    ///
    /// # Errors
    /// As [`Registry::deploy`].
    pub async fn propose(
        &self,
        name: &str,
        height: u64,
        manifest: Digest,
        uri: &str,
    ) -> Result<Hash32, GovernanceError> {
        let input = registry_calls::propose(name, height, manifest, uri);
        let receipt = self.send("the proposal", 0, &input).await?;
        registry_calls::proposed_plan(&receipt)
            .ok_or(GovernanceError::Missing { what: "the proposal", field: "plan id" })
    }

    /// Votes for a plan as a member, by its place in `members`; the block in which it counts.
    ///
    /// # Errors
    /// As [`Registry::deploy`].
    pub async fn vote(&self, plan: Hash32, member: usize) -> Result<u64, GovernanceError> {
        let receipt = self.send("the vote", member, &registry_calls::vote(plan)).await?;
        Ok(quantity(&receipt["blockNumber"]).unwrap_or(0))
    }

    /// Cancels a plan, or asks for it, as a member.
    ///
    /// # Errors
    /// As [`Registry::deploy`].
    pub async fn cancel(&self, plan: Hash32, member: usize) -> Result<u64, GovernanceError> {
        let receipt = self.send("the cancellation", member, &registry_calls::cancel(plan)).await?;
        Ok(quantity(&receipt["blockNumber"]).unwrap_or(0))
    }

    async fn send(&self, what: &'static str, member: usize, input: &[u8]) -> Result<Value, GovernanceError> {
        let from = self.members.get(member).ok_or(GovernanceError::Missing { what, field: "such member" })?;
        send(&self.rpc, what, *from, Some(self.address), input).await
    }
}

/// Sends a transaction and waits for its receipt.
async fn send(
    rpc: &Rpc,
    what: &'static str,
    from: Address,
    to: Option<Address>,
    input: &[u8],
) -> Result<Value, GovernanceError> {
    let mut transaction =
        json!({"from": from, "input": format!("0x{}", hex::encode(input)), "gas": "0x4c4b40"});
    if let Some(to) = to {
        transaction["to"] = json!(to);
    }
    let hash = rpc.call("eth_sendTransaction", json!([transaction])).await?;
    let receipt: Value = wait_until(what, RECEIPT_PATIENCE, || {
        let (rpc, hash) = (rpc.clone(), hash.clone());
        async move {
            rpc.call("eth_getTransactionReceipt", json!([hash])).await.ok().filter(|r| !r.is_null())
        }
    })
    .await?;
    if receipt["status"] == "0x1" {
        return Ok(receipt);
    }
    Err(GovernanceError::Reverted { what, block: quantity(&receipt["blockNumber"]).unwrap_or(0) })
}
