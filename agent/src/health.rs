//! Whether the node is well: judged from what was seen of it, by the settings, without a look of its own.
//!
//! What is not known is unknown and never counts as well: without process, RPC and a head there is no healthy node.
//! Lengths of time are those between looks, so a clock that jumps, or a host that slept, makes nobody ill.
use crate::config::HealthSettings;
use common::time::{Span, UnixMs};
use common::wire::v1::{NodeHealth, ProcessState};
use serde::{Deserialize, Serialize};

/// Longest time between two looks that counts as time the node was seen in.
const LONGEST_STEP: Span = Span::secs(30);
/// A head this far ahead of the host's clock says that the clock is wrong.
const AHEAD: Span = Span::secs(30);
/// Fewest blocks looked at for a word on sealing.
const SEALING_WINDOW: u32 = 8;

/// What the consensus shows of this node (WBFT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// Whether it may seal.
    pub validator: bool,
    /// Blocks looked at, the newest.
    pub window: u32,
    /// How many of them carry its seal.
    pub seen: u32,
    /// Height of the newest block with its seal since the process was started.
    pub last_height: Option<u64>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which: `process`, `rpc`, `head`, `head_age`, `peers`, `syncing`, `disk`, `sealing`.
    pub name: String,
    /// Whether it is well; `None` is unknown.
    pub ok: Option<bool>,
    /// For people.
    pub detail: String,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether process, RPC, head and its age are well, and nothing else is known to be unwell.
    pub healthy: bool,
    /// Whether this is another verdict than the one before: an event. A node is given its time to come up before
    /// the first verdict against it counts as one.
    pub changed: bool,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// What is unwell or, of what must be well, unknown; one sentence.
    pub fn why(&self) -> String {
        let unwell =
            self.checks.iter().filter(|c| c.ok == Some(false) || c.ok.is_none() && is_vital(&c.name));
        let told: Vec<_> = unwell.map(|c| format!("{}: {}", c.name, c.detail)).collect();
        if told.is_empty() { "everything is well".to_owned() } else { told.join("; ") }
    }
}

/// Judges one node, look after look.
#[derive(Debug, Clone)]
pub struct Judge {
    settings: HealthSettings,
    looked: Option<UnixMs>,
    /// How long this judge has been looking.
    watched: Span,
    pid: Option<u32>,
    head: Option<(u64, Option<UnixMs>)>,
    /// How long the head has stood while RPC answered.
    stood: Span,
    advanced: bool,
    /// How long RPC has been silent while the process ran.
    silent: Span,
    last: Option<bool>,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(settings: HealthSettings) -> Judge {
        Judge {
            settings,
            looked: None,
            watched: Span::ZERO,
            pid: None,
            head: None,
            stood: Span::ZERO,
            advanced: false,
            silent: Span::ZERO,
            last: None,
        }
    }

    /// Goes on with other settings (hot reload).
    pub fn set(&mut self, settings: HealthSettings) {
        self.settings = settings;
    }

    /// Judges what was seen. To be called at every look, at least every 30 seconds for the times to be right.
    pub fn judge(
        &mut self,
        now: UnixMs,
        process: &ProcessState,
        health: &NodeHealth,
        validator: Option<&Sealing>,
    ) -> Verdict {
        self.note(now, process, health);
        let mut checks = vec![check("process", process_of(process)), check("rpc", self.rpc(process, health))];
        checks.push(check("head", self.advancing(health)));
        checks.push(check("head_age", self.head_age(now, health)));
        checks.push(check("peers", self.peers(health)));
        checks.push(check("syncing", syncing(health)));
        checks.push(check("disk", self.disk(health)));
        checks.extend(validator.filter(|s| s.validator).map(|s| check("sealing", sealing(s))));
        let healthy = checks.iter().all(|c| c.ok == Some(true) || c.ok.is_none() && !is_vital(&c.name));
        let patience = Span(self.settings.rpc_silence.0.saturating_add(self.settings.head_age.0));
        let changed = match self.last {
            Some(last) => last != healthy,
            None => healthy || self.watched >= patience,
        };
        if changed {
            self.last = Some(healthy);
        }
        Verdict { healthy, changed, checks }
    }

    /// Whether the node is to be restarted because its RPC stays silent although its process runs. Says so once, and
    /// again only after as much silence more. Never while an upgrade is in hand.
    pub fn recover(&mut self, process: &ProcessState, upgrading: bool) -> bool {
        let after = self.settings.recover_after;
        let running = matches!(process, ProcessState::Running { .. });
        if after == Span::ZERO || !running || upgrading || self.silent < after {
            return false;
        }
        self.silent = Span::ZERO;
        true
    }

