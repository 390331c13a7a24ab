//! The main job on one machine: from nothing to a fleet upgraded by an approved proposal, and a summary that only the
//! chain's own data can make good.
mod show;
mod watch;

use crate::devnode::release::Behaviour;
use crate::fleet::{Programs, Tamper, World, WorldSpec};
use anyhow::{Context as _, Result, bail};
use common::rollout::{Outcome, Phase};
use show::Show;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use watch::ChainWatch;

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct DemoSpec {
    /// Folder of everything it makes, new or empty.
    pub dir: PathBuf,
    /// Programs.
    pub programs: Programs,
    /// Blocks between the proposal and the fork.
    pub fork_in: u64,
    /// Policy, TOML.
    pub policy: String,
    /// Stay up after the summary until Ctrl-C.
    pub keep: bool,
}

/// Longest time from the start to the summary.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs the demo. `Ok` only when the chain's own data show a proved fleet past the fork.
///
/// # Errors
/// What did not come about, in words.
pub async fn run(spec: &DemoSpec) -> Result<()> {
    let began = Instant::now();
    let show = Show::new();
    let world = World::start(
        &WorldSpec {
            dir: spec.dir.clone(),
            programs: spec.programs.clone(),
            validators: 7,
            rpc_nodes: 2,
            foreign: 0,
            block_ms: 500,
            policy: spec.policy.clone(),
        },
        |line| show.step(line),
    )
    .await?;
    if spec.keep {
        announce(&world)?;
    }
    let head = world.network.rpc("rpc-1")?.head().await?;
    let fork = head + spec.fork_in;
    show.step(&format!("release v1.1 knows the fork boho at height {fork}; signed by 2 of 3 maintainers"));
    let published = world.publish("v1.1", fork, Behaviour::Normal, Tamper::Nothing)?;
    let from = world.network.rpc("rpc-1")?.head().await?;
    let plan = world.approve_on_chain("v1.1", fork, &published).await?;
    show.step(&format!("plan {plan} proposed and approved by transactions; the indexer reads the chain"));
    let mut chain = ChainWatch::new(&world)?;
    let status = loop {
        if began.elapsed() > LIMIT {
            bail!("no end after {} s\n{}", LIMIT.as_secs(), world.troubles());
        }
        chain.look().await;
        match world.rollout().await {
            None => {
                let proposals = world.proposals().await?.proposals;
                show.proposal(proposals.last(), chain.head());
            }
            Some(status) => {
                show.rollout(&status, chain.head(), fork);
                if let Phase::Done(_) = status.rollout.phase {
                    break status;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    show.finish();
    if status.rollout.phase != Phase::Done(Outcome::Succeeded) {
        bail!("the rollout ended as {:?}\n{}", status.rollout.phase, world.troubles());
    }
    chain.pass(fork + 2).await.context("waiting for every node to pass the fork")?;
    let verdict = chain.verdict(&status, from, fork).await?;
    println!("{}", verdict.text(began.elapsed()));
    if !verdict.holds() {
        bail!("the chain's own data do not show it");
    }
    if spec.keep {
        println!("still running; Ctrl-C ends it");
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Says how to look at the fleet from another terminal.
fn announce(world: &World) -> Result<()> {
    let token = world.dir.join("admin.token");
    std::fs::write(&token, &world.coordinator.token)?;
    println!("to look at it from another terminal, now and after the summary:");
    println!("  export WEMIXFLEET_SERVER={}", world.coordinator.url);
    println!("  export WEMIXFLEET_CA={}", world.coordinator.dir.join("data/ca.crt").display());
    println!("  export WEMIXFLEET_TOKEN=$(cat {})", token.display());
    println!("  target/debug/wemixfleet node list; target/debug/wemixfleet rollout why r1");
    Ok(())
}
