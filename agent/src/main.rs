//! `wemixvisor`: supervises one chain client per home, alone or in a fleet.
use std::io::Write;
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
            // Where a full disk takes nothing any more, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "wemixvisor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
