//! `node add | list | show | cordon | uncordon | token | install`.
use super::error::{Exit, Failure, Outcome};
use super::output::{Format, Table, json, print, say};
use super::show::{lines, word};
use super::time::{ago, utc};
use super::{Env, install};
use common::chain::Address;
use common::fleet::Role;
use common::id::{NetworkName, NodeName};
use common::time::UnixMs;
use common::wire::v1::ProcessState;
use coordinator::api::body::{ChainStatus, Cordon, JoinToken, NewNode, NodeList, NodeStatus};

/// Verbs on nodes.
#[derive(Debug, clap::Subcommand)]
pub enum NodeVerb {
    /// Register a node.
    Add {
        /// Its name.
        name: NodeName,
        /// What it is for: validator, sentry, rpc or archive.
        #[arg(long)]
        role: Role,
        /// Its network; the coordinator's own when not given.
        #[arg(long)]
        network: Option<NetworkName>,
        /// The address it seals with; required for a validator.
        #[arg(long, value_name = "0xADDRESS", required_if_eq("role", "validator"))]
        validator: Option<Address>,
        /// Label for selectors; may be given several times.
        #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
        label: Vec<(String, String)>,
        /// Where `node install` reaches the host.
        #[arg(long, value_name = "USER@HOST[:PORT]", value_parser = ssh_address)]
        ssh: Option<String>,
    },
    /// All nodes.
    List {
        /// Only nodes with this label; may be given several times.
        #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = label)]
        selector: Vec<(String, String)>,
    },
    /// One node: as registered, as it last reported, as instructed.
    Show {
        /// Its name.
        name: NodeName,
    },
    /// Take a node out of scheduling.
    Cordon {
        /// Its name.
        name: NodeName,
    },
    /// Bring it back.
    Uncordon {
        /// Its name.
        name: NodeName,
    },
    /// A one-time token with which the host enrols itself (15 minutes, this node only).
    Token {
        /// The node.
        name: NodeName,
    },
    /// Install agents over SSH; repeatable, changes only what differs.
    Install(Box<install::InstallFlags>),
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is no label: write key=value"))?;
    if key.is_empty() {
        return Err(format!("{text:?} has no key"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn ssh_address(text: &str) -> Result<String, String> {
    text.parse::<crate::ssh::target::Target>().map(|t| t.to_string()).map_err(|e| e.to_string())
}

/// Runs a verb.
///
/// # Errors
/// When the coordinator cannot be asked or says no.
pub async fn run(env: &Env, verb: NodeVerb) -> Outcome {
    match verb {
        NodeVerb::Add { name, role, network, validator, label, ssh } => {
            let client = env.client()?;
            let network = match network {
                Some(network) => network,
                None => client.get::<ChainStatus>("/v1/chain").await?.network,
            };
            let node = NewNode { name, network, role, labels: label.into_iter().collect(), validator, ssh };
            let added: serde_json::Value = client.post("/v1/nodes", &node).await?;
            match env.format {
                Format::Json => json(&added)?,
                _ => print(&format!("{}\n", node.name))?,
            }
            let how = if node.ssh.is_some() { "node install" } else { "node token" };
            say(format!("next: wemixfleet {how} {}", node.name));
            Ok(Exit::Done)
        }
        NodeVerb::List { selector } => list(env, &selector).await,
        NodeVerb::Show { name } => {
            let node: serde_json::Value = env.client()?.get(&format!("/v1/nodes/{name}")).await?;
            match env.format {
                Format::Json => json(&node)?,
                _ => print(&lines(&node, 0))?,
            }
            Ok(Exit::Done)
        }
        NodeVerb::Cordon { name } => cordon(env, &name, true).await,
        NodeVerb::Uncordon { name } => cordon(env, &name, false).await,
        NodeVerb::Token { name } => {
            let client = env.client()?;
            let made: JoinToken =
                client.post(&format!("/v1/nodes/{name}/join-token"), &serde_json::json!({})).await?;
            if env.format == Format::Json {
                json(&made)?;
                return Ok(Exit::Done);
            }
            print(&format!("{}\n", made.token))?;
            say(format!(
                "valid until {}, once. On the host:\n  wemixvisor enroll --url {} --node {name} --token TOKEN --ca-hash {}",
                utc(made.expires_at),
                made.url,
                made.ca_hash
            ));
            Ok(Exit::Done)
        }
        NodeVerb::Install(flags) => install::run(env, &flags).await,
    }
}

async fn cordon(env: &Env, name: &NodeName, cordoned: bool) -> Outcome {
    let path = format!("/v1/nodes/{name}/cordon");
    let _: serde_json::Value = env.client()?.post(&path, &Cordon { cordoned }).await?;
    say(format!("{name} is {}", if cordoned { "cordoned" } else { "back in scheduling" }));
    Ok(Exit::Done)
}

async fn list(env: &Env, selector: &[(String, String)]) -> Outcome {
    let mut list: NodeList = env.client()?.get("/v1/nodes").await?;
    list.nodes.retain(|n| selector.iter().all(|(k, v)| n.record.labels.get(k) == Some(v)));
    match env.format {
        Format::Json => json(&list)?,
        Format::Name => {
            print(&list.nodes.iter().map(|n| format!("{}\n", n.record.name)).collect::<String>())?
        }
        format => {
            let mut head = vec!["NAME", "ROLE", "STATE", "RUNNING", "HEAD", "PEERS", "PROCESS", "HEARD"];
            if format == Format::Wide {
                head.extend(["NETWORK", "VALIDATOR", "SSH", "LABELS", "AGENT"]);
            }
            let mut table = Table::new(&head);
            for node in &list.nodes {
                table.row(cells(node, list.as_of, format == Format::Wide));
            }
            if list.nodes.is_empty() {
                say("no nodes; `wemixfleet node add` registers one");
            }
            print(&table.render(0))?;
        }
    }
    Ok(Exit::Done)
}

fn cells(node: &NodeStatus, now: UnixMs, wide: bool) -> Vec<String> {
    let record = &node.record;
    let report = node.observed.as_ref().map(|o| &o.report);
    let none = || "-".to_owned();
    let state = match (record.cordoned, report) {
        (_, None) if record.agent_key.is_none() => "not-enrolled".to_owned(),
        (_, None) => "unknown".to_owned(),
        (cordoned, Some(r)) => {
            let fault = r.fault.as_ref().map(|f| format!("!{}", word(&f.code))).unwrap_or_default();
            let silent = if node.silent { ",silent" } else { "" };
            format!("{}{fault}{silent}{}", word(&r.phase), if cordoned { ",cordoned" } else { "" })
        }
    };
    let process = report.map_or_else(none, |r| match &r.process {
        ProcessState::Stopped => "stopped".into(),
        ProcessState::Running { pid, .. } => format!("pid {pid}"),
        ProcessState::BackingOff { restarts, .. } => format!("restarting ({restarts})"),
    });
    let mut row = vec![
        record.name.to_string(),
        record.role.to_string(),
        state,
        report.and_then(|r| r.running.as_ref()).map_or_else(none, |r| r.name.to_string()),
        report.and_then(|r| r.health.head()).map_or_else(none, |h| h.height.to_string()),
        report.and_then(|r| r.health.peers).map_or_else(none, |p| p.to_string()),
        process,
        node.observed.as_ref().map_or_else(|| "never".into(), |o| ago(o.received_at, now)),
    ];
    if wide {
        let labels = record.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        row.extend([
            record.network.to_string(),
            record.validator.map_or_else(none, |v| v.to_string()),
            record.ssh.clone().unwrap_or_else(none),
            labels,
            report.map_or_else(none, |r| r.agent_version.clone()),
        ]);
    }
    row
}

/// When the coordinator last heard from a node, by its clock.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn last_heard(client: &super::client::Client, name: &NodeName) -> Result<Option<UnixMs>, Failure> {
    let node: NodeStatus = client.get(&format!("/v1/nodes/{name}")).await?;
    Ok(node.observed.map(|o| o.received_at))
}
