//! `loadtest`: the demo, and load on a real coordinator. Everything on loopback, bounded in count and time.
use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use loadtest::agents::LoadSpec;
use loadtest::demo::DemoSpec;
use loadtest::fleet::{Programs, kill_under};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Parser)]
#[command(version, about = "The demo, and load on a real coordinator")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From nothing to an upgraded fleet, on this machine
    Demo {
        /// Folder of everything it makes; removed first and, unless kept, afterwards
        #[arg(long, default_value = ".demo")]
        dir: PathBuf,
        /// Blocks between the proposal and the fork
        #[arg(long, default_value_t = 260)]
        fork_in: u64,
        /// Stay up after the summary until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Simulated agents against a real coordinator process
    Agents {
        /// Agents
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
        /// Syncs of each agent in the burst
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Length of the steady phase, seconds
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
        steady: u64,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _once = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        match args.command {
            Command::Demo { dir, fork_in, keep } => demo(&dir, fork_in, keep).await,
            Command::Agents { count, rounds, steady } => {
                let spec = LoadSpec {
                    count: count as usize,
                    rounds,
                    steady: Duration::from_secs(steady),
                    connecting: 128,
                };
                let result = loadtest::agents::against_process(&programs()?, &spec).await?;
                println!("{result}");
                anyhow::ensure!(
                    result.failed.0 == 0,
                    "{} syncs were not answered: {:?}",
                    result.failed.0,
                    result.failed.1
                );
                Ok(())
            }
        }
    })
}

fn programs() -> Result<Programs> {
    let me = std::env::current_exe()?;
    Programs::beside(me.parent().context("this program has no folder")?)
}

async fn demo(dir: &Path, fork_in: u64, keep: bool) -> Result<()> {
    if dir.exists() {
        kill_under(dir);
        std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    let policy = include_str!("../../../config/demo-policy.toml").to_owned();
    let spec = DemoSpec { dir: dir.to_owned(), programs: programs()?, fork_in, policy, keep };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    // Whichever way it ends, dropping the future ends every process it started.
    let result = tokio::select! {
        result = loadtest::demo::run(&spec) => result,
        _interrupt = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; every process was ended")),
        _terminate = terminated.recv() => Err(anyhow::anyhow!("terminated; every process was ended")),
    };
    kill_under(dir);
    if result.is_ok() {
        std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    result
}
