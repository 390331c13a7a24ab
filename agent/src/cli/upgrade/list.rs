//! `wemixvisor upgrade list`.
use super::Host;
use crate::cli::Output;
use crate::plan::{Plan, PlanFault, Standing, binary};
use clap::Args;
use common::id::ReleaseName;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows all plans of this host.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Form of the output
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

/// What is shown.
#[derive(Serialize)]
struct Shown<'a> {
    running: Option<&'a ReleaseName>,
    head: Option<u64>,
    last_applied_height: Option<u64>,
    followed: bool,
    plans: Vec<Row<'a>>,
    faults: &'a [PlanFault],
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    standing: Standing,
    /// Whether its time has come; `None` while the head is unknown.
    due: Option<bool>,
    staged: bool,
    executable: PathBuf,
}

impl List {
    /// Prints them; the exit code is 0 also when something is wrong with them.
    pub(super) fn run(&self, host: &Host) -> anyhow::Result<ExitCode> {
        let head = super::head(&host.home);
        let shown = shown(host, head);
        if self.output == Output::Json {
            println!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(ExitCode::SUCCESS);
        }
        if shown.plans.is_empty() {
            println!("No upgrade scheduled");
        } else {
            println!(
                "{:<20} {:>12}  {:<9}  {:<9}  {:<6}  DUE",
                "UPGRADE", "HEIGHT", "FROM", "STANDING", "STAGED"
            );
        }
        for row in &shown.plans {
            let height = row.plan.height.map_or("now".to_owned(), |h| h.to_string());
            let due = row.due.map_or("unknown", yes);
            let staged = yes(row.staged);
            let (source, standing) = (row.plan.source, row.standing);
            println!("{:<20} {height:>12}  {source:<9}  {standing:<9}  {staged:<6}  {due}", row.plan.title);
        }
        for fault in shown.faults {
            println!("fault: {}", super::visible(&fault.detail));
        }
        host.say_if_not_followed();
        Ok(ExitCode::SUCCESS)
    }
}

fn shown(host: &Host, head: Option<u64>) -> Shown<'_> {
    let standings = host.queue.standings(&host.applied, head, &host.settings.upgrade.skip_heights);
    let row = |(plan, standing)| row(host, head, plan, standing);
    Shown {
        running: host.applied.running.as_ref(),
        head,
        last_applied_height: host.applied.height,
        followed: host.is_followed(),
        plans: host.queue.plans.iter().zip(standings).map(row).collect(),
        faults: &host.queue.faults,
    }
}

fn row<'a>(host: &Host, head: Option<u64>, plan: &'a Plan, standing: Standing) -> Row<'a> {
    let executable = host.home.binary(&plan.name);
    let due = (plan.height.is_none() || head.is_some()).then(|| plan.is_due(head));
    Row { plan, standing, due, staged: binary::is_there(&executable), executable }
}

fn yes(whether: bool) -> &'static str {
    if whether { "yes" } else { "no" }
}
