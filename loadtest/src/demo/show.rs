//! What a person sees: bars on a terminal, one line per change elsewhere.
use common::rollout::{NodeState, Phase};
use coordinator::api::body::{ProposalStatus, RolloutStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::Instant;

pub(super) struct Show {
    began: Instant,
    bars: Option<Bars>,
    last: RefCell<String>,
}

struct Bars {
    all: MultiProgress,
    nodes: ProgressBar,
    height: ProgressBar,
    wait: ProgressBar,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The serde name of a unit variant.
fn name<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(s)) => s,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

impl Show {
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let nodes = all.add(ProgressBar::new(0));
            nodes.set_style(style("nodes  [{bar:40}] {pos}/{len} proved   {msg}"));
            let height = all.add(ProgressBar::new(0));
            height.set_style(style("height [{bar:40}] {pos}/{len} fork"));
            let wait = all.add(ProgressBar::new_spinner());
            wait.set_style(style("{spinner} {wide_msg}"));
            wait.enable_steady_tick(std::time::Duration::from_millis(120));
            Bars { all, nodes, height, wait }
        });
        Show { began: Instant::now(), bars, last: RefCell::default() }
    }

    pub fn step(&self, text: &str) {
        let line = format!("[{:6.1}s] {text}", self.began.elapsed().as_secs_f64());
        match &self.bars {
            Some(bars) => _ = bars.all.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Tells a text when it differs from the last one.
    fn change(&self, text: String) {
        if *self.last.borrow() != text {
            self.step(&text);
            *self.last.borrow_mut() = text;
        }
    }

    pub fn proposal(&self, proposal: Option<&ProposalStatus>, head: u64) {
        let text = match proposal {
            None => "governance: no proposal indexed yet".into(),
            Some(p) => {
                let check =
                    p.check.as_ref().map_or("checks run".into(), |c| format!("{}: {}", c.code, c.detail));
                format!(
                    "governance: {} {}/{} votes, {check}",
                    name(&p.proposal.state),
                    p.proposal.votes,
                    p.proposal.required
                )
            }
        };
        if let Some(bars) = &self.bars {
            bars.wait.set_message(format!("head {head}"));
        }
        self.change(text);
    }

    pub fn rollout(&self, status: &RolloutStatus, head: u64, fork: u64) {
        let rollout = &status.rollout;
        let done = rollout.nodes.values().filter(|n| n.state == NodeState::Done).count();
        let reasons: Vec<String> = rollout.waiting.iter().map(common::rollout::Reason::message).collect();
        let wave: Vec<String> = rollout
            .nodes
            .iter()
            .filter(|(_, n)| n.permission.is_some())
            .map(|(node, n)| format!("{node} {}", name(&n.state)))
            .collect();
        let quorum = status.quorum.as_ref().map_or(String::new(), |q| {
            format!(
                "live {} of {}, quorum {}, reserve {}, slack {}",
                q.live, q.total, q.quorum, q.reserve, q.slack
            )
        });
        if let Some(bars) = &self.bars {
            bars.nodes.set_length(rollout.nodes.len() as u64);
            bars.nodes.set_position(done as u64);
            bars.nodes.set_message(quorum.clone());
            bars.height.set_length(fork);
            bars.height.set_position(head.min(fork));
            bars.wait.set_message(reasons.join("; "));
        }
        let phase = match &rollout.phase {
            Phase::Done(outcome) => format!("done: {}", name(outcome)),
            phase => name(phase),
        };
        let wave = if wave.is_empty() { String::new() } else { format!(" | wave: {}", wave.join(", ")) };
        let why = rollout.waiting.first().map_or(String::new(), |r| format!(" | {}", r.code()));
        self.change(format!(
            "{} {phase} | {done}/{} proved{wave}{why} | {quorum}",
            rollout.id,
            rollout.nodes.len()
        ));
    }

    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            for bar in [&bars.nodes, &bars.height, &bars.wait] {
                bar.finish_and_clear();
            }
        }
    }
}
