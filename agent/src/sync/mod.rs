//! Calling home: one endpoint, full report in, full instruction out. Works with the coordinator gone.
pub mod coordinator;
pub mod files;
pub mod tls;

use crate::clock;
use crate::host::download::cause;
use common::time::UnixMs;
use common::wire::problem::Problem;
use common::wire::v1::{SyncRequest, SyncResponse};
use coordinator::Coordinator;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// First pause after a failure; doubles, with full jitter.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// An answer may take this much longer than the hold the coordinator announced.
const GRACE: Duration = Duration::from_secs(15);
/// How long the first answer may take, before a hold was announced.
const HOLD_UNKNOWN: Duration = Duration::from_secs(60);
/// Changes of the report that come together are told together.
const GATHER: Duration = Duration::from_millis(30);
/// Longest answer read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How it stands with the coordinator.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Contact {
    /// Where it is.
    pub url: String,
    /// When it last answered.
    pub answered_at: Option<UnixMs>,
    /// Why it does not answer now.
    pub error: Option<String>,
}

/// An answer on its way to the driver, which says when it has acted.
pub struct Arrived {
    /// The answer.
    pub response: SyncResponse,
    /// Coordinator's clock minus ours in milliseconds.
    pub clock_ahead_ms: i64,
    /// Closed when the instruction is stored.
    pub stored: oneshot::Sender<()>,
}

/// What the loop works with.
pub struct Sync {
    /// Where to call.
    pub coordinator: Arc<Coordinator>,
    /// The newest report.
    pub reports: watch::Receiver<SyncRequest>,
    /// Grows when the report must be told at once.
    pub urgent: watch::Receiver<u64>,
    /// Takes the answers.
    pub arrived: mpsc::Sender<Arrived>,
    /// Shown by `status`.
    pub contact: Arc<Mutex<Contact>>,
}

/// Why a sync brought no answer.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("the coordinator cannot be reached: {0}")]
    Transport(String),
    #[error("the coordinator did not answer within {0:?}")]
    Silent(Duration),
    #[error("the coordinator answered {0}: {1}")]
    Refused(u16, String),
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl Sync {
    /// Syncs until the driver is gone.
    pub async fn run(self) {
        let mut urgent = self.urgent.clone();
        let mut hold = HOLD_UNKNOWN;
        let mut pause = PAUSE_FIRST;
        loop {
            urgent.borrow_and_update();
            let mut request = self.reports.borrow().clone();
            request.hold = true;
            let asked = Instant::now();
            let result = tokio::select! {
                result = self.post(&request, hold + GRACE) => result,
                changed = urgent.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                    continue;
                }
            };
            match result {
                Ok(response) => {
                    pause = PAUSE_FIRST;
                    hold = response.hold.to_std().min(Duration::from_secs(600));
                    let news = response.instruction.generation > request.generation;
                    if !self.pass_on(response).await {
                        return;
                    }
                    // A coordinator that answers at once without news must not make us spin.
                    if !news && asked.elapsed() < Duration::from_millis(100) {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    let jittered = pause.mul_f64(rand::random_range(0.1..1.0));
                    tokio::time::sleep(jittered).await;
                    pause = (pause * 2).min(PAUSE_MOST);
                }
            }
        }
    }

    fn failed(&self, error: &SyncError) {
        let Ok(mut contact) = self.contact.lock() else { return };
        if contact.error.is_none() {
            tracing::warn!(%error, url = self.coordinator.url(), "no sync; going on without");
        }
        contact.error = Some(error.to_string());
    }

    /// Whether the driver is still there.
    async fn pass_on(&self, response: SyncResponse) -> bool {
        // By the clock that the machine is told the time by.
        let now = clock::steady();
        let clock_ahead_ms = i64::try_from(i128::from(response.now.0) - i128::from(now.0)).unwrap_or(0);
        if let Ok(mut contact) = self.contact.lock() {
            if contact.error.take().is_some() || contact.answered_at.is_none() {
                tracing::info!(url = self.coordinator.url(), "in contact with the coordinator");
            }
            contact.answered_at = Some(now);
        }
        if let Some(certificate) = &response.certificate {
            match self.coordinator.renew(certificate) {
                Ok(()) => tracing::info!("the certificate was renewed"),
                Err(error) => tracing::error!(%error, "the fresh certificate cannot be used"),
            }
        }
        let (stored, acted) = oneshot::channel();
        if self.arrived.send(Arrived { response, clock_ahead_ms, stored }).await.is_err() {
            return false;
        }
        let _ = acted.await;
        true
    }

    async fn post(&self, request: &SyncRequest, within: Duration) -> Result<SyncResponse, SyncError> {
        let path = format!("/v1/nodes/{}/sync", request.node);
        let call = async {
            let mut answer = self.coordinator.post(&path, request).await.map_err(SyncError::Transport)?;
            let status = answer.status();
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|e| SyncError::Transport(cause(&e)))? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > MAX_ANSWER {
                    return Err(SyncError::Unreadable("it is too long".to_owned()));
                }
            }
            if !status.is_success() {
                let detail = serde_json::from_slice::<Problem>(&bytes).map(|p| p.detail).unwrap_or_default();
                return Err(SyncError::Refused(status.as_u16(), detail));
            }
            serde_json::from_slice(&bytes).map_err(|e| SyncError::Unreadable(e.to_string()))
        };
        tokio::time::timeout(within, call).await.unwrap_or(Err(SyncError::Silent(within)))
    }
}
