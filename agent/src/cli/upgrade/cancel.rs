//! `wemixvisor upgrade cancel`.
use super::Host;
use crate::plan::{Plan, cancel};
use clap::Args;
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

/// Takes back a plan.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// Name of the upgrade [default: the only one that is pending]
    #[arg(value_name = "UPGRADE")]
    title: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

impl Cancel {
    /// Does what was asked.
    pub(super) fn run(&self, host: &Host) -> anyhow::Result<ExitCode> {
        let plans = self.plans(host)?;
        if plans.is_empty() {
            println!("No upgrade scheduled");
            return Ok(ExitCode::SUCCESS);
        }
        for plan in &plans {
            eprintln!("{} {} by the {}", plan.title, super::when(plan), plan.source);
        }
        if !self.force && !agreed()? {
            eprintln!("nothing was changed");
            return Ok(ExitCode::SUCCESS);
        }
        for plan in plans {
            for path in cancel(&host.home, &host.settings, plan)? {
                println!("{} without {}", path.display(), plan.title);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// All plans of the name, in whatever place they are.
    fn plans<'a>(&self, host: &'a Host) -> anyhow::Result<Vec<&'a Plan>> {
        if let Some(title) = &self.title {
            let plans: Vec<&Plan> = host.queue.plans.iter().filter(|p| p.is_called(title)).collect();
            anyhow::ensure!(!plans.is_empty(), "no plan of this host is called {title:?}");
            return Ok(plans);
        }
        let pending: Vec<&Plan> = host.queue.plans.iter().filter(|p| !host.applied.is(p)).collect();
        if let [first, rest @ ..] = pending.as_slice()
            && rest.iter().any(|p| p.name != first.name)
        {
            let titles: Vec<&str> = pending.iter().map(|p| p.title.as_str()).collect();
            anyhow::bail!("several upgrades are pending, name one: {}", titles.join(", "));
        }
        Ok(pending)
    }
}

fn agreed() -> anyhow::Result<bool> {
    let input = std::io::stdin();
    anyhow::ensure!(input.is_terminal(), "there is nobody to ask: say --force to cancel it");
    eprint!("Cancel it? [y/N] ");
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