    fn note(&mut self, now: UnixMs, process: &ProcessState, health: &NodeHealth) {
        let mut step = now.since(self.looked.unwrap_or(now)).min(LONGEST_STEP);
        self.looked = Some(now);
        self.watched = plus(self.watched, step);
        let pid = if let ProcessState::Running { pid, .. } = process { Some(*pid) } else { None };
        if pid != self.pid {
            (self.pid, self.head, self.advanced) = (pid, None, false);
            (self.silent, self.stood) = (Span::ZERO, Span::ZERO);
            step = Span::ZERO;
        }
        self.silent = match (pid, health.rpc_up) {
            (Some(_), false) => plus(self.silent, step),
            _ => Span::ZERO,
        };
        let Some(head) = health.head() else { return };
        let seen = (head.height, health.head_advanced_at);
        let grown = self.head.is_some_and(|before| head.height > before.0 || seen.1 > before.1);
        self.advanced |= grown || health.head_advanced_at.is_some();
        self.stood = if grown { Span::ZERO } else { plus(self.stood, step) };
        self.head = Some(seen);
    }

    fn rpc(&self, process: &ProcessState, health: &NodeHealth) -> Said {
        if health.rpc_up {
            return (Some(true), "answers".to_owned());
        }
        if !matches!(process, ProcessState::Running { .. }) {
            return (None, "there is no process to answer".to_owned());
        }
        let long = self.silent >= self.settings.rpc_silence;
        (long.then_some(false), format!("silent for {}", whole(self.silent)))
    }

    fn advancing(&self, health: &NodeHealth) -> Said {
        let Some(head) = health.head().filter(|_| health.rpc_up) else { return unknown() };
        let detail = format!("{} for {}", head.height, whole(self.stood));
        if self.stood > self.settings.head_age {
            return (Some(false), format!("stands at {detail}"));
        }
        (self.advanced.then_some(true), format!("at {detail}"))
    }

    fn head_age(&self, now: UnixMs, health: &NodeHealth) -> Said {
        let Some(head) = health.head().filter(|_| health.rpc_up) else { return unknown() };
        let made = UnixMs(head.timestamp_s.saturating_mul(1000));
        let ahead = made.since(now);
        if ahead > AHEAD {
            let ahead = whole(ahead);
            return (Some(false), format!("{ahead} ahead of this host's clock: is the clock right?"));
        }
        let age = now.since(made);
        (Some(age <= self.settings.head_age), format!("{}, at most {}", whole(age), self.settings.head_age))
    }

    fn peers(&self, health: &NodeHealth) -> Said {
        let least = self.settings.min_peers;
        let Some(peers) = health.peers.filter(|_| health.rpc_up) else { return unknown() };
        (Some(peers >= least), format!("{peers}, at least {least}"))
    }

    fn disk(&self, health: &NodeHealth) -> Said {
        let Some(free) = health.disk_free_bytes else { return unknown() };
        let least = self.settings.min_disk_bytes;
        (Some(free >= least), format!("{} MiB free, at least {}", free >> 20, least >> 20))
    }
}

type Said = (Option<bool>, String);

fn is_vital(name: &str) -> bool {
    matches!(name, "process" | "rpc" | "head" | "head_age")
}

fn check(name: &str, (ok, detail): Said) -> Check {
    Check { name: name.to_owned(), ok, detail }
}

fn unknown() -> Said {
    (None, "unknown".to_owned())
}

fn process_of(process: &ProcessState) -> Said {
    match process {
        ProcessState::Running { pid, .. } => (Some(true), format!("runs as {pid}")),
        ProcessState::Stopped => (Some(false), "stopped".to_owned()),
        ProcessState::BackingOff { restarts, exit, .. } => {
            (Some(false), format!("{exit}; ended {restarts} time(s), will be started again"))
        }
    }
}

fn syncing(health: &NodeHealth) -> Said {
    match health.syncing.filter(|_| health.rpc_up) {
        Some(true) => (Some(false), "catching up".to_owned()),
        Some(false) => (Some(true), "not catching up".to_owned()),
        None => unknown(),
    }
}

fn sealing(sealing: &Sealing) -> Said {
    let last = sealing.last_height.map_or(String::new(), |h| format!(", last {h}"));
    let detail = format!("its seal is in {} of {} blocks{last}", sealing.seen, sealing.window);
    match (sealing.window >= SEALING_WINDOW, sealing.seen) {
        (true, 0) => (Some(false), detail),
        (_, 0) => (None, detail),
        _ => (Some(true), detail),
    }
}

fn plus(a: Span, b: Span) -> Span {
    Span(a.0.saturating_add(b.0))
}

fn whole(span: Span) -> Span {
    Span::secs(span.as_ms() / 1000)
}

#[cfg(test)]
mod tests;
