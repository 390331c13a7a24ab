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
mod tests {
    use super::*;
    use common::chain::{BlockRoots, Hash32};

    const T0: UnixMs = UnixMs(1_800_000_000_000);

    struct Node {
        judge: Judge,
        now: UnixMs,
        process: ProcessState,
        health: NodeHealth,
        sealing: Option<Sealing>,
    }

    impl Node {
        /// A node whose head has just grown.
        fn well() -> Node {
            let settings = HealthSettings {
                every: Span::secs(2),
                head_age: Span::secs(60),
                min_peers: 1,
                min_disk_bytes: 1 << 30,
                rpc_silence: Span::secs(30),
                recover_after: Span::mins(2),
            };
            let health = NodeHealth {
                rpc_up: true,
                peers: Some(3),
                syncing: Some(false),
                disk_free_bytes: Some(1 << 40),
                ..NodeHealth::default()
            };
            let process = ProcessState::Running { pid: 7, since: T0 };
            let mut node = Node { judge: Judge::new(settings), now: T0, process, health, sealing: None };
            node.head(10);
            node.look();
            node.seconds(2, true);
            node
        }

        fn head(&mut self, height: u64) {
            let hash = Hash32([1; 32]);
            let timestamp_s = self.now.0 / 1000;
            self.health.recent =
                vec![BlockRoots { height, hash, state_root: hash, receipts_root: hash, timestamp_s }];
        }

        fn look(&mut self) -> Verdict {
            self.judge.judge(self.now, &self.process, &self.health, self.sealing.as_ref())
        }

        /// Looks every two seconds; `grows` is whether there is a new block each time.
        fn seconds(&mut self, seconds: u64, grows: bool) -> Verdict {
            for _ in 0..seconds / 2 {
                self.now = self.now.plus(Span::secs(2));
                if grows {
                    let height = self.health.head().map_or(0, |h| h.height) + 1;
                    self.head(height);
                }
                self.look();
            }
            self.look()
        }
    }

    fn ok(verdict: &Verdict, name: &str) -> Option<bool> {
        verdict.checks.iter().find(|c| c.name == name).unwrap().ok
    }

    #[test]
    fn a_node_that_works_is_healthy_and_that_is_said_once() {
        let mut node = Node::well();
        let verdict = node.look();
        assert!(verdict.healthy && !verdict.changed, "{verdict:?}");
        assert!(verdict.checks.iter().all(|c| c.ok == Some(true)) && verdict.checks.len() == 7);
        assert!(node.seconds(600, true).healthy);
    }

    #[test]
    fn each_thing_alone_makes_it_unhealthy() {
        let cases: [(&str, fn(&mut Node)); 6] = [
            ("process", |n| n.process = ProcessState::Stopped),
            ("peers", |n| n.health.peers = Some(0)),
            ("syncing", |n| n.health.syncing = Some(true)),
            ("disk", |n| n.health.disk_free_bytes = Some(5)),
            ("head_age", |n| n.health.recent[0].timestamp_s -= 61),
            ("sealing", |n| {
                n.sealing = Some(Sealing { validator: true, window: 32, seen: 0, last_height: Some(4) });
            }),
        ];
        for (name, break_it) in cases {
            let mut node = Node::well();
            break_it(&mut node);
            let verdict = node.look();
            assert_eq!((verdict.healthy, ok(&verdict, name)), (false, Some(false)), "{name}: {verdict:?}");
            assert!(verdict.changed && verdict.why().contains(name), "{}", verdict.why());
            assert!(!node.look().changed, "{name}: it is said once");
        }
    }

    #[test]
    fn a_halted_chain_is_seen_although_it_says_it_is_not_syncing() {
        let mut node = Node::well();
        let verdict = node.seconds(60, false);
        assert!(verdict.healthy, "{verdict:?}");
        let verdict = node.seconds(4, false);
        assert_eq!((ok(&verdict, "head"), ok(&verdict, "syncing")), (Some(false), Some(true)));
        assert!(!verdict.healthy);
        assert!(node.seconds(2, true).healthy);
    }

    #[test]
    fn unknown_is_never_well() {
        let mut node = Node::well();
        (node.health.peers, node.health.syncing, node.health.disk_free_bytes) = (None, None, None);
        node.sealing = Some(Sealing { validator: true, window: 3, seen: 0, last_height: None });
        let verdict = node.look();
        for name in ["peers", "syncing", "disk", "sealing"] {
            assert_eq!(ok(&verdict, name), None, "{name}");
        }
        assert!(verdict.healthy, "what need not be told does not make it ill");
        node.sealing = Some(Sealing { validator: false, window: 32, seen: 0, last_height: None });
        assert!(node.look().checks.iter().all(|c| c.name != "sealing"), "only validators seal");
        node.health = NodeHealth::default();
        let verdict = node.look();
        assert_eq!((ok(&verdict, "rpc"), ok(&verdict, "head"), verdict.healthy), (None, None, false));
    }

    #[test]
    fn silence_is_borne_for_its_time_and_then_cured_once() {
        let mut node = Node::well();
        node.health = NodeHealth::default();
        assert_eq!(ok(&node.seconds(28, false), "rpc"), None);
        assert_eq!(ok(&node.seconds(2, false), "rpc"), Some(false));
        assert!(!node.judge.recover(&node.process, false), "not yet");
        node.seconds(90, false);
        assert!(!node.judge.recover(&node.process, true), "an upgrade is in hand");
        assert!(node.judge.recover(&node.process, false));
        assert!(!node.judge.recover(&node.process, false), "it is asked for once");
        node.seconds(60, false);
        node.process = ProcessState::Running { pid: 8, since: node.now };
        node.seconds(118, false);
        assert!(!node.judge.recover(&node.process, false), "another process has all of its time");
        node.judge.settings.recover_after = Span::ZERO;
        node.seconds(600, false);
        assert!(!node.judge.recover(&node.process, false), "zero is never");
    }

    #[test]
    fn a_clock_that_jumps_makes_nobody_ill() {
        let mut node = Node::well();
        node.health.rpc_up = false;
        node.now = node.now.plus(Span::mins(600));
        assert_eq!(ok(&node.look(), "rpc"), Some(false), "half a minute at most counts");
        assert!(!node.judge.recover(&node.process, false));
        node.health.rpc_up = true;
        node.now = node.now.minus(Span::mins(900));
        let verdict = node.look();
        assert_eq!(ok(&verdict, "head"), Some(true));
        assert_eq!(ok(&verdict, "head_age"), Some(false), "{verdict:?}");
        assert!(verdict.why().contains("clock"), "{}", verdict.why());
    }

    #[test]
    fn a_node_has_its_time_to_come_up() {
        let mut node = Node::well();
        node.judge = Judge::new(node.judge.settings.clone());
        node.health = NodeHealth::default();
        let mut changes = 0;
        let mut at = 0;
        for second in (0..200).step_by(2) {
            node.now = node.now.plus(Span::secs(2));
            if node.look().changed {
                (changes, at) = (changes + 1, second);
            }
        }
        assert_eq!((changes, at), (1, 90));
    }
}
