//! Every command of an operator's day, each from a process of its own, over the real binary.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
#[path = "lifecycle/client.rs"]
mod client;
#[path = "lifecycle/settings.rs"]
mod settings;
mod support;
#[path = "lifecycle/surface.rs"]
mod surface;

use agent::host::proc;
use common::wire::v1::AgentPhase;
use serde_json::{Value, json};
use std::process::{Command, Output};
use support::coordinator::Fleet;
use support::{AGENT, Host, alive, send, wait};

/// What a command that succeeds prints.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that ends with this code complains about; it prints nothing else.
fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An agent in the background, which is nobody's child; ended with the test.
struct Detached(u32);

impl Detached {
    fn of(host: &Host) -> Detached {
        Detached(host.status().unwrap().agent_pid)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if alive(self.0) {
            let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
        }
    }
}

#[test]
fn start_leaves_an_agent_that_outlives_its_shell() {
    let host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    // A session of its own, whose leader ends right after `start` returned.
    let mut shell = Command::new("setsid");
    shell.args(["--wait", "sh", "-c", "\"$0\" start \"$@\"; echo \"code $?\"", AGENT]);
    shell.arg(host.data()).arg(host.port.to_string());
    shell.env("DAEMON_HOME", host.folder.path()).env("DAEMON_NAME", "geth");
    let out = said(&shell.output().unwrap());
    let _agent = Detached::of(&host);
    let pid = host.healthy();
    assert!(out.starts_with(&format!("started: agent {}, node {pid}, output in ", _agent.0)), "{out}");
    assert!(out.ends_with("code 0\n"), "{out}");
    let session = proc::stat(_agent.0).unwrap().session;
    assert_eq!(session, _agent.0, "the agent is in another's session and would end with it");
    let again = host.command(&["start", "x", "1"]);
    assert_eq!(said(&again), format!("already running: agent {}, node {pid}\n", _agent.0));
    let done = said(&host.command(&["stop"]));
    assert!(done.starts_with("the node stopped after "), "{done}");
    assert!(!alive(_agent.0) && !alive(pid), "stop came back before both were gone");
    assert_eq!((host.count("term"), host.count("flushed"), host.count("started")), (1, 1, 1));
    assert_eq!(said(&host.command(&["stop"])), "not running\n");
}

#[test]
fn a_start_that_fails_says_why() {
    let host = Host::new(&json!({"version": "1.0.0"}));
    host.settings_and(None, "stop", "20s", "[health]\nevery = \"never\"\n");
    let start = |more: &[&str]| host.command(&[&["start"], more].concat());
    assert!(failed(&start(&[]), 1).contains("[health] every"), "a wrong setting is named");
    host.settings(None, "stop", "20s");
    std::fs::write(host.root().join("ledger.json"), "{").unwrap();
    let why = failed(&start(&["--wait", "30s"]), 1);
    assert!(why.contains("the agent ended with") && why.contains("ledger.json"), "{why}");
    std::fs::remove_file(host.root().join("ledger.json")).unwrap();
    // Without an executable the agent waits for one, and `start` does not wait for ever.
    std::fs::rename(host.root().join("genesis/bin/geth"), host.folder.path().join("away")).unwrap();
    let why = failed(&start(&["--wait", "1s"]), 124);
    assert!(why.contains("its node not yet: ") && why.contains("agent.log"), "{why}");
    assert!(why.contains("genesis/bin/geth"), "what is wrong with the node: {why}");
    let _agent = Detached::of(&host);
    assert_eq!(said(&host.command(&["stop"])), "the node was not running\n");
    assert!(!alive(_agent.0), "the agent is left");
    // A home that was misspelt is not made.
    let nowhere = host.folder.path().join("nowhere");
    let why = failed(&host.command(&["--home", nowhere.to_str().unwrap(), "start", "--wait", "1s"]), 1);
    assert!(why.contains("is no folder") && !nowhere.exists(), "{why}");
}

