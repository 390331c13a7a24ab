//! Homes in which cosmovisor could not start, or started what it must not.
use crate::guest::Guest;
use crate::support::wait;
use common::wire::v1::FaultCode;
use serde_json::json;
use std::path::Path;

#[test]
fn a_link_that_is_lost_or_leads_nowhere_never_means_genesis() {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0"}));
    guest.add("upgrades/v2", &json!({"version": "2.0.0"}));
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.write("cosmovisor/upgrades/v2/upgrade-info.json", r#"{"name":"v2","height":50}"#);
    // E39 as it is found: nobody knows which release the data is of.
    std::fs::remove_file(guest.at("cosmovisor/current")).unwrap();
    let refused = guest.command(&["run", "x", "1"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && why.contains("ln -s upgrades/NAME"), "{why}");
    guest.link(Path::new("upgrades/v2"));
    guest.start(&[]);
    guest.runs("v2", "upgrades/v2");
    guest.stop();
    // After that it is remembered, also when the plan that led to it is still where the chain wrote it.
    guest.host.plan(r#"{"name":"V2","height":50}"#);
    for (life, spoil) in (2..).zip([None, Some("upgrades/gone"), Some("genesis")]) {
        std::fs::remove_file(guest.at("cosmovisor/current")).unwrap();
        if let Some(to) = spoil {
            guest.link(Path::new(to));
        }
        guest.start(&[]);
        guest.runs("v2", "upgrades/v2");
        let lives = (guest.host.count("started 1.0.0"), guest.host.count("started 2.0.0"));
        assert_eq!(lives, (0, life), "{spoil:?}: {:?}", guest.host.events());
        guest.stop();
    }
}

#[test]
fn after_the_height_the_old_release_is_not_launched_again() {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0", "halt_at": 110}));
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.host.plan(r#"{"name":"v2","height":110}"#);
    guest.start(&[]);
    guest.host.fault(FaultCode::ArtifactUnavailable);
    wait("the last block", || {
        guest.host.status()?.report.health.head().filter(|b| b.height == 109).map(drop)
    });
    guest.stop();
    // What was missing is put there while nothing runs.
    guest.add("upgrades/v2", &json!({"version": "2.0.0", "not_below": 110}));
    guest.start(&[]);
    guest.runs("v2", "upgrades/v2");
    assert_eq!((guest.host.count("started 1.0.0"), guest.host.count("started 2.0.0")), (1, 1));
    guest.stop();
}

#[test]
fn what_was_fetched_by_hand_while_no_agent_ran_is_not_forgotten() {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0"}));
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.host.plan(r#"{"name":"v2","height":101}"#);
    guest.start(&[]);
    let pid = guest.host.healthy();
    guest.host.fault(FaultCode::ArtifactUnavailable);
    guest.host.kill_agent();
    guest.add("upgrades/v2", &json!({"version": "2.0.0"}));
    guest.start(&[]);
    guest.runs("v2", "upgrades/v2");
    assert_eq!((crate::alive(pid), guest.host.count("term")), (false, 1));
    guest.stop();
}

#[test]
fn a_home_taken_over_after_the_halt_needs_a_word_of_its_operator() {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0", "exit_at": 101, "exit_code": 2}));
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.write("data/head", "100");
    guest.add("upgrades/v2", &json!({"version": "2.0.0", "not_below": 101}));
    guest.host.plan(r#"{"name":"v2","height":101}"#);
    guest.start(&[]);
    wait("the old release to refuse", || (guest.host.count("refused") >= 2).then_some(()));
    assert_eq!(guest.current(), "genesis", "an unknown head was taken for one");
    let said = guest.command(&["upgrade", "schedule", "v2", "now"]);
    assert!(said.status.success(), "{said:?}");
    guest.runs("v2", "upgrades/v2");
    assert_eq!(guest.host.count("started 2.0.0"), 1);
    guest.stop();
}
