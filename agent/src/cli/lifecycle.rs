//! `wemixvisor start`, `stop`, `restart`, `reload`, `replace-agent`: from any process, through the agent's socket.
use super::Place;
use super::args::RESERVED_DETACHED;
use crate::ask::{AskError, ask};
use crate::config::Settings;
use crate::driver::{Answer, Request, Status};
use crate::home::Home;
use crate::host::process::Node;
use crate::host::{found, lock};
use anyhow::{Context, bail};
use clap::Args;
use common::time::Span;
use common::wire::v1::ProcessState;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Exit code of a wait that took too long.
const WAITED_TOO_LONG: u8 = 124;

/// Starts the agent and its node.
#[derive(Debug, Args)]
pub struct Start {
    /// Stay in the foreground, as `run` does
    #[arg(long, short = 'F')]
    pub foreground: bool,
    /// In the background; this is the default
    #[arg(long, short, conflicts_with = "foreground")]
    daemon: bool,
    /// How long to wait for the node process
    #[arg(long, default_value = "60s", value_name = "SPAN")]
    wait: Span,
}

/// Stops the node, then the agent.
#[derive(Debug, Args)]
pub struct Stop {
    /// How long to wait; the node's own limit and a minute more when not given
    #[arg(long, value_name = "SPAN")]
    wait: Option<Span>,
}

/// Stops the node and starts it again on its current release.
#[derive(Debug, Args)]
pub struct RestartNode {
    /// Although this host is in a fleet, whose quorum is not asked
    #[arg(long)]
    force: bool,
    /// How long to wait; the node's own limit and a minute more when not given
    #[arg(long, value_name = "SPAN")]
    wait: Option<Span>,
}

/// Asks the running agent and prints what it answers.
pub fn tell(home: &Home, request: &Request) -> anyhow::Result<ExitCode> {
    match ask(home, request)? {
        Answer::Done { detail } => {
            println!("{detail}");
            Ok(ExitCode::SUCCESS)
        }
        Answer::Refused { why, hint } => bail!("{why}\nhint: {hint}"),
        Answer::Status(_) => bail!("the running agent answered something else; is it of another version?"),
    }
}

