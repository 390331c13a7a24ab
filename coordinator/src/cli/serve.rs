//! `serve`: read the configuration, start, say where, wait for a signal, drain.
use super::error::{Exit, Failure, Outcome, chain};
use super::output::say;
use coordinator::server::start;
use coordinator::telemetry;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Longest wait for requests in flight after a signal.
const DRAIN: Duration = Duration::from_secs(10);

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeFlags {
    /// Configuration file.
    #[arg(long, env = "WEMIXFLEET_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Logs as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

/// Runs the coordinator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; the error names what it lacks.
pub async fn run(flags: &ServeFlags) -> Outcome {
    let config = super::config::load(&flags.config)?;
    telemetry::start(flags.log_json);
    let failed = |e: std::io::Error| Failure::usage("cannot wait for signals").because(e);
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let running = start(config)
        .await
        .map_err(|e| Failure::usage("the coordinator does not start").because(chain(&e)))?;
    say(format!("listening on https://{}", running.addr));
    if let Some(metrics) = running.metrics_addr {
        say(format!("metrics on http://{metrics}/metrics"));
    }
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    say("stopping; agents keep running their nodes");
    running.shutdown();
    if tokio::time::timeout(DRAIN, running.wait()).await.is_err() {
        say(format!("requests were still in flight after {} s", DRAIN.as_secs()));
    }
    Ok(Exit::Done)
}
