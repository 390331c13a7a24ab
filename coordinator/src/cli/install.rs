//! `node install`: many hosts at once, a bar for each and one in all on a terminal, a line for each otherwise.
use super::Env;
use super::client::Client;
use super::error::{Exit, Failure, Outcome};
use super::escape::escape;
use super::output::{Format, json, print, say};
use crate::ssh::error::InstallError;
use crate::ssh::hostkey::HostKeys;
use crate::ssh::install::{Binary, Enrolment, Fleet, Installed, Job, Order, install};
use crate::ssh::probe::Init;
use crate::ssh::session::Access;
use common::id::NodeName;
use common::time::Span;
use coordinator::api::body::{CertificateRequest, Enrolled, NodeList, NodeStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Flags of `node install`.
#[derive(Debug, clap::Args)]
pub struct InstallFlags {
    /// Nodes to install.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<NodeName>,
    /// Every node that has an SSH address.
    #[arg(long)]
    all: bool,
    /// Hosts worked on at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Only look, and say what would change.
    #[arg(long)]
    dry_run: bool,
    /// The agent's binary, `wemixvisor`, for the hosts' platform.
    #[arg(long, value_name = "FILE")]
    agent_binary: PathBuf,
    /// Private SSH key.
    #[arg(long, value_name = "FILE")]
    ssh_key: PathBuf,
    /// File with the passphrase of the SSH key.
    #[arg(long, value_name = "FILE")]
    ssh_key_password_file: Option<PathBuf>,
    /// Pinned host keys, OpenSSH's format; `known_hosts` beside the context file when not given.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Pin the key of a host that has none pinned. A changed key is refused all the same.
    #[arg(long)]
    trust_on_first_use: bool,
    /// Template of the agent's configuration: @NODE@, @NETWORK@, @ROLE@, @URL@, @HOME@ and @DAEMON@ are filled in.
    #[arg(long, value_name = "FILE")]
    agent_config: Option<PathBuf>,
    /// Address the agents call; the coordinator's address as this program knows it when not given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// DAEMON_HOME on the hosts.
    #[arg(long, value_name = "DIR")]
    home: Option<String>,
    /// DAEMON_NAME: file name of the chain client.
    #[arg(long, default_value = "geth", value_name = "NAME")]
    daemon: String,
    /// Account the agent and its node run as; the owner of the home, or `wemixvisor`, when not given.
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// Further folder the chain client writes to; may be given several times.
    #[arg(long, value_name = "DIR")]
    writable: Vec<String>,
    /// How the agent is started, when the host's look is not to be trusted.
    #[arg(long, value_enum)]
    init: Option<Init>,
    /// Longest wait for the first sync of each agent.
    #[arg(long, default_value = "60s")]
    first_sync: Span,
}

struct Api(Client);

impl Fleet for Api {
    async fn certify(&self, node: &NodeName, csr: &str) -> Result<Enrolment, String> {
        let path = format!("/v1/nodes/{node}/certificate");
        let body = CertificateRequest { csr: csr.to_owned() };
        let made: Enrolled = self.0.post(&path, &body).await.map_err(|e| e.what.clone() + &cause(&e))?;
        let trust = made.trust.as_ref().map(serde_json::to_string).transpose().map_err(|e| e.to_string())?;
        Ok(Enrolment { certificate: made.certificate, ca: made.ca, trust })
    }

    async fn last_heard(&self, node: &NodeName) -> Result<Option<u64>, String> {
        let heard = super::node::last_heard(&self.0, node).await;
        heard.map(|at| at.map(|at| at.0)).map_err(|e| e.what.clone() + &cause(&e))
    }
}

fn cause(failure: &Failure) -> String {
    failure.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default()
}

/// Installs the named nodes; exit 3 when some failed, 1 when all did.
///
/// # Errors
/// When nothing could be begun.
pub async fn run(env: &Env, flags: &InstallFlags) -> Outcome {
    let client = env.client()?;
    let order = Arc::new(order(flags, client.base())?);
    let access = Arc::new(access(flags)?);
    let jobs = jobs(&client, flags).await?;
    let bars = Bars::new(jobs.len() as u64);
    let slots = Arc::new(Semaphore::new(flags.parallel.into()));
    let mut running = JoinSet::new();
    for job in jobs {
        let (order, access, slots, api) = (order.clone(), access.clone(), slots.clone(), Api(client.clone()));
        let bars = bars.clone();
        running.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let bar = bars.host(&job.node);
            let done = install(&job, &order, &access, &api, &|step| bar.set_message(step)).await;
            bars.finish(bar);
            (job.node, done)
        });
    }
    let mut results = Vec::new();
    while let Some(joined) = running.join_next().await {
        let (node, done) = joined.map_err(|e| Failure::usage("an installation broke off").because(e))?;
        if matches!(env.format, Format::Table | Format::Wide) {
            bars.all.suspend(|| print(&(line(&node, &done) + "\n")))?;
        }
        results.push((node, done));
    }
    bars.end();
    results.sort_by(|a, b| a.0.cmp(&b.0));
    report(env.format, &results)
}

