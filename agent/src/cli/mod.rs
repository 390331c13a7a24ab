//! The command line.
mod args;
mod backup;
mod config;
mod doctor;
mod enroll;
mod exec;
mod init;
mod lifecycle;
pub mod log;
mod logs;
mod manual;
mod status;
mod upgrade;
mod version;

use crate::config::{Flags, Loaded, Settings, home_of};
use crate::driver::Request;
use crate::home::Home;
use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
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

/// Form of an output that people and programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
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
    /// cosmovisor's settings file, understood as it is
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    cosmovisor_config: Option<PathBuf>,
    /// Whether the program was called `cosmovisor`
    #[arg(skip)]
    pub as_cosmovisor: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node and supervise it; everything after `run` goes to the node as it is
    Run,
    /// Run the node and supervise it, in the background; what follows our flags goes to the node
    Start(lifecycle::Start),
    /// Stop the node, then the agent
    Stop(lifecycle::Stop),
    /// Stop the node and start it again on its current release
    Restart(lifecycle::RestartNode),
    /// Let the running agent read its settings again
    Reload,
    /// Let the running agent become the executable that is on the disk now; the node goes on
    ReplaceAgent,
    /// Run a command of the chain client itself, by the current release (`attach`, `account` … need no `exec`)
    Exec,
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
    Version(version::Version),
    /// Print shell completions
    Completions(manual::Completions),
    /// Print the manual page
    Man(manual::Man),
}

impl Place {
    /// What was said on the command line.
    pub fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            home: self.home.clone(),
            name: self.name.clone(),
            cosmovisor_config: self.cosmovisor_config.clone(),
            as_cosmovisor: self.as_cosmovisor,
        }
    }

    /// The same flags again, for another process.
    pub fn as_args(&self) -> Vec<OsString> {
        let flags = [
            ("--config", self.config.as_ref()),
            ("--home", self.home.as_ref()),
            ("--cosmovisor-config", self.cosmovisor_config.as_ref()),
        ];
        let mut args: Vec<OsString> = Vec::new();
        for (flag, value) in flags.into_iter().filter_map(|(f, v)| Some((f, v?))) {
            args.extend([flag.into(), value.into()]);
        }
        if let Some(name) = &self.name {
            args.extend(["--name".into(), name.into()]);
        }
        args
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
    let line = args::part(std::env::args_os().collect());
    if line.detached {
        // Away from the terminal of `start`, which may close.
        let _ = rustix::process::setsid();
    }
    let mut cli = Cli::parse_from(line.own);
    cli.place.as_cosmovisor = line.as_cosmovisor;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = &cli.place;
    match cli.command {
        Command::Run => supervise(place, line.node),
        Command::Start(start) if start.foreground => supervise(place, line.node),
        Command::Start(start) => start.run(place, &line.node),
        Command::Stop(stop) => stop.run(place),
        Command::Restart(restart) => restart.run(place),
        Command::Reload => lifecycle::tell(&place.home()?, &Request::Reload),
        Command::ReplaceAgent => lifecycle::tell(&place.home()?, &Request::Replace),
        Command::Exec => exec::run(place, &line.node),
        Command::Init(init) => init.run(place),
        Command::Enroll(enroll) => runtime()?.block_on(enroll.run(&place.home()?)),
        Command::Status(status) => status.run(&place.home()?),
        Command::Doctor(doctor) => runtime()?.block_on(doctor.run(&place.settings()?)),
        Command::Config(config) => config.run(place),
        Command::Backup(backup) => backup.run(place),
        Command::Logs(logs) => logs.run(place),
        Command::Upgrade(upgrade) => upgrade.run(place),
        Command::AddUpgrade(add) => add.run(place),
        Command::AddBatchUpgrade(add) => add.run(place),
        Command::PrepareUpgrade(prepare) => prepare.run(place),
        Command::ShowUpgradeInfo(show) => show.run(place),
        Command::Version(version) => version.run(place),
        Command::Completions(completions) => Ok(completions.run()),
        Command::Man(man) => man.run(),
    }
}

/// One thread does everything; a few more only wait for the disk.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(4).build().context("starting the runtime")
}

fn supervise(place: &Place, args: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let args: Result<Vec<String>, _> = args.into_iter().map(OsString::into_string).collect();
    let args = args.map_err(|a| anyhow::anyhow!("an argument of the node is not UTF-8: {a:?}"))?;
    let loaded = Loaded::load(&place.flags(), &env)?;
    log::begin(&loaded.settings.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let settings = loaded.settings;
    let runtime = runtime()?;
    // Not waited for: blocking work that is left only flushes files that nobody will use.
    let code = runtime.block_on(crate::run::run(settings, place.flags(), args));
    runtime.shutdown_background();
    code
}
