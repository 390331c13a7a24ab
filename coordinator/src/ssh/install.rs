//! Installing one host: look, compare, and change only what differs. The agent's key is made on the host and never
//! leaves it; the certificate comes to the host, no secret travels.
use super::apply::{apply, compare, first_sync};
use super::error::InstallError;
use super::host::Host;
use super::probe::{Init, Root, elf_platform, probe};
use super::session::{Access, Session};
use super::target::Target;
use super::unit::{UnitSpec, render};
use common::id::NodeName;
use common::release::Digest;
use std::path::PathBuf;
use std::time::Duration;

/// `DAEMON_HOME` where none is given.
const USUAL_HOME: &str = "/var/lib/wemixvisor";
/// Account made when the node's home has no other owner.
const ACCOUNT: &str = "wemixvisor";

/// Configuration where the operator gives none.
const TEMPLATE: &str = include_str!("agent.toml");

/// The agent's binary, read once for all hosts.
#[derive(Debug)]
pub struct Binary {
    /// File on this machine.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Platform, `(os, arch)`.
    pub platform: (&'static str, &'static str),
}

impl Binary {
    /// Reads and measures the file.
    ///
    /// # Errors
    /// When it cannot be read or is no executable for Linux.
    pub fn read(path: PathBuf) -> Result<Self, String> {
        let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
        let platform = elf_platform(&bytes).ok_or("it is no ELF executable of a known architecture")?;
        Ok(Self { sha256: Digest::of(&bytes), size: bytes.len() as u64, path, platform })
    }
}

/// What is to be installed, the same for every host.
#[derive(Debug)]
pub struct Order {
    /// The agent.
    pub binary: Binary,
    /// Configuration of the agent; `@NODE@`, `@NETWORK@`, `@ROLE@`, `@URL@`, `@HOME@`, `@DAEMON@` stand for the host's
    /// values. `None` leaves a configuration that is there and writes the usual one where there is none.
    pub template: Option<String>,
    /// Address the agents call.
    pub url: String,
    /// `DAEMON_HOME` on the hosts; `None` for the usual place.
    pub home: Option<String>,
    /// `DAEMON_NAME`.
    pub daemon: String,
    /// Account the agent runs as; `None`: the owner of the home, or one of our own.
    pub run_as: Option<String>,
    /// Further folders the chain client writes to.
    pub writable: Vec<String>,
    /// Overrides what the host looks like.
    pub init: Option<Init>,
    /// Only look and say what would change.
    pub dry_run: bool,
    /// Longest wait for the first sync.
    pub first_sync: Duration,
}

/// What the coordinator is asked during an installation.
pub trait Fleet: Sync {
    /// Signs the key a host made; certificate and CA as PEM, and the `[trust]` section for its configuration.
    fn certify(&self, node: &NodeName, csr: &str) -> impl Future<Output = Result<Enrolment, String>> + Send;
    /// When the coordinator last heard from the node, in milliseconds by its clock, and that clock now when it says.
    fn last_heard(&self, node: &NodeName) -> impl Future<Output = Result<Option<u64>, String>> + Send;
}

/// What a host gets for its key.
#[derive(Debug)]
pub struct Enrolment {
    /// Certificate chain, PEM.
    pub certificate: String,
    /// The fleet's CA, PEM.
    pub ca: String,
    /// Keys of the maintainers and the threshold as JSON, when the fleet has them.
    pub trust: Option<String>,
}

/// A node to install.
#[derive(Debug, Clone)]
pub struct Job {
    /// The node.
    pub node: NodeName,
    /// Its network.
    pub network: String,
    /// Its role.
    pub role: String,
    /// `user@host:port` as registered.
    pub ssh: Option<String>,
}

