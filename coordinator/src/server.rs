//! The listeners: one with TLS 1.3 for agents (client certificate) and operators (bearer token), one for metrics.
use crate::api::{App, Connection};
use crate::artifacts::{ArtifactError, Mirror};
use crate::config::{Config, FinalityKind};
use crate::enrol::{Authority, CaError, Peer};
use crate::fleet::{Fleet, FleetError};
use crate::governance::Governance;
use crate::metrics::Metrics;
use crate::store::{RedbStore, StoreError};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::server::WebPkiClientVerifier;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Why the coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("{addr} cannot be listened on: {why}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// A file of the data directory.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// TLS set-up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The mirror.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The governance index.
    #[error(transparent)]
    Index(#[from] indexer::run::IndexError),
    /// RPC endpoints.
    #[error(transparent)]
    Rpc(#[from] indexer::rpc::RpcError),
    /// The policy for drafts.
    #[error("governance.policy: {0}")]
    Policy(String),
    /// Metrics.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// A running coordinator.
#[derive(Debug)]
pub struct Running {
    /// Where agents and operators connect.
    pub addr: SocketAddr,
    /// Where metrics are, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
    /// The fleet, for tests in the same process.
    pub fleet: Arc<Fleet>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Begins to shut down: no new connection, held syncs are answered, at most 5 s.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
        self.fleet.wake_all();
    }

    /// Waits until everything has ended, at most 10 s after the shutdown began.
    pub async fn wait(self) {
        self.shutdown.cancelled().await;
        self.tasks.close();
        let _forced = tokio::time::timeout(Duration::from_secs(10), self.tasks.wait()).await;
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let fail = |why| ServeError::Listen { addr, why };
    let listener = TcpListener::bind(addr).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

fn tls(authority: &Authority) -> Result<TlsAcceptor, ServeError> {
    let fail = |e: &dyn std::fmt::Display| ServeError::Tls(e.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).map_err(|e| fail(&e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| fail(&e))?;
    let (chain, key) = authority.server();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| fail(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| fail(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Starts everything: store, CA, chain observer, governance index, reconciliation, listeners.
///
/// # Errors
/// [`ServeError`]; nothing keeps running then.
pub async fn start(config: Config) -> Result<Running, ServeError> {
    let store = RedbStore::open(&config.data_dir.join("fleet.redb"))?;
    store.campaign().await?;
    let fleet = Arc::new(Fleet::load(store)?);
    let authority = Authority::open(&config)?;
    let acceptor = tls(&authority)?;
    let mirror = Mirror::open(&config.data_dir.join("artifacts"), config.artifacts.clone())?;
    let metrics = Metrics::new().map_err(|e| ServeError::Metrics(e.to_string()))?;
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (listener, addr) = listen(config.listen).await?;
    let metrics_listener = match config.metrics_listen {
        Some(at) => Some(listen(at).await?),
        None => None,
    };
    let governance = start_chain(&config, &fleet, &mirror, &shutdown, &tasks)?;
    let app = Arc::new(App::new(config, fleet.clone(), authority, mirror, metrics, governance, addr));
    note_address(&app.config, addr)?;

    let reconciler = crate::reconcile::Reconciler::new(app.clone());
    let stop = shutdown.clone();
    tasks.spawn(async move { reconciler.run(stop).await });
    let router = crate::api::router(app.clone());
    tasks.spawn(accept(listener, acceptor, router, shutdown.clone(), tasks.clone()));
    let metrics_addr = metrics_listener.as_ref().map(|(_, at)| *at);
    if let Some((listener, _)) = metrics_listener {
        let stop = shutdown.clone();
        let router = crate::api::metrics_router(app.clone());
        tasks.spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(e) = serving.await {
                tracing::error!(error = %e, "the metrics listener ended");
            }
        });
    }
    tracing::info!(%addr, metrics = ?metrics_addr, network = %app.config.network.name, "wemixfleet serves");
    Ok(Running { addr, metrics_addr, fleet, shutdown, tasks })
}

fn start_chain(
    config: &Config,
    fleet: &Arc<Fleet>,
    mirror: &Mirror,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Option<Arc<Governance>>, ServeError> {
    let Some(chain) = &config.chain else { return Ok(None) };
    let endpoints: Vec<_> = chain
        .endpoints
        .iter()
        .map(|e| indexer::rpc::Endpoint { label: e.label.clone(), url: e.url.clone() })
        .collect();
    let pool = Arc::new(indexer::rpc::Pool::new(&endpoints, indexer::rpc::Limits::default())?);
    let observer = indexer::seals::Observer::new(
        pool.clone(),
        indexer::seals::ObserverConfig { poll: chain.poll, required: chain.required, ..Default::default() },
    );
    let (mut view, stop, to) = (observer.view(), shutdown.clone(), fleet.clone());
    let observing = shutdown.clone();
    tasks.spawn(async move { observer.run(observing).await });
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = view.changed() => if changed.is_err() { return },
            }
            let newest = view.borrow_and_update().clone();
            to.set_chain(newest);
        }
    });
    let Some(governance) = &config.governance else { return Ok(None) };
    let finality = match governance.finality {
        FinalityKind::Instant => indexer::run::Finality::Instant,
        FinalityKind::Confirmations => indexer::run::Finality::Confirmations(governance.confirmations),
        FinalityKind::Finalized => indexer::run::Finality::FinalizedTag,
    };
    let index = Arc::new(indexer::run::Indexer::open(
        &config.data_dir.join("index.redb"),
        indexer::run::IndexConfig {
            chain_id: config.network.chain_id,
            registry: governance.registry,
            from_height: governance.from_height,
            finality,
            poll: chain.poll,
            required: chain.required,
        },
        pool,
    )?);
    let made =
        Governance::new(config, fleet.clone(), mirror.clone(), index.clone()).map_err(ServeError::Policy)?;
    let made = Arc::new(made);
    let (stop, stop_too, drafting) = (shutdown.clone(), shutdown.clone(), made.clone());
    tasks.spawn(async move { index.run(stop).await });
    tasks.spawn(async move { drafting.run(stop_too).await });
    Ok(Some(made))
}

/// Writes the bound address where scripts and tests find it (port 0).
fn note_address(config: &Config, addr: SocketAddr) -> Result<(), ServeError> {
    let path = config.data_dir.join("listen.addr");
    let part = config.data_dir.join("listen.addr.part");
    std::fs::write(&part, addr.to_string())
        .and_then(|()| std::fs::rename(&part, &path))
        .map_err(|why| ServeError::File { path, why })
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                let (acceptor, router, stop) = (acceptor.clone(), router.clone(), shutdown.clone());
                tasks.spawn(async move {
                    if let Err(e) = connection(socket, from, acceptor, router, stop).await {
                        tracing::debug!(%from, error = %e, "connection");
                    }
                });
            }
            Err(e) => {
                // Out of descriptors: waiting is all that helps.
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    socket: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    // Ten thousand agents that reconnect at once queue here for a while: generous, but bounded.
    let stream = tokio::time::timeout(Duration::from_secs(60), acceptor.accept(socket)).await??;
    let peer = match stream.get_ref().1.peer_certificates().and_then(|c| c.first()) {
        Some(certificate) => Some(Arc::new(Peer::read(certificate)?)),
        None => None,
    };
    let app = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Connection { peer: peer.clone(), from });
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(330))
        .max_buf_size(64 * 1024);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        result = serving.as_mut() => return result,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    tokio::time::timeout(Duration::from_secs(5), serving).await?
}
