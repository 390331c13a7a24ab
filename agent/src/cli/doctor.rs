//! `wemixvisor doctor`: what an operator would look at first.
mod contact;
mod host;
mod releases;
mod unit;

use crate::config::Settings;
use crate::home::Home;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

/// Check this host.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Form of the output
    #[arg(long, short, value_enum, default_value = "table")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: impl Into<String>, detail: impl Display) {
        self.add(check.into(), State::Ok, detail.to_string(), None);
    }

    fn warn(&mut self, check: impl Into<String>, detail: impl Display, hint: impl Display) {
        self.add(check.into(), State::Warn, detail.to_string(), Some(hint.to_string()));
    }

    fn fail(&mut self, check: impl Into<String>, detail: impl Display, hint: impl Display) {
        self.add(check.into(), State::Fail, detail.to_string(), Some(hint.to_string()));
    }

    fn add(&mut self, check: String, state: State, detail: String, hint: Option<String>) {
        // What a node or a coordinator said is data.
        let detail = detail.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"");
        self.0.push(Finding { check, state, detail, hint });
    }

    fn failed(&self) -> usize {
        self.0.iter().filter(|f| f.state == State::Fail).count()
    }
}

/// The host that is looked at.
struct Patient<'a> {
    settings: &'a Settings,
    home: Home,
    /// Process id of the agent that runs.
    agent: Option<u32>,
}

impl Doctor {
    /// Looks at everything and prints it; exit code 1 when something fails. Changes nothing: what is written for a
    /// try is removed again.
    pub async fn run(&self, settings: &Settings) -> anyhow::Result<ExitCode> {
        let home = settings.layout();
        let patient = Patient { agent: agent(&home), home, settings };
        let mut findings = Findings::default();
        host::look(&patient, &mut findings);
        releases::look(&patient, &mut findings);
        unit::look(&patient, &mut findings);
        contact::look(&patient, &mut findings).await?;
        match self.output {
            Form::Json => {
                let ok = findings.failed() == 0;
                let body = serde_json::json!({"ok": ok, "home": settings.node.home, "checks": findings.0});
                println!("{}", serde_json::to_string_pretty(&body)?);
            }
            Form::Table => table(&findings),
        }
        Ok(if findings.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn table(findings: &Findings) {
    for Finding { check, state, detail, hint } in &findings.0 {
        let state = match state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        println!("{state}  {check}: {detail}");
        if let Some(hint) = hint {
            println!("      hint: {hint}");
        }
    }
}

/// The agent whose lock the home is under. Seen without touching the lock: a try would be in the way of an agent that
/// is just starting.
fn agent(home: &Home) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(home.lock()).ok()?.trim().parse().ok()?;
    let lock = home.lock().metadata().ok()?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut files = open.flatten().filter_map(|fd| std::fs::metadata(fd.path()).ok());
    files.any(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino())).then_some(pid)
}
