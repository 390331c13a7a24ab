//! Death of the agent after and before each of its steps, on the way there and on the way back, and at random moments.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use common::release::Digest;
use common::wire::v1::AgentPhase;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::life::Random;
use support::release::release_bytes;
use support::{Host, wait};

/// Everything of an upgrade that others can see, in its order.
const STEPS: [&str; 15] = [
    "Persist(Downloading)",
    "Stage",
    "Persist(Preflighting)",
    "Preflight",
    "Persist(Ready)",
    "Persist(Stopping)",
    "Stop",
    "Persist(Preparing)",
    "Prepare",
    "Persist(Switching)",
    "Switch",
    "Persist(Starting)",
    "Start",
    "Persist(Probing)",
    "Persist(Done)",
];

/// The steps back from a release that does not come up.
const STEPS_BACK: [&str; 8] = [
    "Persist(Stopping)",
    "Stop",
    "Persist(Switching)",
    "Switch",
    "Persist(Starting)",
    "Start",
    "Persist(Probing)",
    "Persist(Failed)",
];

/// Where an agent died: its own words.
type Point = String;

/// A home that goes from release to release, with agents that die on the way.
struct Journey {
    host: Host,
    /// Upgrades begun.
    number: usize,
    /// Release that runs, and its executable.
    name: String,
    digest: Digest,
    /// Height of the last plan.
    height: u64,
    /// Upgrades are wanted at once, not at a height: how many steps it takes then depends on no time.
    at_once: bool,
    points: Vec<Point>,
}

impl Journey {
    fn new(settings: &str) -> Journey {
        let behaviour = json!({"version": "1.0.0", "block_ms": 20, "flush_ms": 20});
        let mut host = Host::new(&behaviour);
        let backups = host.folder.path().join("backups");
        std::fs::create_dir(&backups).unwrap();
        host.plan_settings(&format!(
            "{settings}[hooks]\npre_upgrade = \"pre.sh\"\n[backup]\nbefore_upgrade = \"always\"\nkeep = 2\ndir = {backups:?}\n"
        ));
        let script = "#!/bin/sh\necho \"$1 $(readlink \"$DAEMON_HOME/wemixvisor/current\")\" >> \"$DAEMON_HOME/hooks\"\ncase $1 in no*) exit 30 ;; esac\n";
        std::fs::write(host.root().join("pre.sh"), script).unwrap();
        host.start();
        wait("the first node", || host.has_come("genesis"));
        host.kill_agent();
        let digest = Digest::of(&release_bytes(&behaviour));
        Journey {
            host,
            number: 0,
            name: "genesis".into(),
            digest,
            height: 0,
            at_once: false,
            points: Vec::new(),
        }
    }

    /// A new release, in its place.
    fn add(&mut self, prefix: &str, more: &Value) -> (String, String, Digest) {
        self.number += 1;
        let (name, version) = (format!("{prefix}{}", self.number), format!("2.0.{}", self.number));
        let mut behaviour = json!({"version": version, "block_ms": 20, "flush_ms": 20});
        behaviour.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bytes = self.host.add(&name, &behaviour);
        (name, version, Digest::of(&bytes))
    }

    /// An agent that dies at `fuse`, until it is dead or `over`. Where it died.
    fn live(&mut self, fuse: &str, over: impl Fn(&Host) -> Option<()>) -> Option<Point> {
        let host = &mut self.host;
        let before = host.said().len();
        host.extra.push(("WEMIXVISOR_TEST_DIE".into(), fuse.to_owned()));
        host.start();
        host.extra.pop();
        let died = wait(&format!("the end of {fuse}"), || match host.agent_signal() {
            Some(signal) => Some(Some(signal)),
            None => over(host).map(|()| None),
        });
        let Some(signal) = died else {
            host.kill_agent();
            return None;
        };
        let said = host.said().split_off(before);
        assert_eq!(signal, Some(9), "{fuse}: {said}");
        let point = said.lines().find_map(|l| l.split_once("a test ends this agent ")).unwrap().1.to_owned();
        Some(point)
    }

    /// What holds at every moment: at most one node, of one of two releases, and a link that leads somewhere.
    fn check_between(&self, allowed: [&str; 2], at: &str) {
        let (nodes, current) = (self.host.nodes(), self.host.current());
        assert!(nodes.len() <= 1, "{at}: {nodes:?} run");
        assert!(allowed.contains(&current.as_str()), "{at}: {current} where {allowed:?} are allowed");
        assert!(self.host.root().join("current/bin/geth").is_file(), "{at}: current leads nowhere");
    }

