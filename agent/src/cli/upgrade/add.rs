//! `wemixvisor add-upgrade`.
use super::Host;
use crate::cli::Place;
use crate::plan::binary::{self, Place as At};
use crate::plan::{Plan, PlanError, Source, height_of, in_home, read_plan_file, write_plan_file};
use clap::Args;
use common::id::ReleaseName;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Adds the executable of an upgrade.
#[derive(Debug, Args)]
pub struct AddUpgrade {
    /// Name of the upgrade
    #[arg(value_name = "UPGRADE")]
    title: String,
    /// The chain client's new executable
    executable: PathBuf,
    /// Replace another executable or another plan that is there
    #[arg(long)]
    force: bool,
    /// Also write the plan file: upgrade at this height without governance; 0 is not to
    #[arg(long, value_name = "HEIGHT", allow_hyphen_values = true)]
    upgrade_height: Option<String>,
}

impl AddUpgrade {
    /// Does what was asked. Everything that can be refused is looked at before anything is written.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let host = Host::of(place)?;
        let (title, name) = in_home(&host.home, &self.title, host.settings.upgrade.recase)?;
        let height = self.height()?;
        let plan = height.map(|height| {
            let (title, name) = (title.clone(), name.clone());
            Plan { title, name, height: Some(height), info: String::new(), source: Source::PlanFile }
        });
        let executable = Executable::look(&host, &name, &self.executable, self.force)?;
        let writes = match &plan {
            Some(plan) => self.writes_plan(&host, plan)?,
            None => false,
        };
        executable.put()?;
        if let Some(plan) = &plan {
            if writes {
                write_plan_file(&host.settings, plan)?;
            }
            let path = host.settings.upgrade.plan_file.display();
            println!("{path} {title} at height {}", plan.height.unwrap_or_default());
            host.say_if_not_followed();
        }
        Ok(ExitCode::SUCCESS)
    }

    fn height(&self) -> anyhow::Result<Option<u64>> {
        match self.upgrade_height.as_deref() {
            None | Some("0") => Ok(None),
            Some(text) => match height_of(text) {
                Ok(height) => Ok(Some(height)),
                Err(flaw) => anyhow::bail!("the upgrade height {text:?} is invalid: {flaw}"),
            },
        }
    }

    /// Whether the plan file is to be written: not when it says the same, refused when another plan is
    /// pending in it.
    fn writes_plan(&self, host: &Host, plan: &Plan) -> anyhow::Result<bool> {
        anyhow::ensure!(!host.applied.is(plan), "{} is what runs; there is nothing to plan", plan.title);
        host.ensure_it_counts(
            &plan.title,
            plan.height.unwrap_or_default(),
            host.applied.height.unwrap_or(0),
        )?;
        host.ensure_plan_folder()?;
        let path = &host.settings.upgrade.plan_file;
        let there = match read_plan_file(&host.home, path, host.settings.upgrade.recase) {
            Err(PlanError::Missing(_)) => return Ok(true),
            Ok((there, _)) if there.name == plan.name && there.height == plan.height => return Ok(false),
            Ok((there, _)) if host.applied.is(&there) => return Ok(true),
            Ok((there, _)) => format!("it plans {} {}", there.title, super::when(&there)),
            Err(error) => error.to_string(),
        };
        anyhow::ensure!(
            self.force,
            "file already exists at {}: {}; --force replaces it",
            path.display(),
            super::visible(&there)
        );
        eprintln!("{} is replaced: {}", path.display(), super::visible(&there));
        Ok(true)
    }
}

/// An executable that was looked at and can be put into its place.
pub(super) struct Executable {
    source: PathBuf,
    target: PathBuf,
    at: At,
}

impl Executable {
    /// Refuses to replace other bytes unless forced.
    pub(super) fn look(
        host: &Host,
        name: &ReleaseName,
        source: &Path,
        force: bool,
    ) -> anyhow::Result<Executable> {
        let target = host.home.binary(name);
        let at = binary::look(source, &target)?;
        if let At::Other(digest) = at {
            anyhow::ensure!(
                force,
                "file already exists at {} with sha256 {digest}, and {} has other bytes; {}",
                target.display(),
                source.display(),
                "`add-upgrade --force` replaces it"
            );
            if host.applied.running.as_ref() == Some(name) {
                eprintln!("note: {name} is what runs; the new bytes run from the node's next start on");
            }
        }
        Ok(Executable { source: source.to_owned(), target, at })
    }

    /// Puts it there, or leaves what is the same, and prints its digest.
    pub(super) fn put(&self) -> anyhow::Result<()> {
        let digest = match self.at {
            At::Same(digest) => {
                binary::allow(&self.target)?;
                digest
            }
            At::Free | At::Other(_) => binary::copy(&self.source, &self.target)?,
        };
        println!("{} sha256 {digest}", self.target.display());
        Ok(())
    }

    /// Whether putting it there replaces what is there.
    pub(super) fn replaces(&self) -> bool {
        matches!(self.at, At::Other(_))
    }
}
