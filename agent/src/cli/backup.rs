//! `wemixvisor backup`.
mod report;

use super::Output;
use super::Place;
use crate::clock;
use crate::config::Settings;
use crate::home::Home;
use crate::host::backup::{self, BackupError, Meta, Options, Plan, Source};
use crate::host::lock::{self, HomeLock, LockError};
use crate::ledger;
use anyhow::Context;
use clap::{Args, Subcommand};
use common::time::Span;
use report::{Line, Report};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Backups of the node's data.
#[derive(Debug, Args)]
pub struct Backup {
    /// Folder of the backups [default: the settings', else the home]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Form of the output
    #[arg(long, short, global = true, value_enum, default_value = "table")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a backup; the node is stopped, or the backup may not fit together
    Create(Create),
    /// Show the backups, also those of cosmovisor and wemixvisor v0.x
    List,
    /// Compare backups with what was saved; all of ours when none is named
    Verify(Verify),
    /// Remove old backups
    Prune(Prune),
    /// Put a backup in place of the node's data
    Restore(Restore),
}

#[derive(Debug, Args)]
struct Create {
    /// Part of its name
    #[arg(long, default_value = "manual")]
    label: String,
    /// Also while the node runs: its files may then not fit each other
    #[arg(long)]
    live: bool,
    /// What is saved, relative to the home; may be repeated [default: the settings', else the data folder]
    #[arg(long, value_name = "PATH")]
    include: Vec<String>,
    /// Pattern of what is left out; may be repeated [default: the settings']
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Save keys too
    #[arg(long)]
    keys: bool,
}

#[derive(Debug, Args)]
struct Verify {
    /// Names in the list, or paths
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Compute the digests of a backup that has none yet
    #[arg(long)]
    seal: bool,
}

#[derive(Debug, Args)]
struct Prune {
    /// How many stay; 0 is all [default: the settings']
    #[arg(long)]
    keep: Option<u32>,
    /// Remove older ones, for example "30d"; "0s" is never [default: the settings']
    #[arg(long, value_name = "TIME")]
    max_age: Option<Span>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Restore {
    /// Name in the list, or a path
    #[arg(value_name = "NAME")]
    backup: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Keep what was there before
    #[arg(long)]
    keep_old: bool,
    /// Accept a foreign backup, which has no digests
    #[arg(long)]
    force: bool,
}

impl Backup {
    /// Does what was asked.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let mut settings = place.settings()?;
        if let Some(dir) = &self.dir {
            settings.backup.dir = std::path::absolute(dir).context("--dir")?;
        }
        let home = settings.layout();
        let report = Report { json: self.output == Output::Json };
        match &self.command {
            Command::Create(create) => create.run(&home, settings, report),
            Command::List => {
                report.list(&backup::catalog(&home, &settings)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Verify(verify) => verify.run(&home, &settings, report),
            Command::Prune(prune) => prune.run(&settings, report),
            Command::Restore(restore) => restore.run(&home, &settings, report),
        }
    }
}

impl Create {
    fn run(&self, home: &Home, mut settings: Settings, report: Report) -> anyhow::Result<ExitCode> {
        backup::check_label(&self.label)?;
        if !self.include.is_empty() {
            settings.backup.include.clone_from(&self.include);
        }
        if !self.exclude.is_empty() {
            settings.backup.exclude.clone_from(&self.exclude);
        }
        settings.backup.keys |= self.keys;
        // Held while the node is down, so that no agent starts it in the midst of the copy.
        let quiet = quiet(home)?;
        if quiet.is_some() {
            mend(home)?;
        }
        let plan = backup::plan(home, &settings)?;
        plan.check_space()?;
        let live = quiet.is_none();
        if live {
            self.allow_live(&plan)?;
        }
        let release = ledger::read(&home.ledger()).ok().flatten().map(|l| l.current);
        let meta = Meta { made_at: clock::now(), release, height: None, live };
        let mut line = Line::new("saving");
        let mut made = backup::snapshot(&plan, &self.label, &meta, &mut |p| line.show(p))?;
        line.end();
        // From here on the node may run.
        drop(quiet);
        let mut line = Line::new("computing digests");
        made.seal(&mut |p| line.show(p))
            .with_context(|| format!("the backup {} is complete and not sealed", made.folder().display()))?;
        line.end();
        report.created(&made)?;
        Ok(ExitCode::SUCCESS)
    }

