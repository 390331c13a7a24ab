//! Alone on a host: one agent, one node, signals, restarts, the command line.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

#[path = "supervision/exits.rs"]
mod exits;
#[path = "supervision/signals.rs"]
mod signals;

use serde_json::{Value, json};
use support::coordinator::Fleet;
use support::{Host, alive, send, wait};

#[test]
fn a_second_agent_is_refused_and_names_the_first() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    let data = host.data();
    let second = host.command(&["run", data.to_str().unwrap(), "1"]);
    let said = String::from_utf8_lossy(&second.stderr);
    let first = host.agent.as_ref().unwrap().id().to_string();
    assert!(!second.status.success() && said.contains(&first) && said.contains("supervises"), "{said}");
    assert_eq!((host.nodes(), host.count("started")), (vec![pid], 1));
}

#[test]
fn sigterm_stops_the_node_once_and_waits_for_it() {
    for signal in ["TERM", "INT"] {
        let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 600, "child": true}));
        host.settings(None, "stop", "20s");
        host.start();
        let pid = host.healthy();
        host.signal_agent(signal);
        wait("the stop", || (host.count("term") == 1).then_some(()));
        host.signal_agent(signal);
        assert_eq!(host.agent_ends(), Some(0));
        assert!(!alive(pid), "the node outlived its agent");
        assert_eq!((host.count("term"), host.count("flushed")), (1, 1), "{signal}");
        let rest = agent::host::proc::session_members(pid);
        assert!(rest.is_empty(), "a child of the node is left: {rest:?}");
    }
}

#[test]
fn sigterm_leaves_the_node_where_the_settings_say_so() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "leave", "20s");
    host.start();
    let pid = host.healthy();
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    assert!(alive(pid) && host.count("term") == 0);
    let said = host.command(&["status", "--output", "json"]);
    assert_eq!(said.status.code(), Some(3), "no agent runs");
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["process"]["pid"], json!(pid));
    host.start();
    assert_eq!(host.healthy(), pid);
}

#[test]
fn a_node_that_ignores_sigterm_is_killed_after_the_limit() {
    let mut host = Host::new(&json!({"version": "1.0.0", "ignore_term": true}));
    host.settings(None, "stop", "1s");
    host.start();
    let pid = host.healthy();
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    assert!(!alive(pid));
    assert_eq!((host.count("term"), host.count("flushed")), (1, 0), "more than one SIGTERM");
}

#[test]
fn a_node_that_dies_is_started_again_also_without_its_coordinator() {
    let mut fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(Some(&fleet), "stop", "20s");
    host.start();
    let first = host.healthy();
    fleet.reported("a report", 0, |r| r.health.rpc_up);
    fleet.end();
    send("KILL", first);
    let second = wait("the restart", || host.nodes().first().copied().filter(|p| *p != first));
    assert_eq!(host.healthy(), second);
    let failing = wait("the contact's error", || host.status()?.contact?.error);
    assert!(!failing.is_empty());
    let table = host.command(&["status"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for part in ["agent", "process", "genesis", "rpc up", "idle"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn bytes_that_changed_are_not_executed() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    host.start();
    host.healthy();
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    let binary = host.root().join("genesis/bin/geth");
    let mut bytes = std::fs::read(&binary).unwrap();
    bytes.push(b' ');
    std::fs::remove_file(&binary).unwrap();
    std::fs::write(&binary, bytes).unwrap();
    std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    host.start();
    let fault = wait("the fault", || host.status()?.report.fault);
    assert_eq!(fault.code, common::wire::v1::FaultCode::DigestMismatch, "{fault:?}");
    assert_eq!((host.count("started"), host.nodes().len()), (1, 0));
}

#[test]
fn settings_that_are_wrong_are_named_all_at_once() {
    let host = Host::new(&json!({"version": "1.0.0"}));
    std::fs::write(host.root().join("wemixvisor.toml"), "schema = 1\n[node]\nrcp = 1\nstop = \"5\"\n")
        .unwrap();
    let said = host.command(&["run"]);
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && text.contains("rcp") && text.contains("stop"), "{text}");
    let sample = Host::new(&json!({}));
    let written = std::fs::read_to_string(sample.root().join("wemixvisor.toml")).unwrap();
    assert!(written.contains("schema = 1") && written.contains("[node]"));
}
