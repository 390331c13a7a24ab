//! One simulated agent.
use super::Round;
use anyhow::Result;
use common::chain::{BlockRoots, Hash32};
use common::id::NodeName;
use common::release::{Digest, InstalledRelease};
use common::time::UnixMs;
use common::wire::v1::{
    AgentPhase, Direction, NodeHealth, NodeReport, ProcessState, SyncRequest, SyncResponse,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A simulated agent with its own connection pool and certificate.
#[derive(Debug)]
pub struct Simulated {
    name: NodeName,
    url: String,
    ca_pem: String,
    identity_pem: String,
    client: reqwest::Client,
    generation: u64,
    height: u64,
}

fn client(ca_pem: &str, identity_pem: &str) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(ca_pem.as_bytes())?])
        .identity(reqwest::Identity::from_pem(identity_pem.as_bytes())?)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(None)
        .connect_timeout(Duration::from_secs(60))
        .timeout(Duration::from_secs(120))
        .build()?)
}

fn now() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
}

impl Simulated {
    /// An agent that is registered and holds a certificate.
    ///
    /// # Errors
    /// When the PEM texts cannot be used.
    pub fn new(name: NodeName, url: String, ca_pem: &str, identity_pem: String) -> Result<Self> {
        let client = client(ca_pem, &identity_pem)?;
        Ok(Simulated { name, url, ca_pem: ca_pem.into(), identity_pem, client, generation: 0, height: 1 })
    }

    /// Forgets its connections, as after a restart.
    ///
    /// # Errors
    /// As [`Simulated::new`].
    pub fn drop_connections(&mut self) -> Result<()> {
        self.client = client(&self.ca_pem, &self.identity_pem)?;
        Ok(())
    }

    /// Syncs `n` times without holding, one after the other.
    pub async fn rounds(&mut self, n: usize) -> Round {
        let mut round = Round::default();
        for _ in 0..n {
            self.height += 1;
            self.sync(false, &mut round).await;
        }
        round
    }

    /// Holds long polls for `span`, with a new head each time, as a healthy agent does.
    pub async fn steady(&mut self, span: Duration) -> Round {
        let (mut round, end) = (Round::default(), Instant::now() + span);
        while Instant::now() < end && round.errors.len() < 3 {
            self.height += 1;
            self.sync(true, &mut round).await;
        }
        round
    }

    async fn sync(&mut self, hold: bool, round: &mut Round) {
        let began = Instant::now();
        match self.post(hold).await {
            Ok(answer) => {
                self.generation = answer.instruction.generation.max(self.generation);
                round.answered.push(began.elapsed());
            }
            Err(e) => round.errors.push(format!("{}: {e:#}", self.name)),
        }
    }

    async fn post(&self, hold: bool) -> Result<SyncResponse> {
        let request =
            SyncRequest { node: self.name.clone(), generation: self.generation, hold, report: self.report() };
        let url = format!("{}/v1/nodes/{}/sync", self.url, self.name);
        let answer = self.client.post(url).json(&request).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    fn report(&self) -> NodeReport {
        let at = now();
        let block = |height: u64| BlockRoots {
            height,
            hash: Hash32(Digest::of(&height.to_be_bytes()).0),
            state_root: Hash32([1; 32]),
            receipts_root: Hash32([2; 32]),
            timestamp_s: at.0 / 1000,
        };
        let genesis = InstalledRelease {
            name: "genesis".parse().unwrap_or_else(|_| unreachable!("a constant name")),
            sequence: 0,
            digest: Digest([7; 32]),
        };
        NodeReport {
            at,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            phase: AgentPhase::Idle,
            target: None,
            direction: Direction::Forward,
            phase_since: at,
            running: Some(genesis),
            previous: None,
            process: ProcessState::Running { pid: 4242, since: UnixMs(at.0.saturating_sub(60_000)) },
            health: NodeHealth {
                rpc_up: true,
                chain_id: Some(1337),
                genesis_hash: Some(Hash32([9; 32])),
                recent: (self.height.saturating_sub(7)..=self.height).map(block).collect(),
                head_advanced_at: Some(at),
                peers: Some(8),
                syncing: Some(false),
                client_version: Some("Simulated/v1.0.0".into()),
                forks: Vec::new(),
                disk_free_bytes: Some(1 << 40),
            },
            fault: None,
            last_stop: None,
            last_start: None,
        }
    }
}
