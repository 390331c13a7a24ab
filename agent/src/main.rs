//! `wemixvisor`: supervises one chain client per home, alone or in a fleet.
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    // The second life of this program: it becomes the node (see `host::launch`).
    if args.next().as_deref() == Some(agent::host::launch::COMMAND) {
        return agent::host::launch::become_node(&args.next().unwrap_or_default());
    }
    match agent::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wemixvisor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
