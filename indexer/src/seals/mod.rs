//! Watches the consensus: which block is newest, who may seal, who did. Makes the
//! [`ChainView`](common::chain::ChainView) the planner decides by.
mod observe;
mod window;

pub use window::{Window, WindowError};

use crate::rpc::{Pool, RpcError};
use common::chain::{BlockRef, ChainView, Hash32};
use common::time::{Span, UnixMs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverConfig {
    /// Wait between two looks.
    pub poll: Span,
    /// Blocks in the window of seals.
    pub window: usize,
    /// Endpoints that must agree on everything in a view.
    pub required: usize,
    /// Blocks in an epoch, 0 when the validator set does not change by epoch. No RPC tells it reliably.
    pub epoch_length: u64,
}

impl Default for ObserverConfig {
    fn default() -> Self {
        Self { poll: Span::secs(1), window: 64, required: 1, epoch_length: 0 }
    }
}

/// What a look at the consensus failed with. The last view stays; its age tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The endpoints.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The chain moved between two requests; the next look sees it whole.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A chain that had validators has none now: the endpoints' namespace was closed.
    #[error("the endpoints stopped to answer istanbul_getValidators: is the istanbul namespace closed?")]
    NamespaceClosed,
    /// A WBFT chain answers no validators.
    #[error("the validators of block {height} are an empty list")]
    NoValidators {
        /// Height of the block.
        height: u64,
    },
}

/// What is remembered from look to look.
#[derive(Debug, Clone)]
struct Memory {
    chain: Option<(u64, Hash32)>,
    bft: bool,
    window: Window,
    /// Blocks of the window whose seals are read.
    sealed: Option<BlockRef>,
    highest: Option<u64>,
    head_advanced_at: UnixMs,
}

/// Watches one chain.
#[derive(Debug)]
pub struct Observer {
    pool: Arc<Pool>,
    config: ObserverConfig,
    clock: fn() -> UnixMs,
    memory: tokio::sync::Mutex<Memory>,
    view: watch::Sender<Option<Arc<ChainView>>>,
    last_error: Mutex<Option<String>>,
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub fn new(pool: Arc<Pool>, config: ObserverConfig) -> Self {
        let memory = Memory {
            chain: None,
            bft: false,
            window: Window::new(config.window),
            sealed: None,
            highest: None,
            head_advanced_at: UnixMs(0),
        };
        Self {
            pool,
            config,
            clock: system_clock,
            memory: tokio::sync::Mutex::new(memory),
            view: watch::Sender::new(None),
            last_error: Mutex::default(),
        }
    }

    /// The same with another clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> UnixMs) -> Self {
        self.clock = clock;
        self
    }

    /// The newest complete view; `None` until there is one. A view is not replaced while endpoints disagree or
    /// are away: look at its age.
    pub fn view(&self) -> watch::Receiver<Option<Arc<ChainView>>> {
        self.view.subscribe()
    }

    /// What the last look failed with; `None` after one that did not.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches until `shutdown`. Trouble with endpoints never ends it.
    pub async fn run(&self, shutdown: CancellationToken) {
        loop {
            match shutdown.run_until_cancelled(self.look()).await {
                None => return,
                Some(outcome) => self.note(outcome.err()),
            }
            let sleep = tokio::time::sleep(self.config.poll.to_std());
            if shutdown.run_until_cancelled(sleep).await.is_none() {
                return;
            }
        }
    }

    /// One look. [`Observer::run`] calls it; tests and one-shot tools may.
    ///
    /// # Errors
    /// [`ObserveError`]; the last view stays.
    pub async fn look(&self) -> Result<Arc<ChainView>, ObserveError> {
        let mut memory = self.memory.lock().await;
        // A look that fails half-way must not leave half of it behind.
        let mut next = memory.clone();
        let view = Arc::new(observe::look(&self.pool, &self.config, self.clock, &mut next).await?);
        *memory = next;
        self.view.send_replace(Some(Arc::clone(&view)));
        Ok(view)
    }

    fn note(&self, error: Option<ObserveError>) {
        let text = error.map(|e| e.to_string());
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = text.as_ref().filter(|t| last.as_ref() != Some(t)) {
            tracing::warn!(%error, "the chain cannot be observed");
        }
        *last = text;
    }
}

fn system_clock() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