    fn allow_live(&self, plan: &Plan) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.live || plan.reflink,
            "the node runs, or an agent may start it at any moment, and this file system copies slowly: stop \
             both (`wemixvisor stop`), or accept with --live that the files may not fit each other"
        );
        eprintln!(
            "wemixvisor: warning: the node runs: a live backup may be inconsistent, and the node may refuse it \
             after a restore"
        );
        Ok(())
    }
}

/// The home's lock, when neither an agent nor a node is there.
fn quiet(home: &Home) -> Result<Option<HomeLock>, BackupError> {
    if !home.root().is_dir() {
        // A home that no supervisor has touched; nothing of ours can start a node in it.
        std::fs::create_dir_all(home.root())
            .map_err(|cause| BackupError::Write { path: home.root().to_owned(), cause })?;
    }
    match lock::take(&home.lock()) {
        Ok(lock) => Ok((!lock::node_is_there(&home.node_lock())?).then_some(lock)),
        Err(LockError::Held { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Ends a restore that a crash cut short.
fn mend(home: &Home) -> anyhow::Result<()> {
    if let Some((name, phase)) = backup::repair(home)? {
        let how = match phase {
            backup::Phase::Building => "undone",
            backup::Phase::Swapping | backup::Phase::Cleaning => "completed",
        };
        eprintln!("wemixvisor: an unfinished restore of {} was {how}", name.escape_debug());
    }
    Ok(())
}

impl Verify {
    fn run(&self, home: &Home, settings: &Settings, report: Report) -> anyhow::Result<ExitCode> {
        let (mut good, mut done) = (true, Vec::new());
        let names = if self.names.is_empty() {
            let all = backup::catalog(home, settings)?.found;
            let ours = |f: &backup::Found| {
                !matches!(f.state, backup::State::ForeignFolder | backup::State::ForeignArchive)
            };
            all.into_iter().filter(ours).map(|f| f.path.display().to_string()).collect()
        } else {
            self.names.clone()
        };
        for name in names {
            let checked = self.one(home, settings, &name);
            good &= checked.as_ref().is_ok_and(backup::Verdict::good);
            done.push((name, checked));
        }
        report.verified(&done)?;
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn one(&self, home: &Home, settings: &Settings, name: &str) -> Result<backup::Verdict, BackupError> {
        match backup::find(home, settings, name)? {
            Source::Own(mut found) => {
                if self.seal {
                    let mut line = Line::new("computing digests");
                    found.seal(&mut |p| line.show(p))?;
                    line.end();
                }
                let mut line = Line::new("verifying");
                let verdict = found.verify(&mut |p| line.show(p));
                line.end();
                verdict
            }
            Source::Folder(path) | Source::Archive(path) => Err(BackupError::Foreign(path)),
        }
    }
}

impl Prune {
    fn run(&self, settings: &Settings, report: Report) -> anyhow::Result<ExitCode> {
        let keep = self.keep.unwrap_or(settings.backup.keep);
        let max_age = self.max_age.unwrap_or(settings.backup.max_age);
        let pruned = backup::prune(&settings.backup.dir, keep, max_age, clock::now(), self.dry_run)?;
        report.pruned(&pruned, self.dry_run)?;
        Ok(if pruned.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Restore {
    fn run(&self, home: &Home, settings: &Settings, report: Report) -> anyhow::Result<ExitCode> {
        let quiet = quiet(home)?;
        if quiet.is_some() {
            mend(home)?;
        }
        // Taken again for the restore itself, which refuses where it was not free.
        drop(quiet);
        let source = backup::find(home, settings, &self.backup)?;
        if let Source::Own(own) = &source
            && own.manifest().live
        {
            eprintln!("wemixvisor: warning: this backup was made while the node ran and may be inconsistent");
        }
        if !self.yes {
            confirm(&source, settings)?;
        }
        let options = Options { at: clock::now(), keep_old: self.keep_old, force: self.force };
        let mut line = Line::new("restoring");
        let restored = backup::restore(home, settings, &source, options, &mut |p| line.show(p))?;
        line.end();
        report.restored(&restored)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn confirm(source: &Source, settings: &Settings) -> anyhow::Result<()> {
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    anyhow::ensure!(terminal, "a restore replaces the node's data: say --yes");
    let roots: Vec<String> = source.roots().iter().map(ToString::to_string).collect();
    let home = settings.node.home.display();
    eprint!("Replace {} of {home} by {}? [y/N] ", roots.join(", "), source.name().escape_debug());
    std::io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    anyhow::ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "not restored");
    Ok(())
}