fn status(home: &Home) -> Option<Box<Status>> {
    match ask(home, &Request::Status) {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

fn pid_of(status: &Status) -> Option<u32> {
    match status.report.process {
        ProcessState::Running { pid, .. } => Some(pid),
        _ => None,
    }
}

/// A dot a second while something takes its time, for people only.
struct Waiting {
    since: Instant,
    dots: u64,
    shown: bool,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { since: Instant::now(), dots: 0, shown: std::io::stderr().is_terminal() }
    }

    fn tick(&mut self) {
        std::thread::sleep(LOOK_EVERY);
        if self.shown && self.since.elapsed().as_secs() > self.dots {
            self.dots += 1;
            let _ = write!(std::io::stderr(), ".");
        }
    }

    fn over(&self, within: Span) -> bool {
        self.since.elapsed() >= within.to_std()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.dots > 0 {
            eprintln!();
        }
    }
}

impl Start {
    /// Starts the agent in a session of its own and waits until its node runs.
    pub fn run(&self, place: &Place, node_args: &[OsString]) -> anyhow::Result<ExitCode> {
        let settings = place.settings()?;
        let home = settings.layout();
        if let Some(status) = status(&home) {
            println!("already running: agent {}, node {}", status.agent_pid, shown(pid_of(&status)));
            return Ok(ExitCode::SUCCESS);
        }
        anyhow::ensure!(
            home.base.is_dir(),
            "the home {} is no folder\nhint: wemixvisor init EXECUTABLE",
            home.base.display()
        );
        let log = home.root().join("agent.log");
        let from = std::fs::metadata(&log).map_or(0, |m| m.len());
        let mut child = spawn(place, &home, &log, node_args)?;
        let mut waiting = Waiting::new();
        loop {
            if let Some(status) = status(&home)
                && status.agent_pid == child.id()
                && let Some(pid) = pid_of(&status)
            {
                drop(waiting);
                println!(
                    "started: agent {}, node {pid}, output in {}",
                    status.agent_pid,
                    settings.log.node_file.display()
                );
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(ended) = child.try_wait().context("looking at the agent")? {
                bail!("the agent ended with {ended}\n{}", said_since(&log, from));
            }
            if waiting.over(self.wait) {
                let fault = status(&home).and_then(|s| s.report.fault);
                let why = fault.map(|f| format!(": {}", f.detail.escape_debug())).unwrap_or_default();
                eprintln!(
                    "the agent (process {}) runs, its node not yet{why}; see {}",
                    child.id(),
                    log.display()
                );
                return Ok(ExitCode::from(WAITED_TOO_LONG));
            }
            waiting.tick();
        }
    }
}

fn shown(pid: Option<u32>) -> String {
    pid.map_or("down".to_owned(), |p| p.to_string())
}

fn spawn(place: &Place, home: &Home, log: &Path, node_args: &[OsString]) -> anyhow::Result<Child> {
    std::fs::create_dir_all(home.root()).with_context(|| format!("making {}", home.root().display()))?;
    let file = OpenOptions::new().create(true).append(true).open(log);
    let file = file.with_context(|| format!("opening {}", log.display()))?;
    let program = crate::driver::own_program().context("finding this program's own file")?;
    let mut command = Command::new(program);
    command.arg0(std::env::args_os().next().unwrap_or_default());
    command.arg(RESERVED_DETACHED).args(place.as_args()).arg("run").args(node_args);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().context("starting the agent")
}

/// The end of what the agent said, for an error.
fn said_since(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let new = bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

impl Stop {
    /// Stops through the agent; without one, the node itself.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let settings = place.settings()?;
        let home = settings.layout();
        let within = self.wait.unwrap_or(Span(settings.node.stop.0 + 60_000));
        let agent = status(&home).map(|s| s.agent_pid);
        let Some(agent) = agent else { return stop_alone(&settings, &home) };
        let asked = std::thread::scope(|scope| -> anyhow::Result<Answer> {
            let asking = scope.spawn(|| ask_patiently(&home, within));
            let mut waiting = Waiting::new();
            while !asking.is_finished() {
                waiting.tick();
            }
            asking.join().map_err(|_| anyhow::anyhow!("asking the agent failed"))?
        })?;
        let detail = match asked {
            Answer::Done { detail } => detail,
            Answer::Refused { why, hint } => bail!("{why}\nhint: {hint}"),
            Answer::Status(_) => bail!("the running agent answered something else"),
        };
        let end = Instant::now() + Duration::from_secs(10);
        while crate::host::proc::stat(agent).is_some_and(|s| s.state != 'Z') && lock_is_held(&home) {
            anyhow::ensure!(
                Instant::now() < end,
                "the node stopped, the agent (process {agent}) did not end"
            );
            std::thread::sleep(LOOK_EVERY);
        }
        println!("{detail}");
        Ok(ExitCode::SUCCESS)
    }
}

fn ask_patiently(home: &Home, within: Span) -> anyhow::Result<Answer> {
    crate::ask::ask_within(home, &Request::Stop, within.to_std()).map_err(|e| match e {
        AskError::Broken(e)
            if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            anyhow::anyhow!(
                "the node is still being stopped after {within}; it is not killed before its own limit"
            )
        }
        other => other.into(),
    })
}

fn lock_is_held(home: &Home) -> bool {
    matches!(lock::take(&home.lock()), Err(lock::LockError::Held { .. }))
}

/// Stops a node that runs without an agent.
fn stop_alone(settings: &Settings, home: &Home) -> anyhow::Result<ExitCode> {
    if !home.root().is_dir() {
        bail!("{} is no home: {} is not there", home.base.display(), home.root().display());
    }
    let _lock = lock::take(&home.lock())?;
    let Some(mut node) = found::node(home)? else {
        println!("not running");
        return Ok(ExitCode::SUCCESS);
    };
    let began = Instant::now();
    node.ask_to_stop(home).context("writing the process record before the stop")?;
    let mut waiting = Waiting::new();
    let mut killed = false;
    while is_there(&node) {
        if !killed && waiting.over(settings.node.stop) {
            eprintln!("the node did not stop within {}; SIGKILL", settings.node.stop);
            node.kill();
            killed = true;
        }
        anyhow::ensure!(
            !waiting.over(Span(settings.node.stop.0 + 15_000)),
            "the node did not end, not even by SIGKILL"
        );
        waiting.tick();
    }
    let _ = std::fs::remove_file(home.process());
    drop(waiting);
    let took = Span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    println!("no agent was running; the node stopped after {took}");
    Ok(ExitCode::SUCCESS)
}

fn is_there(node: &Node) -> bool {
    let record = &node.record;
    let leader = crate::host::proc::stat(record.pid)
        .is_some_and(|s| s.start_ticks == record.start_ticks && s.state != 'Z');
    leader || !node.rest().is_empty()
}

impl RestartNode {
    /// Restarts through the agent and waits for the new process.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let settings = place.settings()?;
        let home = settings.layout();
        let within = self.wait.unwrap_or(Span(settings.node.stop.0 + 60_000));
        let Some(before) = status(&home) else {
            bail!("no wemixvisor runs for {}\nhint: wemixvisor start", home.base.display());
        };
        match ask(&home, &Request::Restart { force: self.force })? {
            Answer::Done { .. } => {}
            Answer::Refused { why, hint } => bail!("{why}\nhint: {hint}"),
            Answer::Status(_) => bail!("the running agent answered something else"),
        }
        let old = pid_of(&before);
        let mut waiting = Waiting::new();
        loop {
            if let Some(pid) = status(&home).and_then(|s| pid_of(&s)).filter(|p| Some(*p) != old) {
                drop(waiting);
                println!("restarted: node {pid} (was {})", shown(old));
                return Ok(ExitCode::SUCCESS);
            }
            if waiting.over(within) {
                eprintln!("no new node process after {within}; wemixvisor status says why");
                return Ok(ExitCode::from(WAITED_TOO_LONG));
            }
            waiting.tick();
        }
    }
}
