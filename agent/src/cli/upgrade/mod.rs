//! `wemixvisor upgrade …`, `add-upgrade`, `add-batch-upgrade`, `prepare-upgrade`, `show-upgrade-info`.
mod add;
mod batch;
mod cancel;
mod list;
mod schedule;

pub use add::AddUpgrade;
pub use batch::AddBatchUpgrade;

use super::Place;
use crate::ask::ask_within;
use crate::config::{DownloadSettings, Settings};
use crate::driver::{Answer, Request};
use crate::home::Home;
use crate::host::{fetch, files};
use crate::plan::{Applied, Plan, Queue, binary};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How long the running agent may take to say the head of the chain.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Upgrades this host decides.
#[derive(Debug, Args)]
pub struct Upgrade {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Plan an upgrade of this host for a height, or at once
    Schedule(schedule::Schedule),
    /// Show all plans of this host and how they stand
    #[command(visible_alias = "status")]
    List(list::List),
    /// Take back a plan
    Cancel(cancel::Cancel),
    /// Let the running agent try again what failed here
    Retry,
}

impl Upgrade {
    /// Does what was asked.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        if matches!(self.what, What::Retry) {
            return super::lifecycle::tell(&place.home()?, &Request::Forgive);
        }
        let host = Host::of(place)?;
        match &self.what {
            What::Retry => Ok(ExitCode::SUCCESS),
            What::Schedule(schedule) => schedule.run(&host),
            What::List(list) => list.run(&host),
            What::Cancel(cancel) => cancel.run(&host),
        }
    }
}

/// A home with its settings, its plans and where it stands.
struct Host {
    settings: Settings,
    home: Home,
    queue: Queue,
    applied: Applied,
}

impl Host {
    fn of(place: &Place) -> anyhow::Result<Host> {
        let settings = place.settings()?;
        let home = settings.layout();
        anyhow::ensure!(
            home.root().is_dir(),
            "there is no supervisor's folder {}: `wemixvisor init` makes one",
            home.root().display()
        );
        let (queue, applied) = (Queue::read(&home, &settings), Applied::read(&home));
        Ok(Host { settings, home, queue, applied })
    }

    /// Says when the plans of this host are not what decides.
    fn say_if_not_followed(&self) {
        if !self.is_followed() {
            eprintln!(
                "note: this host does not follow its own plans: {}",
                match self.settings.upgrade.enabled {
                    true => "it is in a fleet, and [upgrade] in_fleet is not set",
                    false => "[upgrade] enabled is false",
                }
            );
        }
    }

    fn is_followed(&self) -> bool {
        let upgrade = &self.settings.upgrade;
        upgrade.enabled && (self.settings.fleet.is_none() || upgrade.in_fleet)
    }

    /// Looked at before anything is written: where the plan file shall go there must be a folder.
    fn ensure_plan_folder(&self) -> anyhow::Result<()> {
        let folder = self.settings.upgrade.plan_file.parent().unwrap_or(&self.home.base);
        anyhow::ensure!(
            folder.is_dir(),
            "there is no folder {} for the plan file; `wemixvisor init` makes the data folder",
            folder.display()
        );
        Ok(())
    }

    /// A plan that would be passed over is refused where it is made.
    fn ensure_it_counts(&self, title: &str, height: u64, lowest: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            height >= lowest,
            "{title} at height {height} would never be applied: the last upgrade of this host was applied \
             at height {}",
            self.applied.height.unwrap_or_default()
        );
        Ok(())
    }
}

/// Fetches and checks the executable of the next upgrade.
#[derive(Debug, Args)]
pub struct PrepareUpgrade {
    /// Name of the upgrade [default: the next one]
    #[arg(value_name = "UPGRADE")]
    title: Option<String>,
}

impl PrepareUpgrade {
    /// Does what was asked.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let host = Host::of(place)?;
        for fault in &host.queue.faults {
            eprintln!("warning: {}", visible(&fault.detail));
        }
        let plan = match &self.title {
            Some(title) => {
                let found = host.queue.plans.iter().find(|p| p.is_called(title));
                Some(found.with_context(|| format!("no plan of this host is called {title:?}"))?)
            }
            None => {
                let head = head(&host.home);
                host.queue.next(&host.applied, head, &host.settings.upgrade.skip_heights)
            }
        };
        let Some(plan) = plan else {
            println!("No active upgrade plan found");
            return Ok(ExitCode::SUCCESS);
        };
        let target = host.home.binary(&plan.name);
        if !binary::is_there(&target) {
            stage(&host, plan).with_context(|| format!("fetching the executable of {}", plan.title))?;
        }
        let digest = files::digest_of(&target).with_context(|| format!("reading {}", target.display()))?;
        println!("{} sha256 {digest}", target.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Fetches what a plan names, with a line of progress for people.
fn stage(host: &Host, plan: &Plan) -> anyhow::Result<()> {
    // Whoever asks for it by this command allows it.
    let download = DownloadSettings { allowed: true, ..host.settings.download.clone() };
    let (settings, shown) = (&host.settings, std::io::stderr().is_terminal());
    let progress = |here: u64, all: Option<u64>| {
        if shown {
            let all = all.map_or("?".to_owned(), |bytes| (bytes >> 20).to_string());
            eprint!("\r{} of {all} MiB", here >> 20);
        }
    };
    let (trust, variant) = (settings.trust.as_ref(), settings.node.variant.as_deref());
    let fetching = fetch::stage_plan(&host.home, &download, trust, variant, &plan.name, &plan.info, progress);
    let fetched = super::runtime()?.block_on(fetching);
    if shown {
        eprintln!();
    }
    fetched.map(drop).map_err(|fault| anyhow::anyhow!("{}: {}", fault.code.code(), visible(&fault.detail)))
}

/// Prints the plan file.
#[derive(Debug, Args)]
pub struct ShowUpgradeInfo {}

impl ShowUpgradeInfo {
    /// Does what was asked. A plan file that is not there is no error, as with cosmovisor.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let path = place.settings()?.upgrade.plan_file;
        let mut bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("No upgrade info found at {}", path.display());
                return Ok(ExitCode::SUCCESS);
            }
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        let mut out = std::io::stdout();
        if out.is_terminal() {
            // Its author may be anybody who can make a proposal.
            bytes = visible(&String::from_utf8_lossy(&bytes)).into_bytes();
            bytes.push(b'\n');
        }
        out.write_all(&bytes)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A text without anything that a terminal would obey.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The head of the chain as the running agent knows it; `None` when none runs or it does not know.
fn head(home: &Home) -> Option<u64> {
    match ask_within(home, &Request::Status, ASK_WITHIN).ok()? {
        Answer::Status(status) => status.report.health.head().map(|block| block.height),
        _ => None,
    }
}

/// When a plan is to be applied, for people.
fn when(plan: &Plan) -> String {
    plan.height.map_or("at once".to_owned(), |height| format!("at height {height}"))
}
