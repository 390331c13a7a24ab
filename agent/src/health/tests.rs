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
    type Break = fn(&mut Node);
    let cases: [(&str, Break); 6] = [
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
