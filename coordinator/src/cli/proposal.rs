//! `proposal list | show | watch`. Names and URIs of proposals are strangers' texts.
use super::Env;
use super::client::Client;
use super::error::{Exit, Failure, Outcome};
use super::escape::clip;
use super::output::{Format, Table, json, print, say};
use super::show::{self, lines};
use common::time::Span;
use coordinator::api::body::{ProposalList, ProposalStatus};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Verbs on upgrade plans from governance.
#[derive(Debug, clap::Subcommand)]
pub enum ProposalVerb {
    /// Every upgrade plan that was proposed.
    List,
    /// One of them, with the checks it passed and failed.
    Show {
        /// Its id on chain.
        id: String,
    },
    /// Print a line whenever one changes, until interrupted or until `--for` is over.
    Watch {
        /// End after this long.
        #[arg(long = "for", value_name = "SPAN")]
        limit: Option<Span>,
    },
}

fn cells(status: &ProposalStatus) -> [String; 7] {
    let p = &status.proposal;
    let settled = if p.final_ { "" } else { " (not final)" };
    let check = status.check.as_ref().map_or(String::new(), |c| {
        if c.transient { format!("{}, tried again", c.code) } else { c.code.clone() }
    });
    [
        p.plan_id.to_string(),
        clip(&p.name, 32),
        format!("{}{settled}", show::word(&p.state)),
        format!("{}/{}", p.votes, p.required),
        p.height.to_string(),
        status.rollout.as_ref().map_or(String::new(), ToString::to_string),
        check,
    ]
}

/// Runs a verb.
///
/// # Errors
/// When the coordinator cannot be asked or knows no such proposal.
pub async fn run(env: &Env, verb: ProposalVerb) -> Outcome {
    let client = env.client()?;
    match verb {
        ProposalVerb::List => {
            let list: ProposalList = client.get("/v1/proposals").await?;
            match env.format {
                Format::Json => json(&list)?,
                Format::Name => {
                    print(&list.proposals.iter().map(|p| format!("{}\n", cells(p)[0])).collect::<String>())?;
                }
                _ => {
                    let mut table =
                        Table::new(&["PLAN", "NAME", "STATE", "VOTES", "HEIGHT", "ROLLOUT", "CHECK"]);
                    for proposal in &list.proposals {
                        let mut row = cells(proposal);
                        if env.format == Format::Table {
                            row[0] = row[0].chars().take(18).collect();
                        }
                        table.row(row);
                    }
                    print(&table.render(0))?;
                }
            }
        }
        ProposalVerb::Show { id } => {
            let list: ProposalList = client.get("/v1/proposals").await?;
            // A person copies the shortened id from the list.
            let mut found =
                list.proposals.iter().map(|p| cells(p)[0].clone()).filter(|full| full.starts_with(&id));
            let (full, more) = (found.next(), found.next());
            let full = match (full, more) {
                (Some(full), None) => full,
                (None, _) => {
                    return Err(Failure::no(format!("no proposal {id}")).hint("`wemixfleet proposal list`"));
                }
                _ => return Err(Failure::usage(format!("{id} begins several proposals"))),
            };
            let proposal: Value = client.get(&format!("/v1/proposals/{}", show::segment(&full)?)).await?;
            match env.format {
                Format::Json => json(&proposal)?,
                _ => print(&lines(&proposal, 0))?,
            }
        }
        ProposalVerb::Watch { limit } => watch(&client, env.format, limit).await?,
    }
    Ok(Exit::Done)
}

async fn watch(client: &Client, format: Format, limit: Option<Span>) -> Outcome<()> {
    let end = limit.map(|l| Instant::now() + l.to_std());
    let mut seen: Vec<[String; 7]> = Vec::new();
    say("waiting for changes; Ctrl-C ends this");
    loop {
        let list: ProposalList = client.get("/v1/proposals").await?;
        for proposal in &list.proposals {
            let row = cells(proposal);
            if seen.contains(&row) {
                continue;
            }
            if format == Format::Json {
                let text = serde_json::to_string(proposal).unwrap_or_default();
                print(&format!("{text}\n"))?;
            } else {
                let safe: Vec<String> = row.iter().map(|c| super::escape::escape(c)).collect();
                let [plan, name, state, votes, height, rollout, failed] = &safe[..] else { continue };
                print(&format!(
                    "{plan} {name}: {state}, {votes} votes, height {height} {rollout} {failed}\n"
                ))?;
            }
            seen.retain(|old| old[0] != row[0]);
            seen.push(row);
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
