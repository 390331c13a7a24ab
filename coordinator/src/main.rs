//! `wemixfleet`: the fleet's daemon (`serve`) and the operator's command line (everything else).
mod cli;
mod ssh;

fn main() {
    // One TLS implementation for the whole process; a second installation would only say it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::process::exit(cli::run());
}
