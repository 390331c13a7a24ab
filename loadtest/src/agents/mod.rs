//! Simulated agents: the real protocol (TLS 1.3, client certificates, long poll) against a real coordinator process.
//! Traffic goes to loopback only, and is bounded in count and in time.
mod identity;
mod measure;
mod simulated;

pub use identity::{Fleet, register};
pub use measure::{Latency, ProcessUse};
pub use simulated::Simulated;

use crate::devnet::free_ports;
use crate::fleet::{Coordinator, Programs};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How much load, and for how long.
#[derive(Debug, Clone)]
pub struct LoadSpec {
    /// Simulated agents, 1 to 10,000.
    pub count: usize,
    /// Syncs each agent makes one after the other in the burst phase.
    pub rounds: usize,
    /// Length of the steady phase, in which agents hold long polls and report now and then.
    pub steady: Duration,
    /// Agents that may be connecting at the same time.
    pub connecting: usize,
}

/// What a run measured.
#[derive(Debug)]
pub struct LoadResult {
    /// Agents that took part.
    pub count: usize,
    /// Wall time until every agent had its first answer.
    pub connect: Duration,
    /// Syncs answered in the burst, with latency.
    pub burst: Latency,
    /// Wall time of the burst.
    pub burst_wall: Duration,
    /// Coordinator over the burst.
    pub burst_use: ProcessUse,
    /// Syncs answered in the steady phase.
    pub steady_syncs: usize,
    /// Coordinator over the steady phase.
    pub steady_use: ProcessUse,
    /// Wall time until every agent had an answer again after all connections were dropped at once.
    pub storm: Duration,
    /// Largest resident memory of the coordinator ever, bytes.
    pub peak_rss_bytes: u64,
    /// Syncs that were not answered properly, with the first error.
    pub failed: (usize, Option<String>),
}

impl std::fmt::Display for LoadResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let l = &self.burst;
        writeln!(f, "agents                     {}", self.count)?;
        writeln!(f, "first answers after        {:?}", self.connect)?;
        writeln!(f, "burst                      {} syncs in {:?}", l.count, self.burst_wall)?;
        writeln!(f, "  latency p50/p95/p99/max  {:?} / {:?} / {:?} / {:?}", l.p50, l.p95, l.p99, l.max)?;
        let each = self.burst_use.cpu.as_micros() as f64 / l.count.max(1) as f64;
        writeln!(
            f,
            "  coordinator              {each:.0} us of CPU a sync, RSS {:.1} MiB",
            mib(self.burst_use.rss_bytes)
        )?;
        let u = &self.steady_use;
        writeln!(f, "steady, long polls         {} syncs in {:?}", self.steady_syncs, u.wall)?;
        writeln!(
            f,
            "  coordinator              {:.2} % of a core, RSS {:.1} MiB",
            u.core_share() * 100.0,
            mib(u.rss_bytes)
        )?;
        writeln!(
            f,
            "reconnect storm absorbed   {:?}, peak RSS {:.1} MiB",
            self.storm,
            mib(self.peak_rss_bytes)
        )?;
        write!(f, "syncs not answered         {}", self.failed.0)
    }
}

/// Starts a coordinator process, runs the phases against it, and ends it.
///
/// # Errors
/// When the coordinator does not start, and as [`run`].
pub async fn against_process(programs: &Programs, spec: &LoadSpec) -> Result<LoadResult> {
    let dir = tempfile::tempdir()?;
    let port = free_ports(1)?[0];
    let config = format!(
        "schema = 1\ndata_dir = \"data\"\nlisten = \"127.0.0.1:{port}\"\n[network]\nname = \"load\"\nchain_id = 1337\n\
         genesis_hash = \"0x{}\"\n",
        "00".repeat(32)
    );
    let url = format!("https://127.0.0.1:{port}");
    let mut coordinator = Coordinator::init(&programs.wemixfleet, &dir.path().join("fleet"), &config, &url)?;
    coordinator.start().await?;
    let fleet = Fleet {
        url,
        ca_pem: coordinator.ca_pem.clone(),
        token: coordinator.token.clone(),
        network: "load".parse()?,
    };
    let pid = coordinator.pid().context("the coordinator is gone")?;
    run(&fleet, pid, spec).await.with_context(|| coordinator.log_tail())
}