/// How it went on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Everything was as it should be.
    Unchanged,
    /// These things were changed, and the coordinator heard from the agent.
    Changed(Vec<&'static str>),
    /// These things would be changed.
    Would(Vec<&'static str>),
}

/// Paths on one host.
#[derive(Debug)]
pub struct Places {
    /// `DAEMON_HOME`.
    pub home: String,
    /// The agent's binary.
    pub agent: String,
    /// The supervisor's own folder in the home.
    pub root: String,
    /// How it is started.
    pub init: Init,
    /// Account it runs as.
    pub user: String,
    /// `DAEMON_NAME`.
    pub daemon: String,
}

/// Files as they should be.
#[derive(Debug)]
pub struct Wanted {
    /// The systemd unit.
    pub unit: String,
    /// The configuration.
    pub config: String,
    /// Whether a configuration that is there is replaced.
    pub replace_config: bool,
}

/// Installs one host. `say` is told every step.
///
/// # Errors
/// [`InstallError`] says which step failed and why; what was placed before is taken back.
pub async fn install(
    job: &Job,
    order: &Order,
    access: &Access,
    fleet: &impl Fleet,
    say: &(dyn Fn(&'static str) + Sync),
) -> Result<Installed, InstallError> {
    let target: Target = match &job.ssh {
        Some(text) => text.parse().map_err(|e| InstallError::Address(format!("{e}")))?,
        None => return Err(InstallError::Address("none is registered".into())),
    };
    say("connecting");
    let session = Session::open(&target, access).await?;
    say("looking at the host");
    let guess = order.home.as_deref().unwrap_or(USUAL_HOME);
    let facts = match probe(&session, guess).await {
        Ok(facts) => facts,
        Err(e) => {
            session.close().await;
            return Err(e);
        }
    };
    let mut host = Host::new(session, facts);
    let done = work(job, order, fleet, &mut host, say).await;
    if done.is_err() {
        host.undo().await;
    }
    host.close().await;
    done
}

async fn work(
    job: &Job,
    order: &Order,
    fleet: &impl Fleet,
    host: &mut Host,
    say: &(dyn Fn(&'static str) + Sync),
) -> Result<Installed, InstallError> {
    let places = places(order, host)?;
    let wanted = wanted(job, order, &places)?;
    say("comparing");
    let heard = fleet.last_heard(&job.node).await.map_err(InstallError::Fleet)?;
    let mut changes = compare(order, host, &places, &wanted).await?;
    if changes.is_empty() && heard.is_none() {
        changes.push("enrolment");
    }
    if changes.is_empty() {
        return Ok(Installed::Unchanged);
    }
    if order.dry_run {
        return Ok(Installed::Would(changes));
    }
    apply(job, order, fleet, host, &places, &wanted, &changes, say).await?;
    say("waiting for the first sync");
    first_sync(job, order, fleet, host, &places, heard).await?;
    Ok(Installed::Changed(changes))
}

fn places(order: &Order, host: &Host) -> Result<Places, InstallError> {
    let facts = &host.facts;
    let init = order.init.unwrap_or(facts.init);
    let (os, arch) = order.binary.platform;
    if (facts.os.as_str(), facts.arch.as_str()) != (os, arch) {
        return Err(InstallError::Platform {
            binary: format!("{os}/{arch}"),
            host: format!("{}/{}", facts.os, facts.arch),
        });
    }
    if init == Init::Systemd && facts.root == Root::No {
        return Err(InstallError::NoRoot { user: facts.user.clone() });
    }
    let home = match (&order.home, init) {
        (Some(home), _) => home.clone(),
        (None, Init::Systemd) => USUAL_HOME.to_owned(),
        (None, Init::None) => format!("{}/wemixvisor-home", facts.shell_home.trim_end_matches('/')),
    };
    let need = order.binary.size * 3 + (64 << 20);
    if facts.free_bytes < need {
        return Err(InstallError::DiskFull { path: home, free: facts.free_bytes, need });
    }
    let owner = facts.owner.clone().filter(|o| o != "root" && o != "UNKNOWN");
    let user = match init {
        Init::None => facts.user.clone(),
        Init::Systemd => order.run_as.clone().or(owner).unwrap_or_else(|| ACCOUNT.to_owned()),
    };
    let agent = match init {
        Init::Systemd => "/usr/local/bin/wemixvisor".to_owned(),
        Init::None => format!("{home}/bin/wemixvisor"),
    };
    Ok(Places {
        root: format!("{home}/{}", facts.folder),
        home,
        agent,
        init,
        user,
        daemon: order.daemon.clone(),
    })
}

fn wanted(job: &Job, order: &Order, places: &Places) -> Result<Wanted, InstallError> {
    let unit = render(&UnitSpec {
        node: &job.node,
        user: &places.user,
        agent: &places.agent,
        home: &places.home,
        daemon: &order.daemon,
        writable: &order.writable,
    })
    .map_err(|e| InstallError::Address(e.to_string()))?;
    let tokens = [
        ("@NODE@", job.node.as_str()),
        ("@NETWORK@", &job.network),
        ("@ROLE@", &job.role),
        ("@URL@", &order.url),
        ("@HOME@", &places.home),
        ("@DAEMON@", &order.daemon),
    ];
    let template = order.template.as_deref().unwrap_or(TEMPLATE);
    let config = tokens.iter().fold(template.to_owned(), |text, (token, value)| text.replace(token, value));
    Ok(Wanted { unit, config, replace_config: order.template.is_some() })
}