fn order(flags: &InstallFlags, base: &str) -> Outcome<Order> {
    let path = flags.agent_binary.clone();
    let binary = Binary::read(path)
        .map_err(|e| Failure::usage(format!("cannot use {}", flags.agent_binary.display())).because(e))?;
    let template = flags.agent_config.as_deref().map(super::read_text).transpose()?;
    for path in flags.home.iter().chain(&flags.writable) {
        crate::ssh::unit::plain_path("the folder", path).map_err(|e| Failure::usage(e.to_string()))?;
    }
    crate::ssh::unit::plain_name("the chain client's name", &flags.daemon)
        .map_err(|e| Failure::usage(e.to_string()))?;
    let url = flags.url.clone().unwrap_or_else(|| base.to_owned());
    if reqwest::Url::parse(&url).is_err() || url.contains(['"', '\\', '\n']) {
        return Err(Failure::usage(format!("{url:?} is no address")));
    }
    Ok(Order {
        binary,
        template,
        url,
        home: flags.home.clone(),
        daemon: flags.daemon.clone(),
        run_as: flags.run_as.clone(),
        writable: flags.writable.clone(),
        init: flags.init,
        dry_run: flags.dry_run,
        first_sync: flags.first_sync.to_std(),
    })
}

fn access(flags: &InstallFlags) -> Outcome<Access> {
    let known = match &flags.known_hosts {
        Some(path) => path.clone(),
        None => super::context::config_dir()?.join("known_hosts"),
    };
    Ok(Access {
        key: super::read_text(&flags.ssh_key)?,
        passphrase: super::key::password(flags.ssh_key_password_file.as_deref())?,
        hosts: HostKeys::new(&known),
        trust_on_first_use: flags.trust_on_first_use,
    })
}

async fn jobs(client: &Client, flags: &InstallFlags) -> Outcome<Vec<Job>> {
    let list: NodeList = client.get("/v1/nodes").await?;
    let job = |node: &NodeStatus| Job {
        node: node.record.name.clone(),
        network: node.record.network.to_string(),
        role: node.record.role.to_string(),
        ssh: node.record.ssh.clone(),
    };
    if flags.all {
        let jobs: Vec<Job> = list.nodes.iter().filter(|n| n.record.ssh.is_some()).map(job).collect();
        if jobs.is_empty() {
            return Err(Failure::no("no node has an SSH address")
                .hint("`wemixfleet node add NAME --ssh user@host …`"));
        }
        return Ok(jobs);
    }
    flags
        .names
        .iter()
        .map(|name| {
            list.nodes
                .iter()
                .find(|n| n.record.name == *name)
                .map(job)
                .ok_or_else(|| Failure::no(format!("no node {name}")).hint("`wemixfleet node list`"))
        })
        .collect()
}

fn line(node: &NodeName, done: &Result<Installed, InstallError>) -> String {
    match done {
        Ok(Installed::Unchanged) => format!("{node}: nothing to do"),
        Ok(Installed::Changed(what)) => format!("{node}: installed ({})", what.join(", ")),
        Ok(Installed::Would(what)) => format!("{node}: would change {}", what.join(", ")),
        Err(e) => match e.hint() {
            Some(hint) => format!("{node}: FAILED: {}\n  hint: {hint}", escape(&e.to_string())),
            None => format!("{node}: FAILED: {}", escape(&e.to_string())),
        },
    }
}

fn report(format: Format, results: &[(NodeName, Result<Installed, InstallError>)]) -> Outcome {
    let failed = results.iter().filter(|(_, d)| d.is_err()).count();
    match format {
        Format::Json => {
            let list: Vec<_> = results
                .iter()
                .map(|(node, done)| match done {
                    Ok(Installed::Unchanged) => serde_json::json!({"node": node, "result": "unchanged"}),
                    Ok(Installed::Changed(what)) => {
                        serde_json::json!({"node": node, "result": "installed", "changes": what})
                    }
                    Ok(Installed::Would(what)) => {
                        serde_json::json!({"node": node, "result": "would-change", "changes": what})
                    }
                    Err(e) => serde_json::json!({"node": node, "result": "failed", "why": e.to_string()}),
                })
                .collect();
            json(&list)?;
        }
        Format::Name => {
            let done = results.iter().filter(|(_, d)| d.is_ok());
            print(&done.map(|(n, _)| format!("{n}\n")).collect::<String>())?;
        }
        _ => {
            say(format!("{} of {} hosts are as they should be", results.len() - failed, results.len()));
        }
    }
    Ok(match failed {
        0 => Exit::Done,
        n if n == results.len() => Exit::No,
        _ => Exit::Partly,
    })
}

/// Bars on a terminal's standard error; nothing elsewhere, where lines are told instead.
#[derive(Clone)]
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    live: bool,
}

impl Bars {
    fn new(hosts: u64) -> Self {
        let live = std::io::stderr().is_terminal();
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(ProgressBar::new(hosts));
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} hosts {elapsed}") {
            total.set_style(style);
        }
        Self { all, total, live }
    }

    fn host(&self, node: &NodeName) -> ProgressBar {
        let bar = self.all.insert_before(&self.total, ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:20} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(node.to_string());
        if self.live {
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
        }
        bar
    }

    fn finish(&self, bar: ProgressBar) {
        bar.finish_and_clear();
        self.total.inc(1);
    }

    fn end(&self) {
        self.total.finish_and_clear();
    }
}
