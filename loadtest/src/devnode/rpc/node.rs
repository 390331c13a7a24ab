//! The namespaces `net`, `web3`, `admin` and `rpc`: what this process is.
use super::Service;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

pub(super) fn call(service: &Service, method: &str, _params: &[Value]) -> Option<Value> {
    let state = &service.state;
    Some(match method {
        "net_version" => json!(state.network_id.to_string()),
        "net_listening" => json!(true),
        "net_peerCount" => json!(format!("{:#x}", state.links.peer_count())),
        "web3_clientVersion" => json!(client_version(service)),
        "admin_nodeInfo" => node_info(service),
        "rpc_modules" => {
            let modules: Map<String, Value> = service
                .api
                .iter()
                .map(|m| (m.clone(), json!("1.0")))
                .chain([("rpc".into(), json!("1.0"))])
                .collect();
            Value::Object(modules)
        }
        _ => return None,
    })
}

fn client_version(service: &Service) -> String {
    format!("Devnode/v{}-stable/linux-{}/rust", service.state.release.version, std::env::consts::ARCH)
        .replace("x86_64", "amd64")
        .replace("aarch64", "arm64")
}

fn node_info(service: &Service) -> Value {
    let state = &service.state;
    let timing = state.genesis.timing();
    let me = hex::encode(state.identity.address.0);
    let mut config = Map::new();
    config.insert("chainId".into(), json!(state.genesis.config.chain_id));
    for fork in &state.release.forks {
        config.insert(format!("{}Block", fork.name), json!(fork.height));
    }
    let head = state.chain().last().and_then(|r| r.hash).unwrap_or(state.genesis_hash);
    json!({
        "id": hex::encode(Sha256::digest(state.identity.address.0)),
        "name": client_version(service),
        "enode": format!("enode://{me}@127.0.0.1:{}", service.p2p_port),
        "ip": "127.0.0.1",
        "ports": {"discovery": 0, "listener": service.p2p_port},
        "listenAddr": format!("127.0.0.1:{}", service.p2p_port),
        "protocols": {
            "eth": {
                "network": state.network_id,
                "difficulty": state.head() + 1,
                "genesis": state.genesis_hash,
                "config": config,
                "head": head,
            },
            "istanbul": {"config": {
                "blockPeriodMs": timing.block_period_ms,
                "requestTimeoutMs": timing.request_timeout_ms,
                "proposerPolicy": 0,
            }},
        },
    })
}
