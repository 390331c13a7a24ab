//! `rollout plan | start | approve | status | watch | why | pause | resume | promote | retry | abort | rollback | list | history`.
use super::client::Client;
use super::error::{Exit, Failure, Outcome};
use super::escape::escape;
use super::output::{Format, Paint, Table, json, print, say};
use super::show::{control, phase, word};
use super::time::utc;
use super::{Env, policy, status, watch};
use common::id::{PolicyName, ReleaseName, RolloutId};
use common::planner::Level;
use common::rollout::{Origin, Phase, RolloutEvent, Verb};
use common::time::Span;
use coordinator::api::body::{EventList, NewRollout, RolloutList, RolloutStatus, VerbRequest};

/// Verbs on rollouts.
#[derive(Debug, clap::Subcommand)]
pub enum RolloutVerb {
    /// Plan a rollout: what would happen, and the id that `start` cites. Nothing is asked of any node.
    Plan {
        /// A release that was added.
        #[arg(long)]
        release: ReleaseName,
        /// A built-in policy or a file.
        #[arg(long, value_name = "NAME|FILE")]
        policy: String,
        /// Keep no draft.
        #[arg(long)]
        dry_run: bool,
    },
    /// Begin a rollout that was planned.
    Start(Doing),
    /// Approve a draft, also one made by governance.
    Approve(Doing),
    /// One screen: where it stands and why it waits.
    Status {
        /// The rollout; the newest when not given.
        id: Option<RolloutId>,
    },
    /// Follow it to its end; the exit code tells how it ended.
    Watch {
        /// The rollout; the newest when not given.
        id: Option<RolloutId>,
        /// Give up after this long (exit 124).
        #[arg(long)]
        timeout: Option<Span>,
    },
    /// Every reason it waits for, what each means, and what to do.
    Why {
        /// The rollout; the newest when not given.
        id: Option<RolloutId>,
    },
    /// Begin nothing new until it is resumed.
    Pause(Doing),
    /// Leave a pause or a hold.
    Resume(Doing),
    /// Open a stage that waits for a person.
    Promote(Doing),
    /// Try failed nodes again.
    Retry(Doing),
    /// End it; nodes half way are finished, no other is touched.
    Abort(Doing),
    /// Bring switched nodes back to their old release.
    Rollback(Doing),
    /// All rollouts.
    List,
    /// What happened, oldest first.
    History {
        /// The rollout.
        id: RolloutId,
        /// Only entries after this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
}

/// A verb on one rollout.
#[derive(Debug, clap::Args)]
pub struct Doing {
    /// The rollout.
    id: RolloutId,
    /// Why; kept in the history.
    #[arg(long, default_value = "")]
    why: String,
    /// Only if the rollout still has this revision.
    #[arg(long)]
    revision: Option<u64>,
}

/// Runs a verb.
///
/// # Errors
/// When the coordinator cannot be asked or says no.
pub async fn run(env: &Env, verb: RolloutVerb) -> Outcome {
    let client = env.client()?;
    match verb {
        RolloutVerb::Plan { release, policy, dry_run } => plan(env, &client, release, &policy, dry_run).await,
        RolloutVerb::Start(doing) | RolloutVerb::Approve(doing) => {
            act(env, &client, Verb::Approve, doing).await
        }
        RolloutVerb::Pause(doing) => act(env, &client, Verb::Pause, doing).await,
        RolloutVerb::Resume(doing) => act(env, &client, Verb::Resume, doing).await,
        RolloutVerb::Promote(doing) => act(env, &client, Verb::Promote, doing).await,
        RolloutVerb::Retry(doing) => act(env, &client, Verb::Retry, doing).await,
        RolloutVerb::Abort(doing) => act(env, &client, Verb::Abort, doing).await,
        RolloutVerb::Rollback(doing) => act(env, &client, Verb::Rollback, doing).await,
        RolloutVerb::Status { id } => {
            let got = get(&client, id).await?;
            match env.format {
                Format::Json => json(&got)?,
                _ => print(&status::screen(&got, client.base(), Paint::detect()))?,
            }
            Ok(Exit::Done)
        }
        RolloutVerb::Why { id } => {
            let got = get(&client, id).await?;
            match env.format {
                Format::Json => json(&serde_json::json!({
                    "control": got.rollout.control, "waiting": got.rollout.waiting, "as_of": got.as_of
                }))?,
                _ => print(&status::why(&got))?,
            }
            Ok(Exit::Done)
        }
        RolloutVerb::Watch { id, timeout } => {
            let got = get(&client, id).await?;
            watch::watch(&client, env.format, &got.rollout.id, timeout).await
        }
        RolloutVerb::List => list(env, &client).await,
        RolloutVerb::History { id, after } => history(env, &client, &id, after).await,
    }
}

/// A rollout by its id, or the newest.
async fn get(client: &Client, id: Option<RolloutId>) -> Outcome<RolloutStatus> {
    let id = match id {
        Some(id) => id,
        None => {
            let list: RolloutList = client.get("/v1/rollouts").await?;
            let newest = list.rollouts.iter().max_by_key(|r| r.created_at).map(|r| r.id.clone());
            newest.ok_or_else(|| Failure::no("there is no rollout").hint("`wemixfleet rollout plan`"))?
        }
    };
    client.get(&format!("/v1/rollouts/{id}")).await
}

async fn plan(
    env: &Env,
    client: &Client,
    release: ReleaseName,
    name_or_file: &str,
    dry_run: bool,
) -> Outcome {
    let (name, text) = policy::load(name_or_file)?;
    let policy_name = PolicyName::new(name.clone())
        .map_err(|e| Failure::usage(format!("the policy's file cannot name it {name:?}")).because(e))?;
    let body = NewRollout { release, policy: text, policy_name, dry_run };
    let drafted: RolloutStatus = client.post("/v1/rollouts", &body).await?;
    let rollout = &drafted.rollout;
    match env.format {
        Format::Json => json(&drafted)?,
        Format::Name => print(&format!("{}\n", rollout.id))?,
        format => {
            let mut text = format!(
                "release {} on {}, policy {}\n",
                rollout.release.name, rollout.network, rollout.policy.name
            );
            text.push_str(&status::preview(&drafted.preview, format == Format::Wide));
            if let Some(quorum) = &drafted.quorum {
                text.push_str(&status::gauge(quorum, Paint::detect()));
            }
            if !dry_run {
                text.push_str(&format!("plan {}\n", rollout.id));
            }
            print(&text)?;
        }
    }
    if drafted.preview.verdict.level == Level::Infeasible {
        return Err(Failure::with(
            Exit::Unsafe,
            "the time left until the activation height is not enough (deadline-infeasible)",
        )
        .hint("ask for a later height, or allow more nodes at once"));
    }
    match dry_run {
        true => say("nothing was kept (--dry-run)"),
        false => say(format!("next: wemixfleet rollout start {}", rollout.id)),
    }
    Ok(Exit::Done)
}

async fn act(env: &Env, client: &Client, verb: Verb, doing: Doing) -> Outcome {
    let body = VerbRequest { verb, why: doing.why, revision: doing.revision };
    let after: serde_json::Value = client.post(&format!("/v1/rollouts/{}/verbs", doing.id), &body).await?;
    if env.format == Format::Json {
        json(&after)?;
    } else {
        say(format!(
            "{}: {} is accepted; `wemixfleet rollout watch {}` follows it",
            doing.id,
            verb.name(),
            doing.id
        ));
    }
    Ok(Exit::Done)
}

async fn list(env: &Env, client: &Client) -> Outcome {
    let list: RolloutList = client.get("/v1/rollouts").await?;
    match env.format {
        Format::Json => json(&list)?,
        Format::Name => print(&list.rollouts.iter().map(|r| format!("{}\n", r.id)).collect::<String>())?,
        _ => {
            let mut table =
                Table::new(&["ID", "RELEASE", "POLICY", "PHASE", "CONTROL", "NODES", "FROM", "CREATED"]);
            for rollout in &list.rollouts {
                let from = match &rollout.origin {
                    Origin::Proposal { plan_id } => {
                        format!("proposal {}", plan_id.to_string().get(..10).unwrap_or_default())
                    }
                    Origin::Operator { name } => name.clone(),
                };
                // The table escapes; a control in words is escaped already and stays the same.
                table.row([
                    rollout.id.to_string(),
                    rollout.release.name.to_string(),
                    rollout.policy.name.to_string(),
                    phase(&rollout.phase),
                    control(&rollout.control),
                    rollout.nodes.len().to_string(),
                    from,
                    utc(rollout.created_at),
                ]);
            }
            print(&table.render(0))?;
        }
    }
    Ok(Exit::Done)
}

async fn history(env: &Env, client: &Client, id: &RolloutId, mut after: u64) -> Outcome {
    loop {
        let list: EventList = client.get(&format!("/v1/rollouts/{id}/events?after={after}")).await?;
        let Some(last) = list.events.last() else { return Ok(Exit::Done) };
        after = last.seq;
        for entry in &list.events {
            if env.format == Format::Json {
                print(&format!("{}\n", serde_json::to_string(entry).unwrap_or_default()))?;
            } else {
                print(&format!("{} {} {}\n", entry.seq, utc(entry.at), told(&entry.event)))?;
            }
        }
    }
}

/// An event in words.
pub fn told(event: &RolloutEvent) -> String {
    let text = match event {
        RolloutEvent::PhaseEntered { phase: Phase::Done(outcome) } => format!("over: {}", word(outcome)),
        RolloutEvent::PhaseEntered { phase } => format!("phase {}", word(phase)),
        RolloutEvent::StageEntered { stage, state } => format!("stage {stage}: {}", word(state)),
        RolloutEvent::NodeEntered { node, state } => format!("{node}: {}", word(state)),
        RolloutEvent::Granted { node, permission, expires_at, slack_after } => {
            let slack = slack_after.map_or(String::new(), |s| format!(", slack {s} after it"));
            format!("{node}: permission {permission} until {}{slack}", utc(*expires_at))
        }
        RolloutEvent::Freed { node, permission } => format!("{node}: permission {permission} is back"),
        RolloutEvent::Held { reason } => format!("HELD, {}: {}", reason.code(), reason.message()),
        RolloutEvent::Verb { verb, by, why } if why.is_empty() => format!("{verb} by {by}"),
        RolloutEvent::Verb { verb, by, why } => format!("{verb} by {by}: {why}"),
        RolloutEvent::Ended { outcome } => format!("ended: {}", word(outcome)),
    };
    escape(&text)
}
