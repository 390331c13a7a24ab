//! The command line.
mod backup;
mod config;
mod doctor;
mod enroll;
mod init;
mod logs;
mod status;
mod upgrade;

use crate::config::{Flags, Settings, home_of};
use crate::home::Home;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Supervises one chain client per home, alone or in a fleet.
#[derive(Debug, Parser)]
#[command(name = "wemixvisor", version, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the home is.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Settings file [default: HOME/wemixvisor/wemixvisor.toml when it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's folder, absolute [env: DAEMON_HOME]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// File name of the chain client [env: DAEMON_NAME]
    #[arg(long, global = true, value_name = "FILE NAME")]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node and supervise it; everything after `run` goes to the node as it is
    Run,
    /// Make a home around an executable, with a commented settings file
    Init(init::Init),
    /// Join a fleet
    Enroll(enroll::Enroll),
    /// Show how the node and the agent are
    Status(status::StatusArgs),
    /// Check this host
    Doctor(doctor::Doctor),
    /// Show, set, check and migrate the settings
    Config(config::Config),
    /// Make, list, verify, prune and restore backups of the node's data
    Backup(backup::Backup),
    /// Print the node's output
    Logs(logs::Logs),
    /// Schedule, list and cancel upgrades on this host
    Upgrade(upgrade::Upgrade),
    /// Add the executable of an upgrade
    AddUpgrade(upgrade::AddUpgrade),
    /// Add several upgrades at once
    AddBatchUpgrade(upgrade::AddBatchUpgrade),
    /// Fetch and check the executable of the next upgrade
    PrepareUpgrade(upgrade::PrepareUpgrade),
    /// Print the plan file
    ShowUpgradeInfo(upgrade::ShowUpgradeInfo),
    /// Print the version
    Version,
}

impl Place {
    /// What was said on the command line.
    pub fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), home: self.home.clone(), name: self.name.clone() }
    }

    /// The settings.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::load(&self.flags(), &env)?)
    }

    /// The home for commands that need no chain client.
    pub fn home(&self) -> anyhow::Result<Home> {
        let base = match home_of(&self.flags(), &env) {
            Some(base) => base,
            None => self.settings()?.node.home,
        };
        anyhow::ensure!(base.is_absolute(), "the home {} is not absolute", base.display());
        Ok(Home::new(base, self.name.clone().or_else(|| env("DAEMON_NAME")).unwrap_or_default()))
    }
}

/// The environment.
pub fn env(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// Does what the command line says.
///
/// # Errors
/// What could not be done, for people.
pub fn main() -> anyhow::Result<ExitCode> {
    let (own, args) = split_run(std::env::args_os().collect());
    let cli = Cli::parse_from(own);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("starting the runtime")?;
    match cli.command {
        Command::Run => {
            let args: Result<Vec<String>, _> = args.into_iter().map(OsString::into_string).collect();
            let args = args.map_err(|a| anyhow::anyhow!("an argument of the node is not UTF-8: {a:?}"))?;
            let settings = cli.place.settings()?;
            log(&settings.log.filter)?;
            // Not waited for: blocking work that is left only flushes files that nobody will use.
            let code = runtime.block_on(crate::run::run(settings, args));
            runtime.shutdown_background();
            code
        }
        Command::Init(init) => init.run(&cli.place.settings()?),
        Command::Enroll(enroll) => runtime.block_on(enroll.run(&cli.place.home()?)),
        Command::Status(status) => status.run(&cli.place.home()?),
        Command::Doctor(doctor) => runtime.block_on(doctor.run(&cli.place.settings()?)),
        Command::Config(config) => config.run(&cli.place),
        Command::Backup(backup) => backup.run(&cli.place),
        Command::Logs(logs) => logs.run(&cli.place),
        Command::Upgrade(upgrade) => upgrade.run(&cli.place),
        Command::AddUpgrade(add) => add.run(&cli.place),
        Command::AddBatchUpgrade(add) => add.run(&cli.place),
        Command::PrepareUpgrade(prepare) => prepare.run(&cli.place),
        Command::ShowUpgradeInfo(show) => show.run(&cli.place),
        Command::Version => {
            println!("wemixvisor {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Parts the command line after `run`: what follows belongs to the node, flags that we know as well included.
fn split_run(args: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        let text = arg.to_string_lossy();
        match text.as_ref() {
            "--config" | "--home" | "--name" => at += 2,
            flag if flag.starts_with('-') => at += 1,
            "run" => {
                let mut own = args;
                let node = own.split_off(at + 1);
                return (own, node);
            }
            _ => break,
        }
    }
    (args, Vec::new())
}

fn log(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .with_context(|| format!("{filter:?} is no log filter"))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_after_run_is_the_nodes() {
        let split = |line: &str| {
            let (own, node) = split_run(line.split(' ').map(OsString::from).collect());
            let text = |list: Vec<OsString>| list.join(&OsString::from(" ")).into_string().unwrap();
            (text(own), text(node))
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(split("w run --config x run --help"), both("w run", "--config x run --help"));
        assert_eq!(split("w --home run run --home y"), both("w --home run run", "--home y"));
        assert_eq!(split("w --home=/a run"), both("w --home=/a run", ""));
        assert_eq!(split("w status run"), both("w status run", ""));
    }
}
