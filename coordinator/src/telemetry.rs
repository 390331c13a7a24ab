//! Logs: to standard error (in colour on a terminal only), filtered by `WEMIXFLEET_LOG` (default `info`), JSON on request.
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Sets up logging for the process; a second call changes nothing.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("WEMIXFLEET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let _already = if json { builder.json().try_init() } else { builder.try_init() };
}
