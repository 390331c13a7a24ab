//! `loadtest`: the demo, and load on a real coordinator. Everything on loopback, bounded in count and time.
use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use loadtest::agents::LoadSpec;
use loadtest::demo::DemoSpec;
use loadtest::fleet::{Programs, kill_under};
use loadtest::supervise::SuperviseSpec;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
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
    /// Memory, CPU and times of one real agent beside a node, alone and in a fleet
    Supervise(Supervise),
}

#[derive(clap::Args)]
struct Supervise {
    /// How long memory and CPU are watched, seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Time between blocks, milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    block_ms: u64,
    /// Size of the node's executable, MiB
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1024))]
    binary_mib: u64,
    /// How often start, stop and switch are repeated
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// The agent [default: wemixvisor beside this program]
    #[arg(long)]
    wemixvisor: Option<PathBuf>,
    /// The coordinator [default: wemixfleet beside this program]
    #[arg(long)]
    wemixfleet: Option<PathBuf>,
    /// Measure without a fleet
    #[arg(long, conflicts_with = "wemixfleet")]
    alone: bool,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> Result<ExitCode> {
    if let Some(code) = loadtest::supervise::lived() {
        return Ok(code);
    }
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
            Command::Supervise(args) => supervise(&args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn supervise(args: &Supervise) -> Result<()> {
    let me = std::env::current_exe()?;
    let beside = |given: &Option<PathBuf>, name: &str| {
        let path = given.clone().unwrap_or_else(|| me.with_file_name(name));
        let found = path.canonicalize();
        found.with_context(|| {
            format!(
                "{} is not there: build it (cargo build --release) or say where it is with --{name}",
                path.display()
            )
        })
    };
    let spec = SuperviseSpec {
        wemixvisor: beside(&args.wemixvisor, "wemixvisor")?,
        wemixfleet: if args.alone { None } else { Some(beside(&args.wemixfleet, "wemixfleet")?) },
        watch: Duration::from_secs(args.seconds),
        block: Duration::from_millis(args.block_ms),
        binary_bytes: args.binary_mib << 20,
        repeat: usize::from(args.repeat),
    };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    // Whichever way it ends, dropping the future ends every process it started.
    let result = tokio::select! {
        result = loadtest::supervise::run(&spec, |what| eprintln!("{what}")) => result?,
        _interrupt = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; every process was ended"),
        _terminate = terminated.recv() => anyhow::bail!("terminated; every process was ended"),
    };
    match args.output {
        Output::Table => println!("{result}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&result)?),
    }
    Ok(())
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