    /// One upgrade by the plan file at a height, with an agent that dies at `fuse` and one that does not.
    fn go(&mut self, fuse: &str) -> Option<Point> {
        let (name, version, digest) = self.add("u", &json!({}));
        let terms = self.host.count("term");
        self.height = (self.height + 1).max(self.host.ledger().head.unwrap() + 10);
        let height = self.height;
        if self.at_once {
            let said = self.host.command(&["upgrade", "schedule", &name, "now"]);
            assert!(said.status.success(), "{said:?}");
        } else {
            self.host.plan(&format!("{{\"name\":\"{name}\",\"height\":{height}}}"));
        }
        let applied = self.host.root().join(format!("upgrades/{name}/upgrade-info.json"));
        let come = |host: &Host| host.has_come(&name).filter(|()| applied.is_file());
        let point = self.live(fuse, come);
        let at = point.clone().unwrap_or_default();
        self.check_between([&self.name, &name], &at);
        if point.is_some() {
            self.host.start();
            wait(&format!("{name} after a death {at}"), || come(&self.host));
            self.host.kill_agent();
        }
        assert_eq!(self.host.running_digest(), digest, "{at}");
        let host = &self.host;
        let seen =
            (host.count("term") - terms, host.count(&format!("started {version} ")), host.count("double"));
        assert_eq!(seen, (1, 1, 0), "{at}: {:?}", host.events());
        let ledger = host.ledger();
        assert_eq!((ledger.current.digest, ledger.previous.unwrap().digest), (digest, self.digest), "{at}");
        let written: Value = serde_json::from_slice(&std::fs::read(applied).unwrap()).unwrap();
        let at_height =
            if self.at_once { written["height"].as_u64() >= Some(100) } else { written["height"] == height };
        assert!(written["name"] == name.as_str() && at_height, "{at}: {written}");
        let hooks = self.hooks(&name);
        assert!((1..=2).contains(&hooks.len()), "{at}: {hooks:?}");
        let old = format!("{name} {}", self.link());
        assert!(hooks.iter().all(|line| *line == old), "{at}: a hook ran after the switch: {hooks:?}");
        (self.name, self.digest) = (name, digest);
        self.points.extend(point.clone());
        point
    }

    /// One upgrade at once that fails, and the way back from it.
    fn go_back(&mut self, prefix: &str, more: &Value, fuse: &str) -> Option<Point> {
        let (name, version, _) = self.add(prefix, more);
        let terms = self.host.count("term");
        let said = self.host.command(&["upgrade", "schedule", &name, "now"]);
        assert!(said.status.success(), "{said:?}");
        let old = self.name.clone();
        let back = |host: &Host| {
            let report = host.told()?.report;
            let failed = report.phase == AgentPhase::Failed && report.target?.name.as_str() == name;
            (failed && report.health.rpc_up && report.running?.name.as_str() == old).then_some(())
        };
        let point = self.live(fuse, back);
        let at = point.clone().unwrap_or_default();
        self.check_between([&old, &name], &at);
        if point.is_some() {
            self.host.start();
            wait(&format!("the way back from {name} after a death {at}"), || back(&self.host));
            self.host.kill_agent();
        }
        assert_eq!((self.host.running_digest(), self.host.current()), (self.digest, old), "{at}");
        let host = &self.host;
        let tried = host.count(&format!("started {version} "));
        let seen = (host.count("term") - terms, tried, host.count("double"));
        let stops = if prefix == "no" { (1, 0, 0) } else { (2, 1, 0) };
        assert_eq!(seen, stops, "{at}: {:?}", host.events());
        assert!(
            !host.root().join(format!("upgrades/{name}/upgrade-info.json")).exists(),
            "{at}: noted as applied"
        );
        let said = host.command(&["upgrade", "cancel", &name, "--force"]);
        assert!(said.status.success(), "{said:?}");
        self.points.extend(point.clone());
        point
    }

    fn link(&self) -> String {
        if self.name == "genesis" { "genesis".into() } else { format!("upgrades/{}", self.name) }
    }

    fn hooks(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.host.folder.path().join("hooks")).unwrap_or_default();
        text.lines().filter(|l| l.split(' ').next() == Some(name)).map(str::to_owned).collect()
    }

    /// Every point was hit, and nothing half-written is left of any of them.
    fn end(self, form: &str, steps: &[&str]) {
        let hit: BTreeSet<&str> = self.points.iter().filter_map(|p| p.strip_prefix(form)).collect();
        let missed: Vec<_> = steps.iter().filter(|step| !hit.contains(**step)).collect();
        assert!(missed.is_empty(), "no agent died {form}{missed:?}, only at {:?}", self.points);
        // The last agent may have been killed while it removed an old backup; whoever is next there clears that.
        let said = self.host.command(&["backup", "prune"]);
        assert!(said.status.success(), "{said:?}");
        assert_eq!(self.host.unfinished(), Vec::<std::path::PathBuf>::new());
    }
}

fn armed() -> bool {
    if cfg!(debug_assertions) {
        return true;
    }
    eprintln!("skipped: agents built for release cannot be told to die");
    false
}

