//! The namespace `eth`: the execution layer, seen no further than this node's own head.
use super::{RpcError, Service, no_method};
use crate::devnode::execution::{hex_quantity, quantity};
use serde_json::{Value, json};

/// Calls passed on as they are: they ask for no block.
const PLAIN: [&str; 7] = [
    "eth_accounts",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_sign",
    "eth_signTransaction",
];

pub(super) async fn call(service: &Service, method: &str, mut params: Vec<Value>) -> Result<Value, RpcError> {
    let state = &service.state;
    let head = state.head();
    Ok(match method {
        "eth_blockNumber" => json!(hex_quantity(head)),
        "eth_chainId" => json!(hex_quantity(state.genesis.config.chain_id)),
        "eth_mining" => json!(state.sealing),
        "eth_syncing" => syncing(service),
        "eth_getBlockByNumber" => {
            let Some(height) = height(head, params.first())? else { return Ok(Value::Null) };
            params[0] = json!(hex_quantity(height));
            let block = service.execution.call(method, Value::Array(params)).await?;
            with_time(service, block)
        }
        "eth_getBlockByHash" => {
            let block = service.execution.call(method, Value::Array(params)).await?;
            if beyond(head, &block["number"]) { Value::Null } else { with_time(service, block) }
        }
        "eth_getTransactionReceipt" => {
            let receipt = service.execution.call(method, Value::Array(params)).await?;
            if beyond(head, &receipt["blockNumber"]) { Value::Null } else { receipt }
        }
        "eth_getTransactionByHash" => {
            let transaction = service.execution.call(method, Value::Array(params)).await?;
            pending_beyond(head, transaction)
        }
        "eth_getLogs" => return logs(service, head, params).await,
        _ if PLAIN.contains(&method) => service.execution.call(method, Value::Array(params)).await?,
        _ => {
            let index = block_parameter(method).ok_or_else(|| no_method(method))?;
            while params.len() <= index {
                params.push(if params.len() == index { json!("latest") } else { Value::Null });
            }
            if !at_own_height(head, method, &mut params[index])? {
                return Ok(Value::Null);
            }
            service.execution.call(method, Value::Array(params)).await?
        }
    })
}

/// Which parameter of a call names a block.
fn block_parameter(method: &str) -> Option<usize> {
    Some(match method {
        "eth_getBlockReceipts"
        | "eth_getBlockTransactionCountByNumber"
        | "eth_getTransactionByBlockNumberAndIndex" => 0,
        "eth_call"
        | "eth_estimateGas"
        | "eth_createAccessList"
        | "eth_feeHistory"
        | "eth_getBalance"
        | "eth_getCode"
        | "eth_getTransactionCount" => 1,
        "eth_getProof" | "eth_getStorageAt" => 2,
        _ => return None,
    })
}

/// A block parameter as a height; nothing when it is above our head.
fn height(head: u64, param: Option<&Value>) -> Result<Option<u64>, RpcError> {
    let Some(Value::String(text)) = param else {
        return Err(RpcError::params("invalid argument 0: a block number or tag is expected"));
    };
    let height = match text.as_str() {
        "latest" | "pending" | "safe" | "finalized" => head,
        "earliest" => 0,
        _ => quantity(&json!(text)).ok_or_else(|| {
            RpcError::params(format!(
                "invalid argument 0: {:?} is no block",
                text.chars().take(80).collect::<String>()
            ))
        })?,
    };
    Ok((height <= head).then_some(height))
}

/// Replaces a block parameter by a height this node has; `false` when it does not have it.
fn at_own_height(head: u64, method: &str, param: &mut Value) -> Result<bool, RpcError> {
    // The next nonce of a sender with transactions in the pool is asked for with "pending".
    if (method == "eth_getTransactionCount" && param == "pending") || param.get("blockHash").is_some() {
        return Ok(true);
    }
    let nested = param.get("blockNumber").cloned();
    match height(head, nested.as_ref().or(Some(param)))? {
        Some(height) => {
            *param = json!(hex_quantity(height));
            Ok(true)
        }
        // A block that does not exist has no receipts; a state that does not exist cannot be read.
        None if method.contains("Block") => Ok(false),
        None => Err(RpcError::server("header not found")),
    }
}

fn beyond(head: u64, number: &Value) -> bool {
    quantity(number).is_some_and(|n| n > head)
}

fn pending_beyond(head: u64, mut transaction: Value) -> Value {
    if beyond(head, &transaction["blockNumber"]) {
        for field in ["blockHash", "blockNumber", "transactionIndex"] {
            transaction[field] = Value::Null;
        }
    }
    transaction
}

/// Adds when the block was really proposed: its own time counts whole seconds only.
fn with_time(service: &Service, mut block: Value) -> Value {
    if let Some(height) = quantity(&block["number"]) {
        let sealed = service.state.chain().get(height).map(|r| r.proposal.time_ms);
        let time = sealed.or_else(|| quantity(&block["timestamp"]).map(|s| s * 1000));
        block["timestampMs"] = json!(time.map(hex_quantity));
    }
    block
}

async fn logs(service: &Service, head: u64, mut params: Vec<Value>) -> Result<Value, RpcError> {
    let filter = params.first_mut().and_then(Value::as_object_mut);
    let filter = filter.ok_or_else(|| RpcError::params("invalid argument 0: a filter object is expected"))?;
    if filter.get("blockHash").is_none_or(Value::is_null) {
        let latest = json!("latest");
        let bound = |name: &str| filter.get(name).filter(|v| !v.is_null()).unwrap_or(&latest);
        let Some(from) = height(head, Some(bound("fromBlock")))? else { return Ok(json!([])) };
        let to = height(head, Some(bound("toBlock")))?.unwrap_or(head);
        if from > to {
            return Err(RpcError::params("invalid block range params"));
        }
        filter.insert("fromBlock".into(), json!(hex_quantity(from)));
        filter.insert("toBlock".into(), json!(hex_quantity(to)));
    }
    let mut found = service.execution.call("eth_getLogs", Value::Array(params)).await?;
    if let Some(logs) = found.as_array_mut() {
        logs.retain(|log| !beyond(head, &log["blockNumber"]));
    }
    Ok(found)
}

fn syncing(service: &Service) -> Value {
    use std::sync::atomic::Ordering::Relaxed;
    let state = &service.state;
    let (head, highest) = (state.head(), state.highest.load(Relaxed));
    // A node that refuses a block is not catching up: it has all it will ever take.
    if highest <= head + 1 || state.bad_block.load(Relaxed) != 0 {
        return json!(false);
    }
    json!({
        "startingBlock": hex_quantity(state.starting_block),
        "currentBlock": hex_quantity(head),
        "highestBlock": hex_quantity(highest),
    })
}
