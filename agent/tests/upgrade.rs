//! Upgrades by instruction, to their end and back.
mod support;

use common::time::Span;
use common::wire::v1::{AgentPhase, Direction, FaultCode, Goal, Limits};
use serde_json::json;
use support::coordinator::{Fleet, limits};
use support::release::Release;
use support::{Host, alive};

fn host(fleet: &Fleet) -> (Host, u32) {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(Some(fleet), "leave", "20s");
    host.start();
    let pid = host.healthy();
    (host, pid)
}

#[test]
fn staged_switched_probed_and_rolled_back_by_order() {
    let fleet = Fleet::start();
    let (host, old) = host(&fleet);
    let release = Release::new("v2", 2, &json!({"version": "2.0.0"}));
    let v2 = fleet.publish(&release, &[0, 2]);

    let generation = fleet.order(&v2, Goal::Stage);
    let report = fleet.reported("ready", generation, |r| r.phase == AgentPhase::Ready);
    assert_eq!(report.target.as_ref(), Some(&v2));
    assert_eq!((host.nodes(), host.count("term")), (vec![old], 0), "the node was touched while staging");

    let generation = fleet.order(&v2, fleet.switch());
    let report = fleet.reported("done", generation, |r| r.phase == AgentPhase::Done);
    let running = report.running.unwrap();
    assert_eq!((running.digest, running.sequence), (release.manifest.artifacts[0].sha256, 2));
    assert!(report.last_stop.is_some() && report.last_start.is_some() && report.fault.is_none());
    assert_eq!(host.current(), "v2");
    assert_eq!((host.count("started"), host.count("term"), host.count("flushed")), (2, 1, 1));
    assert!(!alive(old));
    let report = fleet.reported("health", generation, |r| r.health.recent.len() == 8);
    assert_eq!(report.health.client_version.as_deref(), Some("Scripted/2.0.0"));
    assert_eq!(report.health.forks.first().map(|f| f.height), Some(40));
    assert_eq!(report.health.peers, Some(3));

    let generation = fleet.order(&v2, Goal::Rollback { permission: fleet.permission() });
    let back =
        |r: &common::wire::v1::NodeReport| r.phase == AgentPhase::Done && r.direction == Direction::Back;
    let report = fleet.reported("rolled back", generation, back);
    assert_eq!(report.running.unwrap().name.as_str(), "genesis");
    assert_eq!((host.current().as_str(), host.count("term"), host.nodes().len()), ("genesis", 2, 1));
}

#[test]
fn a_release_that_crashes_ends_on_the_old_one() {
    let fleet = Fleet::start();
    let (host, _) = host(&fleet);
    let v2 = fleet.publish(&Release::new("v2", 2, &json!({"version": "2.0.0", "crash": 7})), &[0, 1]);
    let generation = fleet.order(&v2, fleet.switch());
    let report = fleet.reported("failed", generation, |r| r.phase == AgentPhase::Failed);
    assert_eq!(report.direction, Direction::Back);
    assert_eq!(report.fault.unwrap().code, FaultCode::CrashLoop);
    assert_eq!(report.running.unwrap().name.as_str(), "genesis");
    assert_eq!((host.count("started 2.0.0"), host.count("started 1.0.0"), host.count("term")), (3, 2, 1));
    assert_eq!((host.current().as_str(), host.nodes().len()), ("genesis", 1));
    assert!(report.health.rpc_up, "it ended without having seen the old release healthy");
    // The same attempt does not touch the node again.
    let generation = fleet.order(&v2, fleet.switch());
    fleet.reported("still failed", generation, |r| r.phase == AgentPhase::Failed);
    assert_eq!(host.count("term"), 1);
}

#[test]
fn a_release_whose_head_stands_still_ends_on_the_old_one() {
    let fleet = Fleet::start();
    let (host, _) = host(&fleet);
    let v2 = fleet.publish(&Release::new("v2", 2, &json!({"version": "2.0.0", "stuck": true})), &[0, 1]);
    let short = Limits { rpc: Span::secs(2), ..limits() };
    let generation = fleet.order_within(&v2, fleet.switch(), short);
    let report = fleet.reported("failed", generation, |r| r.phase == AgentPhase::Failed);
    assert_eq!(report.fault.unwrap().code, FaultCode::NotHealthy);
    assert_eq!(report.running.unwrap().name.as_str(), "genesis");
    assert_eq!((host.count("term"), host.nodes().len(), host.count("double")), (2, 1, 0));
}

#[test]
fn an_expired_permission_leaves_the_node_alone() {
    let fleet = Fleet::start();
    let (host, old) = host(&fleet);
    let v2 = fleet.publish(&Release::new("v2", 2, &json!({"version": "2.0.0"})), &[0, 1]);
    let mut permission = fleet.permission();
    permission.expires_at = agent::clock::now();
    let generation = fleet.order(&v2, Goal::Switch { permission });
    let expired = |r: &common::wire::v1::NodeReport| {
        r.fault.as_ref().is_some_and(|f| f.code == FaultCode::PermissionExpired)
    };
    let report = fleet.reported("expired", generation, expired);
    assert_eq!(report.phase, AgentPhase::Ready);
    assert_eq!((host.nodes(), host.count("term")), (vec![old], 0));
}