#[test]
fn after_each_effect_of_an_upgrade_by_a_plan() {
    if !armed() {
        return;
    }
    let mut journey = Journey::new("");
    let deaths = (1..60).take_while(|n| journey.go(&format!("after:{n}")).is_some()).count();
    assert!(deaths >= STEPS.len(), "{deaths}: {:?}", journey.points);
    journey.end("after ", &STEPS);
}

#[test]
fn before_each_step_of_an_upgrade_by_a_plan() {
    if !armed() {
        return;
    }
    let mut journey = Journey::new("");
    journey.at_once = true;
    let deaths = (1..60).take_while(|n| journey.go(&format!("before:{n}")).is_some()).count();
    let phases = ["Downloading", "Preflighting", "Ready", "Preparing", "Switching", "Starting", "Probing"];
    // And the one that ends it, which may begin with a head to be written down.
    assert!(deaths > phases.len(), "{deaths}: {:?}", journey.points);
    let firsts = phases.map(|phase| format!("Persist({phase})"));
    journey.end("before ", &firsts.each_ref().map(String::as_str));
}

/// The first effects are those of every upgrade; a death after each of them is proved above.
fn first_after(journey: &mut Journey, prefix: &str, more: &Value, step: &str) -> u32 {
    let at = STEPS.iter().position(|s| *s == step).unwrap();
    let guess = u32::try_from(at).unwrap() + 1;
    let hit = journey.go_back(prefix, more, &format!("after:{guess}"));
    assert_eq!(hit.as_deref(), Some(format!("after {step}").as_str()), "the steps are others");
    guess + 1
}

#[test]
fn after_each_effect_of_the_way_back_from_a_hook_that_refuses() {
    if !armed() {
        return;
    }
    let mut journey = Journey::new("");
    let more = json!({});
    let first = first_after(&mut journey, "no", &more, "Prepare");
    let deaths = (first..60).take_while(|n| journey.go_back("no", &more, &format!("after:{n}")).is_some());
    assert!(deaths.count() >= 6, "{:?}", journey.points);
    journey.end("after ", &STEPS_BACK[2..]);
}

#[test]
fn after_each_effect_of_the_way_back_from_a_release_that_is_not_healthy() {
    if !armed() {
        return;
    }
    let limits = "[upgrade]\npoll = \"50ms\"\nstart_within = \"20s\"\nrpc_within = \"1s\"\n";
    let mut journey = Journey::new(limits);
    let more = json!({"mute": true});
    let first = first_after(&mut journey, "bad", &more, "Persist(Probing)");
    let deaths = (first..60).take_while(|n| journey.go_back("bad", &more, &format!("after:{n}")).is_some());
    assert!(deaths.count() >= STEPS_BACK.len(), "{:?}", journey.points);
    journey.end("after ", &STEPS_BACK);
}

#[test]
fn at_two_hundred_random_moments() {
    let mut journey = Journey::new("");
    let mut random = Random(0x9e37_79b9);
    let (mut come, mut next) = (0, None);
    for kill in 1..=200 {
        let (name, version, digest) = next.take().unwrap_or_else(|| {
            let added = journey.add("r", &json!({}));
            let said = journey.host.command(&["upgrade", "schedule", &added.0, "now"]);
            assert!(said.status.success(), "{said:?}");
            added
        });
        journey.host.start();
        // Not a wait for something to settle: the moment is the input of this test.
        let bound = if random.below(5) == 0 { 1000 } else { 250 };
        std::thread::sleep(Duration::from_millis(random.below(bound)));
        journey.host.kill_agent();
        let at = format!("kill {kill}, towards {name}");
        journey.check_between([&journey.name, &name], &at);
        let ledger = journey.host.ledger();
        assert!([journey.digest, digest].contains(&ledger.current.digest), "{at}: {:?}", ledger.current);
        let written = journey.host.root().join(format!("upgrades/{name}/upgrade-info.json")).is_file();
        let over = matches!(ledger.phase, AgentPhase::Done | AgentPhase::Idle);
        if over && written && ledger.current.digest == digest {
            come += 1;
            assert_eq!(journey.host.running_digest(), digest, "{at}");
            (journey.name, journey.digest) = (name, digest);
        } else {
            next = Some((name, version, digest));
        }
    }
    if let Some((name, _, digest)) = next {
        journey.host.start();
        wait(&format!("{name} at last"), || journey.host.has_come(&name));
        come += 1;
        assert_eq!(journey.host.running_digest(), digest);
        journey.host.kill_agent();
    }
    let host = &journey.host;
    assert!(come >= 5, "only {come} upgrades in 200 lives");
    assert_eq!(
        (host.count("term"), host.count("double"), host.nodes().len()),
        (come, 0, 1),
        "{:?}",
        host.events()
    );
    for number in 1..=journey.number {
        let version = format!("started 2.0.{number} ");
        assert_eq!(host.count(&version), 1, "{version}: {:?}", host.events());
    }
}
