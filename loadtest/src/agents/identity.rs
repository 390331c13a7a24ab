//! Registration and certificates of simulated agents, through the same API an installer uses.
use super::Simulated;
use anyhow::{Context, Result, bail};
use common::id::{NetworkName, NodeName};
use futures_util::{StreamExt, TryStreamExt, stream};
use rcgen::{CertificateParams, DnType, KeyPair};
use std::time::Duration;

/// A running coordinator and the right to register nodes with it.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// `https://host:port`.
    pub url: String,
    /// Its CA, PEM.
    pub ca_pem: String,
    /// An admin's bearer token.
    pub token: String,
    /// The network nodes are registered in.
    pub network: NetworkName,
}

impl Fleet {
    /// A client that trusts only this fleet's CA.
    ///
    /// # Errors
    /// When the CA is no certificate.
    pub fn client(&self) -> Result<reqwest::Client> {
        Ok(reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(self.ca_pem.as_bytes())?])
            .build()?)
    }
}

/// Registers `count` nodes named `sim-0001`… and gives each a certificate.
///
/// # Errors
/// When the coordinator refuses one.
pub async fn register(fleet: &Fleet, count: usize) -> Result<Vec<Simulated>> {
    let client = fleet.client()?;
    stream::iter(0..count).map(|i| one(fleet, client.clone(), i)).buffered(16).try_collect().await
}

/// Posts, and waits its turn when the coordinator says that one principal asks too often.
async fn post(
    fleet: &Fleet,
    client: &reqwest::Client,
    path: &str,
    body: &serde_json::Value,
) -> Result<reqwest::Response> {
    for _ in 0..100 {
        let request = client.post(format!("{}{path}", fleet.url)).bearer_auth(&fleet.token).json(body);
        let answer = request.send().await?;
        if answer.status() != reqwest::StatusCode::TOO_MANY_REQUESTS {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{path}: refused by the rate limit 100 times")
}

async fn one(fleet: &Fleet, client: reqwest::Client, i: usize) -> Result<Simulated> {
    let name = NodeName::new(format!("sim-{i:04}"))?;
    let body = serde_json::json!({"name": name, "network": fleet.network, "role": "rpc",
        "labels": {"zone": format!("z{}", i % 3)}});
    let answer = post(fleet, &client, "/v1/nodes", &body).await?;
    if !answer.status().is_success() && answer.status() != reqwest::StatusCode::CONFLICT {
        bail!("{name} was not registered: {} {}", answer.status(), answer.text().await.unwrap_or_default());
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    let csr = params.serialize_request(&key)?.pem()?;
    let path = format!("/v1/nodes/{name}/certificate");
    let answer = post(fleet, &client, &path, &serde_json::json!({ "csr": csr })).await?;
    let answer = answer.error_for_status().with_context(|| format!("a certificate for {name}"))?;
    let body: serde_json::Value = answer.json().await?;
    let certificate = body["certificate"].as_str().context("the answer holds no certificate")?;
    Simulated::new(name, fleet.url.clone(), &fleet.ca_pem, format!("{certificate}\n{}", key.serialize_pem()))
}
