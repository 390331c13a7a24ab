//! What the node started ends with it, also what left its session.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{Host, alive, send, wait};

/// The `sleep` processes that a node of this home started: they have its lock open, by inheritance.
fn sleepers(host: &Host) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let lock = host.data().join("LOCK");
    let lock = host.home().node_lock().canonicalize().unwrap_or(lock);
    let holds = |pid: &u32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|path| path == lock)
    };
    let sleeps =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "sleep\n");
    pids.filter(|pid| sleeps(pid) && alive(*pid) && holds(pid)).collect()
}

/// Ends what a failed test leaves.
struct Ended(Vec<u32>);

impl Drop for Ended {
    fn drop(&mut self) {
        for pid in self.0.iter().filter(|pid| alive(**pid)) {
            send("KILL", *pid);
        }
    }
}

#[test]
fn a_stop_ends_the_session_and_who_left_it() {
    for behaviour in
        [json!({"child": true}), json!({"deserter": true}), json!({"child": true, "deserter": true})]
    {
        let mut host = Host::new(&behaviour);
        host.settings(None, "stop", "20s");
        host.start();
        let pid = host.healthy();
        let count = behaviour.as_object().unwrap().len();
        let started = wait("the grandchildren", || Some(sleepers(&host)).filter(|s| s.len() == count));
        let _ended = Ended(started.clone());
        host.signal_agent("TERM");
        assert_eq!(host.agent_ends(), Some(0), "{behaviour}");
        let left: Vec<_> = started.iter().filter(|p| alive(**p)).collect();
        assert!(!alive(pid) && left.is_empty(), "{behaviour}: {left:?} live, the node {}", alive(pid));
        host.start();
        assert_ne!(host.healthy(), pid, "{behaviour}");
        let _more = Ended(sleepers(&host));
        let said = host.command(&["stop"]);
        assert!(said.status.success() && sleepers(&host).is_empty(), "{behaviour}: {said:?}");
        host.agent_ends();
    }
}

#[test]
fn a_node_that_dies_takes_them_with_it_also_beside_another_agent() {
    let mut host = Host::new(&json!({"child": true, "deserter": true}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    let started = wait("the grandchildren", || Some(sleepers(&host)).filter(|s| s.len() == 2));
    let _ended = Ended(started.clone());
    host.kill_agent();
    host.start();
    assert_eq!(host.running(), pid, "adopted");
    send("KILL", pid);
    let next = wait("the next node", || host.nodes().first().copied().filter(|p| *p != pid));
    let left: Vec<_> = started.iter().filter(|p| alive(**p)).collect();
    assert!(left.is_empty(), "{left:?} live beside the next node");
    assert_eq!((host.healthy(), host.count("double")), (next, 0));
    let _more = Ended(sleepers(&host));
    let said = host.command(&["stop"]);
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn an_agent_never_takes_a_grandchild_for_the_node() {
    let mut host = Host::new(&json!({"deserter": true}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    let started = wait("the deserter", || Some(sleepers(&host)).filter(|s| s.len() == 1));
    let _ended = Ended(started.clone());
    // Agent and node die, the one that left the node's session lives, and has the node's lock.
    host.kill_agent();
    send("KILL", pid);
    wait("the end of the node", || (!alive(pid)).then_some(()));
    host.start();
    assert_ne!(host.agent_ends(), Some(0), "an agent ran beside a process that it does not know");
    let said = host.said();
    let line = said.lines().last().unwrap();
    let named =
        line.contains("node.lock") && line.contains(&started[0].to_string()) && line.contains("sleep");
    assert!(named && alive(started[0]), "{said}");
    send("TERM", started[0]);
    wait("its end", || (!alive(started[0])).then_some(()));
    host.start();
    assert_ne!(host.healthy(), pid);
    let _more = Ended(sleepers(&host));
    let said = host.command(&["stop"]);
    assert!(said.status.success(), "{said:?}");
}

/// A control group that was handed over, as systemd does with `Delegate=yes`. Removed with everything below it.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Group> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|l| l.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|l| l.strip_prefix("0::/").map(str::to_owned))?;
        let path = Path::new(&mount).join(own).join(format!("wemixvisor-test-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let group = Group(path);
        let marked = ["user.delegate", "trusted.delegate"]
            .iter()
            .any(|mark| rustix::fs::setxattr(&group.0, *mark, b"1", rustix::fs::XattrFlags::empty()).is_ok());
        marked.then_some(group)
    }

    fn members(&self) -> Vec<u32> {
        agent::host::cgroup::members(&self.0.join("wemixvisor-node"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in [self.0.join("wemixvisor-node"), self.0.clone()] {
            agent::host::cgroup::kill(&folder);
            let end = std::time::Instant::now() + support::PATIENCE;
            while std::fs::remove_dir(&folder).is_err() && folder.is_dir() && std::time::Instant::now() < end
            {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_control_group_of_its_own_cannot_be_left() {
    let Some(group) = Group::make() else {
        eprintln!("skipped: no control group can be made and handed over here");
        return;
    };
    let mut host = Host::new(&json!({"child": true, "deserter": true}));
    host.settings(None, "stop", "20s");
    let log = std::fs::File::create(host.log()).unwrap();
    let agent = host.prepared();
    let mut command = std::process::Command::new("sh");
    // Into the group before it becomes the agent, so that nothing of it is ever outside.
    command
        .arg("-c")
        .arg("echo 0 > \"$0/cgroup.procs\" && exec \"$@\"")
        .arg(&group.0)
        .arg(agent.get_program());
    command.envs(agent.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.arg("run").arg(host.data()).arg(host.port.to_string());
    host.agent = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let pid = host.healthy();
    let members = wait("all in the group", || Some(group.members()).filter(|m| m.len() == 3));
    let _ended = Ended(members.clone());
    assert!(members.contains(&pid), "{members:?} without the node {pid}");
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0), "{}", host.said());
    let left: Vec<_> = members.iter().filter(|p| alive(**p)).collect();
    assert!(left.is_empty() && group.members().is_empty(), "{left:?} live");
}
