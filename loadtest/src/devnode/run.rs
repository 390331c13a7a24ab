//! Starting and ending a node.
use super::args::Args;
use super::commit::CommitPoint;
use super::consensus::{Core, Rules};
use super::datadir::{Datadir, DatadirError};
use super::execution::{Execution, ExecutionError};
use super::genesis::Genesis;
use super::ledger::Ledger;
use super::links::{Identity, Links};
use super::metrics::Counters;
use super::release::{Behaviour, Release};
use super::rpc::Service;
use super::runner::{Runner, State};
use super::{metrics, now_ms, rpc};
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long the execution layer may take to answer for the first time.
const EXECUTION_PATIENCE: Duration = Duration::from_secs(30);

/// Runs a node until it is told to stop.
///
/// # Errors
/// What keeps it from running; the process exits with code 1 then.
pub async fn run(args: Args, release: Release) -> Result<()> {
    match release.behaviour {
        Behaviour::ExitAtStart => bail!("this release cannot start"),
        Behaviour::SlowStart(span) => tokio::time::sleep(span.to_std()).await,
        Behaviour::ExitAfter(span) => {
            let end = tokio::time::sleep(span.to_std());
            return tokio::select! {
                () = end => bail!("this release ends after {span}"),
                ended = serve(args, release) => ended,
            };
        }
        Behaviour::Normal | Behaviour::NeverSeals => {}
    }
    serve(args, release).await
}

async fn serve(args: Args, release: Release) -> Result<()> {
    // Listen for the signal before anything is opened: a stop during the start is a stop in order, too.
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let datadir = Datadir::new(&args.datadir);
    let lock = datadir.lock()?;
    if datadir.mark_running()? {
        tracing::warn!("Unclean shutdown detected");
    }
    let stop = CancellationToken::new();
    let node = start(&args, release, &datadir, &stop);
    tokio::pin!(node);
    let node = tokio::select! {
        node = &mut node => Some(node),
        _ = term.recv() => None,
        _ = int.recv() => None,
    };
    if let Some(node) = node {
        // A start that failed wrote nothing: it leaves no unclean end behind.
        let node = node.inspect_err(|_| drop(datadir.mark_stopped()))?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("Got interrupt, shutting down...");
        stop.cancel();
        let flush_since = Instant::now();
        node.await.context("the node's loop died")?;
        // A geth writes its caches out here, which takes its time.
        tokio::time::sleep(args.shutdown_flush.to_std().saturating_sub(flush_since.elapsed())).await;
    }
    datadir.mark_stopped()?;
    drop(lock);
    tracing::info!("Blockchain stopped");
    Ok(())
}

/// Opens everything and starts the loop.
async fn start(
    args: &Args,
    release: Release,
    datadir: &Datadir,
    stop: &CancellationToken,
) -> Result<tokio::task::JoinHandle<()>> {
    let genesis = datadir.genesis()?;
    let network_id = args.networkid.unwrap_or(genesis.config.chain_id);
    if network_id != genesis.config.chain_id {
        bail!("network id {network_id} is not the genesis' chain id {}", genesis.config.chain_id);
    }
    let peers = args.peers()?;
    let rpc_listener = listen((args.http_addr, args.http_port).into(), "HTTP").await?;
    let p2p_listener = listen((Ipv4Addr::LOCALHOST, args.port).into(), "peers").await?;
    let execution = Execution::new(&genesis.devnet.execution)?;
    let ledger = Ledger::open(&datadir.file("chaindata/seals.jsonl")).context("cannot open the chain")?;
    let genesis_hash = wait_for_execution(&execution, &ledger).await?;
    let address = datadir.address()?;
    let sealing = args.mine && release.behaviour != Behaviour::NeverSeals;
    let identity = Arc::new(Identity {
        address,
        instance: rand::random(),
        genesis: genesis_hash,
        head: AtomicU64::new(ledger.head()),
        double_keys: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let (sender, events) = mpsc::channel(1024);
    let rules = rules(&genesis, &release, address, sealing);
    let core = Core::new(rules, ledger.last().map(|r| (**r).clone()), now_ms());
    let state = Arc::new(State {
        genesis_hash,
        network_id,
        links: Links::start(p2p_listener, &peers, &identity, &sender),
        identity,
        sealing: sealing && genesis.validators().contains(&address),
        highest: AtomicU64::new(ledger.head()),
        starting_block: ledger.head(),
        bad_block: AtomicU64::new(0),
        counters: Counters::default(),
        ledger: RwLock::new(ledger),
        genesis,
        release,
    });
    if args.metrics {
        let at = listen((args.metrics_addr, args.metrics_port).into(), "metrics").await?;
        serve_http(at, metrics::router(state.clone()), stop);
    }
    let service = Service {
        state: state.clone(),
        execution: execution.clone(),
        api: args.http_api.clone(),
        p2p_port: args.port,
    };
    serve_http(rpc_listener, rpc::router(Arc::new(service)), stop);
    let commit = CommitPoint::new(&state.genesis.devnet.commit_dir, execution);
    tracing::info!(version = %state.release.version, %address, head = state.head(), sealing = state.sealing, "Node started");
    Ok(tokio::spawn(Runner::new(core, state, commit).run(events, stop.clone())))
}

fn rules(genesis: &Genesis, release: &Release, me: common::chain::Address, sealing: bool) -> Rules {
    let timing = genesis.timing();
    Rules {
        me,
        validators: genesis.validators().to_vec(),
        block_ms: timing.block_period_ms,
        request_timeout_ms: timing.request_timeout_ms,
        forks: release.forks.clone(),
        sealing,
    }
}

async fn listen(at: SocketAddr, what: &str) -> Result<TcpListener> {
    TcpListener::bind(at).await.with_context(|| format!("cannot listen for {what} on {at}"))
}

fn serve_http(listener: TcpListener, routes: axum::Router, stop: &CancellationToken) {
    let stop = stop.clone();
    tokio::spawn(async move {
        let server = axum::serve(listener, routes);
        tokio::select! {
            () = stop.cancelled() => {}
            ended = server => if let Err(error) = ended {
                tracing::error!(%error, "Server ended");
            },
        }
    });
}

/// Waits for the execution layer; it must know all blocks that this node has.
async fn wait_for_execution(execution: &Execution, ledger: &Ledger) -> Result<common::chain::Hash32> {
    let end = Instant::now() + EXECUTION_PATIENCE;
    let genesis_hash = loop {
        match execution.block(0).await {
            Ok((hash, _)) => break hash,
            Err(ExecutionError::Transport { .. }) if Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error).context("no execution layer"),
        }
    };
    if let Some(last) = ledger.last() {
        let found = execution.block(last.height()).await.map(|(hash, _)| hash).ok();
        if found != last.hash {
            bail!("the execution layer does not have our head {}", last.height());
        }
    }
    Ok(genesis_hash)
}

/// Stores a genesis file in a data folder.
///
/// # Errors
/// The folder is in use or cannot be written, or the genesis cannot be used.
pub fn init(datadir: &Datadir, genesis: &std::path::Path) -> Result<(), DatadirError> {
    let _lock = datadir.lock()?;
    let genesis = Genesis::read(genesis)?;
    datadir.init(&genesis)
}
