//! Waiting for something to become true.
use std::time::{Duration, Instant};

/// It did not become true in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waited {waited_ms} ms in vain for: {what}")]
pub struct PollError {
    /// What was waited for.
    pub what: String,
    /// How long, milliseconds.
    pub waited_ms: u128,
}

/// Asks every 25 ms until the answer is something, for at most `limit`.
///
/// # Errors
/// [`PollError`] names what did not happen.
pub async fn wait_until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<T, PollError>
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if start.elapsed() >= limit {
            return Err(PollError { what: what.to_owned(), waited_ms: limit.as_millis() });
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
