//! Starts a development network, and makes releases for it.
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use common::chain::Fork;
use loadtest::devnet::{Network, NetworkSpec, make_release, wait_until};
use loadtest::devnode::{Behaviour, Release};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A development network of real processes.
#[derive(Debug, Parser)]
#[command(name = "devnet", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a network and keep it until Ctrl-C or SIGTERM.
    Up(Up),
    /// Make a release of the devnode.
    Release(MakeRelease),
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Folder of the network, new or empty.
    #[arg(long)]
    dir: PathBuf,
    /// Validators.
    #[arg(long, default_value_t = 7)]
    validators: usize,
    /// RPC nodes.
    #[arg(long, default_value_t = 2)]
    rpc: usize,
    /// Shortest time between two blocks, milliseconds.
    #[arg(long, default_value_t = 500)]
    block_ms: u64,
    /// Time-out of round 0, milliseconds.
    #[arg(long, default_value_t = 1_000)]
    request_timeout_ms: u64,
    /// Time a node takes to stop in order, milliseconds.
    #[arg(long, default_value_t = 500)]
    flush_ms: u64,
    /// Release the nodes run; the devnode beside this program when absent.
    #[arg(long)]
    release: Option<PathBuf>,
    /// Start no nodes: agents will.
    #[arg(long)]
    no_nodes: bool,
    /// The anvil executable.
    #[arg(long, env = "ANVIL")]
    anvil: Option<PathBuf>,
    /// The devnode executable; the one beside this program when absent.
    #[arg(long)]
    node_binary: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct MakeRelease {
    /// Version it tells.
    #[arg(long)]
    version: semver::Version,
    /// A fork it knows, as name=height; repeat for more.
    #[arg(long = "fork", value_parser = parse_fork)]
    forks: Vec<Fork>,
    /// normal, exit-at-start, never-seals, slow-start=3s or exit-after=3s.
    #[arg(long, default_value_t = Behaviour::Normal)]
    behaviour: Behaviour,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    /// The devnode executable; the one beside this program when absent.
    #[arg(long)]
    node_binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let ended = match Args::parse().command {
        Command::Up(up) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")
            .and_then(|runtime| runtime.block_on(run(up))),
        Command::Release(release) => make(release),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devnet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse_fork(text: &str) -> Result<Fork, String> {
    let (name, height) = text.split_once('=').ok_or_else(|| format!("{text:?} is not name=height"))?;
    let plain = !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if !plain {
        return Err(format!("{name:?} is no name of a fork: letters and digits only"));
    }
    let height = height.parse().map_err(|_| format!("{height:?} is no height"))?;
    Ok(Fork { name: name.to_owned(), height })
}

fn beside_us(given: Option<PathBuf>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe().context("where is this program?")?.with_file_name("devnode"),
    };
    if !path.is_file() {
        bail!("there is no devnode at {}: name it by --node-binary", path.display());
    }
    path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))
}

fn make(args: MakeRelease) -> Result<()> {
    let node_binary = beside_us(args.node_binary)?;
    let release = Release { version: args.version, forks: args.forks, behaviour: args.behaviour };
    make_release(&node_binary, &release, &args.out)?;
    eprintln!("devnet: release {} written to {}", release.version, args.out.display());
    Ok(())
}

async fn run(args: Up) -> Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut spec = NetworkSpec::new(args.dir, beside_us(args.node_binary)?);
    spec.validators = args.validators;
    spec.rpc_nodes = args.rpc;
    spec.block_ms = args.block_ms;
    spec.request_timeout_ms = args.request_timeout_ms;
    spec.flush_ms = args.flush_ms;
    spec.anvil = args.anvil;
    let release = args.release.unwrap_or_else(|| spec.node_binary.clone());
    eprintln!(
        "devnet: {} validators and {} RPC nodes in {}",
        spec.validators,
        spec.rpc_nodes,
        spec.dir.display()
    );
    let network = tokio::select! {
        network = Network::create(&spec) => network?,
        _ = term.recv() => return Ok(()),
        _ = int.recv() => return Ok(()),
    };
    eprintln!("devnet: execution layer at {}", network.file().anvil_url);
    let started = tokio::select! {
        started = start(&network, &release, args.no_nodes) => started,
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    };
    if started.is_ok() {
        eprintln!("devnet: Ctrl-C ends it");
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    eprintln!("devnet: stopping");
    network.shutdown().await;
    started
}

async fn start(network: &Network, release: &std::path::Path, no_nodes: bool) -> Result<()> {
    if no_nodes {
        eprintln!("devnet: no nodes started; network.json tells how to run each");
        return Ok(());
    }
    network.start_all(release)?;
    eprintln!("devnet: {} nodes started, waiting for the first block", network.nodes().len());
    let first = network.nodes().first().map(|n| n.name.to_string()).unwrap_or_default();
    let rpc = network.rpc(&first)?;
    let head = wait_until("the first block", Duration::from_secs(60), || {
        let rpc = rpc.clone();
        async move { rpc.head().await.ok().filter(|h| *h > 0) }
    })
    .await
    .with_context(|| format!("see the logs in {}", network.dir().join("logs").display()))?;
    eprintln!("devnet: blocks are sealed, head {head}, {first} at {}", network.node(&first)?.rpc_url);
    Ok(())
}
