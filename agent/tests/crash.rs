//! SIGKILL of the agent in every phase of an upgrade: one good node, stopped at most once.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use common::wire::v1::{AgentPhase, Goal};
use serde_json::json;
use std::time::Duration;
use support::coordinator::{Fleet, Serve};
use support::release::Release;
use support::{Host, alive, send, wait};

/// Steps that take their time, so that each can be hit.
fn release() -> Release {
    Release::new("v2", 2, &json!({"version": "2.0.0", "rpc_after_ms": 700, "version_ms": 400}))
}

fn killed_in(phase: AgentPhase) {
    let fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 500}));
    host.settings(Some(&fleet), "leave", "20s");
    if phase == AgentPhase::Preparing {
        // Long enough to be hit.
        host.settings_and(Some(&fleet), "leave", "20s", "[hooks]\npre_upgrade = \"pre.sh\"\n");
        std::fs::write(host.root().join("pre.sh"), "#!/bin/sh\nsleep 0.5\n").unwrap();
    }
    host.start();
    host.healthy();
    let release = release();
    let v2 = fleet.publish(&release, &[0, 1]);
    let artifact = release.manifest.artifacts[0].sha256;
    fleet.serve(&artifact.to_string(), Serve::Slow(release.bytes.clone(), Duration::from_millis(400)));
    if phase == AgentPhase::Ready {
        fleet.order(&v2, Goal::Stage);
    } else {
        fleet.order(&v2, fleet.switch());
    }
    // The ledger is what survives; the agent dies as soon as it says so, or just after.
    let hit = wait("the phase", || {
        let now = host.ledger().phase;
        (now >= phase && now != AgentPhase::Failed).then_some(now)
    });
    host.kill_agent();
    let before = host.nodes();
    assert!(before.len() <= 1, "{before:?}");
    if phase == AgentPhase::Ready {
        fleet.order(&v2, fleet.switch());
    }
    host.start();
    wait("the new release", || {
        let status = host.status()?;
        (status.report.phase == AgentPhase::Done).then_some(())
    });
    assert_eq!(host.count("term"), 1, "killed in {hit:?}: {:?}", host.events());
    assert_eq!(host.count("double"), 0, "killed in {hit:?}");
    assert_eq!(host.count("started 2.0.0"), 1, "killed in {hit:?}: {:?}", host.events());
    assert_eq!((host.current().as_str(), host.nodes().len()), ("v2", 1));
    let ledger = host.ledger();
    assert_eq!((ledger.current.digest, ledger.previous.unwrap().name.as_str()), (artifact, "genesis"));
    let staging = host.root().join("store/staging");
    assert!(std::fs::read_dir(staging).map_or(0, Iterator::count) == 0, "a partial file is left");
}

#[test]
fn downloading() {
    killed_in(AgentPhase::Downloading);
}

#[test]
fn preflighting() {
    killed_in(AgentPhase::Preflighting);
}

#[test]
fn ready() {
    killed_in(AgentPhase::Ready);
}

#[test]
fn stopping() {
    killed_in(AgentPhase::Stopping);
}

#[test]
fn preparing() {
    killed_in(AgentPhase::Preparing);
}

#[test]
fn switching() {
    killed_in(AgentPhase::Switching);
}

#[test]
fn starting() {
    killed_in(AgentPhase::Starting);
}

#[test]
fn probing() {
    killed_in(AgentPhase::Probing);
}

#[test]
fn done() {
    killed_in(AgentPhase::Done);
}

#[test]
fn at_many_moments_of_one_upgrade() {
    let fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 300}));
    host.settings(Some(&fleet), "leave", "20s");
    host.start();
    host.healthy();
    let v2 = fleet.publish(&release(), &[0, 1]);
    fleet.order(&v2, fleet.switch());
    let mut random = 0x9e37_79b9_u64;
    for _ in 0..8 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Not a wait for something to settle: the moment is the input of this test.
        std::thread::sleep(Duration::from_millis(150 + random % 450));
        host.kill_agent();
        assert!(host.nodes().len() <= 1, "{:?}", host.nodes());
        host.start();
    }
    wait("the new release", || (host.status()?.report.phase == AgentPhase::Done).then_some(()));
    assert_eq!(
        (host.count("term"), host.count("double"), host.nodes().len()),
        (1, 0, 1),
        "{:?}",
        host.events()
    );
    assert_eq!((host.current().as_str(), host.count("started 2.0.0")), ("v2", 1));
}

#[test]
fn a_running_node_is_adopted_with_and_without_its_record() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    for lost in [false, true] {
        host.kill_agent();
        assert!(alive(pid), "the node died with its agent");
        if lost {
            std::fs::remove_file(host.root().join("process.json")).unwrap();
        }
        host.start();
        assert_eq!(host.healthy(), pid);
    }
    assert_eq!((host.count("started"), host.count("term")), (1, 0));
    // The end of an adopted node is seen, and it is started again.
    send("KILL", pid);
    let next = wait("the restart", || host.nodes().first().copied().filter(|p| *p != pid));
    assert_eq!(host.healthy(), next);
}