#[test]
fn stop_waits_for_a_slow_node_and_others_can_ask_meanwhile() {
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 1200}));
    host.settings(None, "leave", "20s");
    host.start();
    let pid = host.healthy();
    let done = std::thread::scope(|scope| {
        let stop = scope.spawn(|| host.command(&["stop"]));
        wait("the stop", || (host.count("term") == 1).then_some(()));
        let status = host.command(&["status"]);
        assert!(status.status.success(), "{status:?}");
        assert!(failed(&host.command(&["restart"]), 1).contains("the agent is ending"));
        assert!(alive(pid), "nobody waited for the flush");
        // A second one waits for the same end.
        let second = host.command(&["stop"]);
        assert!(said(&second).starts_with("the node stopped after ") && !alive(pid), "{second:?}");
        stop.join().unwrap()
    });
    // Although the settings leave the node to the next agent: it was named.
    assert!(said(&done).starts_with("the node stopped after "), "{done:?}");
    assert!(!alive(pid));
    assert_eq!(host.agent_ends(), Some(0));
    assert_eq!((host.count("term"), host.count("flushed")), (1, 1));
}

#[test]
fn stop_ends_a_node_that_lost_its_agent() {
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 200, "child": true}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    host.kill_agent();
    let done = said(&host.command(&["stop"]));
    assert!(done.starts_with("no agent was running; the node stopped after "), "{done}");
    assert_eq!((host.count("term"), host.count("flushed"), alive(pid)), (1, 1, false));
    assert_eq!(proc::session_members(pid), Vec::<u32>::new(), "a child of the node is left");
    assert!(!host.root().join("process.json").exists());
    assert_eq!(said(&host.command(&["stop"])), "not running\n");
}

#[test]
fn restart_gives_another_process_unless_something_is_against_it() {
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 1000}));
    host.plan_settings("");
    assert!(failed(&host.command(&["restart"]), 1).contains("wemixvisor start"));
    host.start();
    let pid = host.healthy();
    let done = said(&host.command(&["restart"]));
    let new = host.healthy();
    assert_eq!(done, format!("restarted: node {new} (was {pid})\n"));
    assert_eq!((new == pid, host.count("term"), host.count("started"), alive(pid)), (false, 1, 2, false));
    // In the middle of an upgrade it would start the release that is being left.
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":101}"#);
    wait("the stop of the upgrade", || (host.count("term") == 2).then_some(()));
    wait("the phase", || (host.status()?.report.phase == AgentPhase::Stopping).then_some(()));
    let why = failed(&host.command(&["restart"]), 1);
    assert!(why.contains("an upgrade is under way (stopping)"), "{why}");
    host.runs("v2");
    assert_eq!((host.count("term"), host.count("started 2.0.0")), (2, 1));
}

#[test]
fn in_a_fleet_restart_needs_force() {
    let fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(Some(&fleet), "stop", "20s");
    host.start();
    let pid = host.healthy();
    let why = failed(&host.command(&["restart"]), 1);
    assert!(why.contains("quorum") && why.contains("--force"), "{why}");
    assert_eq!((host.count("term"), alive(pid)), (0, true));
    assert!(said(&host.command(&["restart", "--force"])).contains(&format!("was {pid}")));
    assert_eq!(host.count("term"), 1);
}

#[test]
fn status_is_a_table_or_json_with_and_without_an_agent() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "leave", "20s");
    let status = |code: i32, args: &[&str]| {
        let output = host.command(&[&["status"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = status(3, &[]);
    assert!(table.contains("agent    not running") && table.contains("node     not running"), "{table}");
    host.start();
    let pid = host.healthy();
    let agent = host.agent.as_ref().unwrap().id();
    let status = |code: i32, args: &[&str]| {
        let output = host.command(&[&["status"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = status(0, &[]);
    let rows = [format!("agent    process {agent}, "), format!("node     process {pid}, up ")];
    for row in rows.iter().map(String::as_str).chain(["release  genesis ", "health   rpc up, head 1"]) {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row}: {table}");
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let told = read(&status(0, &["-o", "json"]));
    assert_eq!((&told["agent_pid"], &told["report"]["process"]["pid"]), (&json!(agent), &json!(pid)));
    host.kill_agent();
    let output = host.command(&["status", "--output", "json"]);
    let told = read(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((&told["agent_pid"], &told["process"]["pid"]), (&Value::Null, &json!(pid)));
    assert_eq!(told["ledger"]["current"]["name"], "genesis");
    send("KILL", pid);
    wait("its end", || (!alive(pid)).then_some(()));
    let output = host.command(&["status"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("node     not running"), "{table}");
}
