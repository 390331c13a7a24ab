//! `wemixvisor status`: asks the running agent; without one it tells what is written down.
use super::Output;
use crate::ask::{AskError, ask};
use crate::driver::{Answer, Pending, PlanReason, PlanWait, Request, Status};
use crate::home::Home;
use crate::host::launch::Record;
use crate::host::proc;
use crate::ledger;
use clap::Args;
use common::machine::HeightWait;
use common::wire::v1::ProcessState;
use serde_json::json;
use std::process::ExitCode;

/// Exit code when no agent runs, as service managers use it.
const NOT_RUNNING: u8 = 3;

/// How to show it.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Form of the output
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

impl StatusArgs {
    /// Prints the status; exit code 3 when no agent runs.
    pub fn run(&self, home: &Home) -> anyhow::Result<ExitCode> {
        let status = match ask(home, &Request::Status) {
            Ok(Answer::Status(status)) => Some(status),
            Ok(_) => anyhow::bail!("the running agent answered something else; is it of another version?"),
            Err(AskError::Nobody(_)) => None,
            Err(error) => return Err(error.into()),
        };
        match status {
            Some(status) if self.output == Output::Json => {
                println!("{}", serde_json::to_string_pretty(&status)?);
                Ok(ExitCode::SUCCESS)
            }
            Some(status) => {
                rows(&running(&status));
                Ok(ExitCode::SUCCESS)
            }
            None => {
                self.written_down(home)?;
                Ok(ExitCode::from(NOT_RUNNING))
            }
        }
    }

    fn written_down(&self, home: &Home) -> anyhow::Result<()> {
        let ledger = ledger::read(&home.ledger())?;
        let record = Record::read(&home.process())
            .filter(|r| proc::stat(r.pid).is_some_and(|s| s.start_ticks == r.start_ticks && s.state != 'Z'));
        if self.output == Output::Json {
            let status = json!({"agent_pid": null, "home": home.base, "ledger": ledger, "process": record});
            println!("{}", serde_json::to_string_pretty(&status)?);
            return Ok(());
        }
        let mut lines = vec![("agent", "not running".to_owned()), ("home", home.base.display().to_string())];
        lines.push(("node", record.map_or("not running".to_owned(), |r| format!("process {}", r.pid))));
        if let Some(ledger) = ledger {
            lines.push(("release", format!("{} {}", ledger.current.name, ledger.current.digest)));
            lines.push(("phase", format!("{:?}", ledger.phase).to_lowercase()));
        }
        rows(&lines);
        Ok(())
    }
}

fn running(status: &Status) -> Vec<(&'static str, String)> {
    // The agent tells its times by its own clock.
    let (report, now) = (&status.report, status.report.at);
    let node = match &report.process {
        ProcessState::Stopped => "stopped".to_owned(),
        ProcessState::Running { pid, since } => format!("process {pid}, up {}", whole(now.since(*since))),
        ProcessState::BackingOff { restarts, exit, .. } => {
            format!("{exit}; {restarts} restarts, backing off")
        }
    };
    let mut lines = vec![
        ("agent", format!("process {}, {}", status.agent_pid, report.agent_version)),
        ("home", status.home.clone()),
        ("node", node),
    ];
    if let Some(release) = &report.running {
        lines.push(("release", format!("{} {}", release.name, release.digest)));
    }
    let health = &report.health;
    let head = health.head().map_or("unknown".to_owned(), |b| b.height.to_string());
    let peers = health.peers.map_or("unknown".to_owned(), |p| p.to_string());
    let rpc = if health.rpc_up { "up" } else { "down" };
    lines.push(("health", format!("rpc {rpc}, head {head}, peers {peers}")));
    if let Some(verdict) = &status.verdict {
        let how =
            if verdict.healthy { "healthy".to_owned() } else { format!("unhealthy: {}", verdict.why()) };
        lines.push(("verdict", how.escape_debug().to_string()));
    }
    let target = report.target.as_ref().map(|t| format!(" ({})", t.name)).unwrap_or_default();
    lines.push(("phase", format!("{:?}{target}", report.phase).to_lowercase()));
    if let Some(plan) = &status.plan {
        lines.push(("plan", shown_plan(plan)));
    }
    lines.extend(status.plan_faults.iter().map(|fault| ("plans", fault.escape_debug().to_string())));
    if let Some(fault) = &report.fault {
        lines.push(("fault", fault.detail.escape_debug().to_string()));
    }
    if let Some(contact) = &status.contact {
        let how = match (&contact.error, contact.answered_at) {
            (Some(error), _) => error.escape_debug().to_string(),
            (None, Some(at)) => format!("answered {} ago", whole(now.since(at))),
            (None, None) => "not asked yet".to_owned(),
        };
        lines.push((
            "fleet",
            format!("{} as {}, generation {}: {how}", contact.url, status.node, status.generation),
        ));
    }
    lines
}

fn shown_plan(plan: &Pending) -> String {
    let height = plan.height.map_or("at once".to_owned(), |h| format!("at {h}"));
    let waits = match &plan.waits {
        None => String::new(),
        Some(PlanWait::Height(HeightWait::HeightAhead { head, .. })) => {
            format!(": height-ahead, the head is {head}")
        }
        Some(PlanWait::Height(HeightWait::HeadUnknown { .. })) => {
            ": head-unknown, the node never told its head".to_owned()
        }
        Some(PlanWait::Other { reason }) => format!(
            ": {}",
            match reason {
                PlanReason::FleetDecides =>
                    "fleet-decides, plans of this host are not followed in a fleet ([upgrade] in_fleet)",
                PlanReason::CoordinatorFirst => "coordinator-first, it follows the coordinator's work",
                PlanReason::FailedHere => "failed-here, wemixvisor upgrade retry",
                PlanReason::Staging => "staging, the release is fetched and checked",
            }
        ),
    };
    format!("{} {height} ({}){waits}", plan.name, plan.source)
}

fn whole(span: common::time::Span) -> common::time::Span {
    common::time::Span::secs(span.as_ms() / 1000)
}

fn rows(lines: &[(&str, String)]) {
    for (what, how) in lines {
        println!("{what:<8} {how}");
    }
}
