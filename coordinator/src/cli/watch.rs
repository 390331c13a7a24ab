//! `rollout watch`: bars on a terminal, a log of events otherwise; ends with the rollout.
use super::client::Client;
use super::error::{Exit, Failure, Outcome};
use super::escape::{clip, escape};
use super::output::{Format, print, say};
use super::rollout::told;
use super::show::{control, phase, word};
use super::time::utc;
use common::id::RolloutId;
use common::rollout::{NodeState, Outcome as Ended, Phase};
use common::time::Span;
use coordinator::api::body::{EventList, RolloutStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// How long an unreachable coordinator is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Follows a rollout to its end.
///
/// # Errors
/// When the coordinator stays unreachable, says no, or `timeout` is over (exit 124).
pub async fn watch(client: &Client, format: Format, id: &RolloutId, timeout: Option<Span>) -> Outcome {
    let end = timeout.map(|t| Instant::now() + t.to_std());
    let bars = (format != Format::Json && std::io::stderr().is_terminal()).then(Bars::new);
    let (mut after, mut lost) = (0, None::<Instant>);
    let mut waiting = String::new();
    loop {
        match look(client, id, after).await {
            Ok((status, events)) => {
                lost = None;
                for entry in &events.events {
                    after = after.max(entry.seq);
                    if format == Format::Json {
                        print(&format!("{}\n", serde_json::to_string(entry).unwrap_or_default()))?;
                    } else {
                        log(bars.as_ref(), &format!("{} {}", utc(entry.at), told(&entry.event)))?;
                    }
                }
                let reasons: Vec<String> = status.rollout.waiting.iter().map(|r| r.message()).collect();
                let now = reasons.join("; ");
                match &bars {
                    Some(bars) => bars.show(&status),
                    None if now != waiting && !now.is_empty() => say(format!("waits for: {}", escape(&now))),
                    None => {}
                }
                waiting = now;
                // Entries may have come between the two answers; the end is told when none is left.
                if let Phase::Done(outcome) = &status.rollout.phase
                    && events.events.is_empty()
                {
                    if let Some(bars) = bars {
                        bars.all.clear().unwrap_or_default();
                    }
                    return ended(id, outcome, format);
                }
                if !events.events.is_empty() {
                    continue;
                }
            }
            // A coordinator may be restarted while its fleet goes on.
            Err(failure) if failure.exit == Exit::Usage => {
                let since = *lost.get_or_insert_with(|| {
                    say(format!("{failure}\nwaiting for it to come back"));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::with(Exit::TimedOut, format!("{id} did not end in time"))
                .hint(format!("`wemixfleet rollout status {id}` says what it waits for")));
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(client: &Client, id: &RolloutId, after: u64) -> Outcome<(RolloutStatus, EventList)> {
    let status = client.get(&format!("/v1/rollouts/{id}")).await?;
    let events = client.get(&format!("/v1/rollouts/{id}/events?after={after}")).await?;
    Ok((status, events))
}

fn log(bars: Option<&Bars>, line: &str) -> Outcome<()> {
    match bars {
        Some(bars) => bars.all.suspend(|| print(&format!("{line}\n"))),
        None => print(&format!("{line}\n")),
    }
}

fn ended(id: &RolloutId, outcome: &Ended, format: Format) -> Outcome {
    if format == Format::Table || format == Format::Wide {
        say(format!("{id} is over: {}", word(outcome)));
    }
    Ok(exit_of(outcome))
}

/// The exit code tells how it ended.
fn exit_of(outcome: &Ended) -> Exit {
    match outcome {
        Ended::Succeeded => Exit::Done,
        Ended::SucceededWithDeferred(_) => Exit::Partly,
        Ended::Aborted | Ended::RolledBack | Ended::Failed | Ended::Superseded => Exit::No,
    }
}

/// A line for the whole and one for each stage.
struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    stages: std::cell::RefCell<Vec<ProgressBar>>,
    foot: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let line = || {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        };
        let head = all.add(line());
        let foot = all.add(line());
        Self { all, head, stages: std::cell::RefCell::new(Vec::new()), foot }
    }

    fn show(&self, status: &RolloutStatus) {
        let rollout = &status.rollout;
        self.head.set_message(format!(
            "{}  {}, {}",
            rollout.id,
            phase(&rollout.phase),
            control(&rollout.control)
        ));
        let mut stages = self.stages.borrow_mut();
        for (i, (stage, progress)) in rollout.policy.stages.iter().zip(&rollout.stages).enumerate() {
            let nodes: Vec<_> = rollout.nodes.values().filter(|n| n.stage == i).collect();
            let done =
                nodes.iter().filter(|n| matches!(n.state, NodeState::Done | NodeState::RolledBack)).count();
            if stages.len() <= i {
                let bar = self.all.insert_before(&self.foot, ProgressBar::new(nodes.len() as u64));
                if let Ok(style) = ProgressStyle::with_template("  {prefix:16} {bar:30} {pos}/{len} {msg}") {
                    bar.set_style(style);
                }
                bar.set_prefix(stage.name.to_string());
                stages.push(bar);
            }
            stages[i].set_position(done as u64);
            stages[i].set_message(word(&progress.state));
        }
        let quorum = status.quorum.as_ref().map_or(String::new(), |q| {
            format!("quorum {}/{} live, {} needed, slack {}  ", q.live, q.total, q.quorum, q.slack)
        });
        let reasons: Vec<String> = rollout.waiting.iter().map(|r| r.message()).collect();
        self.foot.set_message(quorum + &clip(&reasons.join("; "), 160));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_how_it_ended() {
        assert_eq!(exit_of(&Ended::Succeeded), Exit::Done);
        assert_eq!(exit_of(&Ended::SucceededWithDeferred(1)), Exit::Partly);
        for bad in [Ended::Aborted, Ended::RolledBack, Ended::Failed, Ended::Superseded] {
            assert_eq!(exit_of(&bad), Exit::No);
        }
    }
}
