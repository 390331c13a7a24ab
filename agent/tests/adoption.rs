//! A node that outlives its agents: adopted after each SIGKILL, kept through each replacement of the agent.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use agent::host::launch::Record;
use common::time::UnixMs;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::life::{Random, identity};
use support::{AGENT, Host, alive, send, wait};

/// How often each numbered line of a process is in the node's log.
fn lines(host: &Host, pid: u32) -> BTreeMap<u64, usize> {
    let text = std::fs::read_to_string(host.root().join("node.log")).unwrap();
    let mut seen = BTreeMap::new();
    for line in text.lines() {
        let rest =
            line.strip_prefix(&format!("line {pid} ")).unwrap_or_else(|| panic!("{line:?} in node.log"));
        *seen.entry(rest.parse().unwrap()).or_default() += 1;
    }
    seen
}

fn assert_whole(host: &Host, pid: u32) {
    let seen = lines(host, pid);
    let last = *seen.keys().last().unwrap_or_else(|| panic!("the node printed nothing"));
    let wrong: Vec<_> = (0..=last).filter(|n| seen.get(n) != Some(&1)).collect();
    assert!(wrong.is_empty(), "lost or doubled of {last} lines: {wrong:?}");
    assert!(last > 100, "only {last} lines");
}

#[test]
fn a_hundred_deaths_of_the_agent_leave_the_node_and_its_output_alone() {
    let mut host = Host::new(&json!({"version": "1.0.0", "chatter_ms": 3}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.running();
    let node = identity(pid);
    host.kill_agent();
    let mut random = Random(7);
    for death in 2..=100 {
        host.start();
        if death % 2 == 0 {
            assert_eq!(host.running(), pid, "death {death}");
        } else {
            // Not a wait for something to settle: the moment of the death is the input of this test.
            std::thread::sleep(Duration::from_millis(random.below(80)));
        }
        host.kill_agent();
        assert_eq!((host.nodes(), identity(pid)), (vec![pid], node), "death {death}");
    }
    host.start();
    assert_eq!(host.running(), pid);
    let said = host.command(&["stop"]);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(host.agent_ends(), Some(0));
    assert_eq!((host.count("started"), host.count("term"), host.count("double")), (1, 1, 0));
    assert!(!alive(pid));
    assert_whole(&host, pid);
}

/// Puts a copy of `from` where the agent was started from, as an installation does: under its name in one step.
fn install(host: &Host, from: &Path) -> u64 {
    let new = host.program.with_extension("new");
    std::fs::hard_link(from, &new).unwrap();
    std::fs::rename(&new, &host.program).unwrap();
    host.program.metadata().unwrap().ino()
}

/// A home whose agent has an executable of its own, and two copies to replace it with.
fn replaceable(behaviour: &serde_json::Value) -> (Host, [PathBuf; 2]) {
    let mut host = Host::new(behaviour);
    let folder = host.folder.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let copies = ["one", "other"].map(|name| folder.join(name));
    for copy in &copies {
        std::fs::copy(AGENT, copy).unwrap();
    }
    host.program = folder.join("wemixvisor");
    install(&host, &copies[0]);
    (host, copies)
}

fn executed(pid: u32) -> u64 {
    std::fs::metadata(agent::host::proc::exe(pid)).map_or(0, |m| m.ino())
}

#[test]
fn twenty_replacements_of_the_agent_keep_both_processes_and_the_nodes_exit_code() {
    let (mut host, copies) = replaceable(&json!({"version": "1.0.0", "chatter_ms": 3}));
    host.extra.push(("WEMIXVISOR_NODE_RESTART".into(), "never".into()));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.running();
    let (agent, node) = (identity(host.agent.as_ref().unwrap().id()), identity(pid));
    for number in 1..=20 {
        let inode = install(&host, &copies[number % 2]);
        if number % 2 == 0 {
            host.signal_agent("USR2");
        } else {
            let said = host.command(&["replace-agent"]);
            assert!(said.status.success(), "replacement {number}: {said:?}");
        }
        wait(&format!("replacement {number}"), || (executed(agent.0) == inode).then_some(()));
        let told = wait("the next agent", || host.told());
        assert_eq!((told.agent_pid, host.running()), (agent.0, pid), "replacement {number}");
        assert_eq!((identity(agent.0), identity(pid)), (agent, node), "replacement {number}");
    }
    refuses_what_does_not_work(&host, pid, agent.0);
    assert_eq!((host.count("started"), host.count("term"), host.nodes()), (1, 0, vec![pid]));
    // Still its child: how it ends is known.
    send("KILL", pid);
    assert_eq!(host.agent_ends(), Some(128 + 9), "{}", host.said());
    assert_whole(&host, pid);
}

fn refuses_what_does_not_work(host: &Host, pid: u32, agent: u32) {
    let (inode, good) = (executed(agent), host.folder.path().join("bin/good"));
    std::fs::hard_link(&host.program, good).unwrap();
    let cases = [
        ("no executable", "garbage", 0o755),
        ("not allowed to run", "#!/bin/sh\necho wemixvisor 9.9.9\n", 0o644),
        ("fails", "#!/bin/sh\nexit 1\n", 0o755),
        ("another program", "#!/bin/sh\necho other 1.0\n", 0o755),
    ];
    for (what, text, mode) in cases {
        let broken = host.folder.path().join("bin/broken");
        std::fs::write(&broken, text).unwrap();
        std::fs::set_permissions(&broken, PermissionsExt::from_mode(mode)).unwrap();
        std::fs::rename(&broken, &host.program).unwrap();
        let said = std::process::Command::new(AGENT)
            .args(["replace-agent", "--home"])
            .arg(host.folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stderr);
        let program = host.program.display().to_string();
        assert!(!said.status.success() && text.contains(&program) && text.contains("hint"), "{what}: {text}");
        let before = host.said().matches("this agent goes on").count();
        host.signal_agent("USR2");
        wait(what, || (host.said().matches("this agent goes on").count() > before).then_some(()));
        assert_eq!((executed(agent), host.running()), (inode, pid), "{what}");
    }
}

#[test]
fn a_clock_that_was_set_does_not_shorten_a_stop_that_is_under_way() {
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 1500}));
    host.plan_settings("");
    host.add("v2", &json!({"version": "2.0.0"}));
    host.start();
    let pid = host.healthy();
    let said = host.command(&["upgrade", "schedule", "v2", "now"]);
    assert!(said.status.success(), "{said:?}");
    let path = host.home().process();
    let record = wait("the record of the stop", || Record::read(&path).filter(|r| r.asked));
    host.kill_agent();
    // Set forward by a day, it looks as if the stop had been decided a day ago.
    let before = record.stopping.unwrap().0 - 86_400_000;
    Record { stopping: Some(UnixMs(before)), since: UnixMs(before), ..record }.write(&path).unwrap();
    assert!(alive(pid), "the node ended before the next agent could look at it");
    host.start();
    host.runs("v2");
    assert_eq!((host.count("flushed"), host.count("term"), host.count("started 2.0.0")), (1, 1, 1));
}