/// Runs the three phases (burst, steady, reconnect storm) against the coordinator process `pid`.
///
/// # Errors
/// When agents cannot be registered or the process cannot be measured. Syncs that fail are counted, not errors.
pub async fn run(fleet: &Fleet, pid: u32, spec: &LoadSpec) -> Result<LoadResult> {
    let agents = register(fleet, spec.count).await.context("registering simulated agents")?;
    let mut agents: Vec<Simulated> = agents;
    let mut failed = (0, None);

    let started = Instant::now();
    let first = each(&mut agents, spec.connecting, |a| Box::pin(a.rounds(1))).await;
    let connect = started.elapsed();
    count_failures(&first, &mut failed);

    let (used, started) = (ProcessUse::start(pid)?, Instant::now());
    let rounds = spec.rounds;
    let burst = each(&mut agents, spec.count, move |a| Box::pin(a.rounds(rounds))).await;
    let burst_wall = started.elapsed();
    let burst_use = used.finish()?;
    count_failures(&burst, &mut failed);

    let used = ProcessUse::start(pid)?;
    let steady = spec.steady;
    let held = each(&mut agents, spec.count, move |a| Box::pin(a.steady(steady))).await;
    let steady_use = used.finish()?;
    count_failures(&held, &mut failed);

    for agent in &mut agents {
        agent.drop_connections()?;
    }
    let started = Instant::now();
    let storm = each(&mut agents, spec.count, |a| Box::pin(a.rounds(1))).await;
    let storm_wall = started.elapsed();
    let peak_rss_bytes = ProcessUse::start(pid)?.finish()?.peak_rss_bytes;
    count_failures(&storm, &mut failed);

    let latency = Latency::of(burst.into_iter().flatten().flat_map(|r| r.answered).collect());
    Ok(LoadResult {
        count: agents.len(),
        connect,
        burst: latency,
        burst_wall,
        burst_use,
        steady_syncs: held.iter().flatten().map(|r| r.answered.len()).sum(),
        steady_use,
        storm: storm_wall,
        peak_rss_bytes,
        failed,
    })
}

/// What one agent's share of a phase came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Latency of each answered sync.
    pub answered: Vec<Duration>,
    /// Errors in words.
    pub errors: Vec<String>,
}

type RoundFuture<'a> = std::pin::Pin<Box<dyn Future<Output = Round> + Send + 'a>>;

/// Lets every agent do one thing, at most `parallel` at a time, and gives back what each did.
async fn each<F>(agents: &mut Vec<Simulated>, parallel: usize, work: F) -> Vec<Option<Round>>
where
    F: for<'a> Fn(&'a mut Simulated) -> RoundFuture<'a> + Send + Sync + 'static,
{
    let gate = Arc::new(Semaphore::new(parallel));
    let work = Arc::new(work);
    let tasks: Vec<_> = agents
        .drain(..)
        .map(|mut agent| {
            let (gate, work) = (gate.clone(), work.clone());
            tokio::spawn(async move {
                let _turn = gate.acquire().await.ok();
                let round = work(&mut agent).await;
                (agent, round)
            })
        })
        .collect();
    let mut rounds = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.await {
            Ok((agent, round)) => {
                agents.push(agent);
                rounds.push(Some(round));
            }
            Err(_) => rounds.push(None),
        }
    }
    rounds
}

fn count_failures(rounds: &[Option<Round>], failed: &mut (usize, Option<String>)) {
    for round in rounds {
        match round {
            None => {
                failed.0 += 1;
                failed.1.get_or_insert_with(|| "a simulated agent panicked".into());
            }
            Some(round) => {
                failed.0 += round.errors.len();
                if let Some(error) = round.errors.first() {
                    failed.1.get_or_insert_with(|| error.clone());
                }
            }
        }
    }
}
