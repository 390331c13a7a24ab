//! A node of the development network.
use anyhow::{Context, Result};
use clap::Parser;
use loadtest::devnode::Release;
use loadtest::devnode::args::{Args, Command};
use loadtest::devnode::datadir::Datadir;
use loadtest::devnode::run;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Fatal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Command::ExecWithParent { argv }) => {
            die_with_parent()?;
            let (program, rest) = argv.split_first().context("no program is named")?;
            return Err(std::process::Command::new(program).args(rest).exec())
                .with_context(|| format!("cannot start {program}"));
        }
        Some(Command::Init { genesis }) => return Ok(run::init(&Datadir::new(&args.datadir), genesis)?),
        Some(Command::Version) | None => {}
    }
    let release = Release::of_executable(Path::new("/proc/self/exe"))?;
    if args.command.is_some() {
        print_version(&release);
        return Ok(());
    }
    if args.die_with_parent {
        die_with_parent()?;
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("DEVNODE_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    // The HTTP client wants a TLS provider even where only http is spoken; a second one does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let ended = runtime.block_on(run::run(args, release));
    // A call that still waits for the commit lock must not keep a stopped node alive.
    runtime.shutdown_background();
    ended
}

fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot tie this process to its parent")
}

fn print_version(release: &Release) {
    println!("Devnode");
    println!("Version: {}", release.version);
    println!("Architecture: {}", std::env::consts::ARCH.replace("x86_64", "amd64"));
    println!("Operating System: {}", std::env::consts::OS);
    for fork in &release.forks {
        println!("Fork {}: {}", fork.name, fork.height);
    }
}
