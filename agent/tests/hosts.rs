//! Hosts that are not as they should be: each with an error that names the thing, and the node untouched.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use agent::host::launch::Record;
use common::wire::v1::{FaultCode, ProcessState};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::life::identity;
use support::{Host, alive, send, wait};

fn plain() -> Host {
    let host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    host
}

/// What an agent says that ends by itself, and must.
fn refusal(host: &Host) -> String {
    let said = host.prepared().arg("run").arg(host.data()).arg(host.port.to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{text}");
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn of_agents_that_start_at_once_one_supervises() {
    let mut host = plain();
    let run = || -> Child {
        let mut command = host.prepared();
        command.arg("run").arg(host.data()).arg(host.port.to_string()).stdout(Stdio::null());
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut agents: Vec<Child> = (0..6).map(|_| run()).collect();
    wait("the others to end", || {
        (agents.iter_mut().filter_map(|a| a.try_wait().unwrap()).count() == 5).then_some(())
    });
    let at = agents.iter_mut().position(|a| a.try_wait().unwrap().is_none()).unwrap();
    host.agent = Some(agents.remove(at));
    for other in agents {
        let said = other.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let lock = host.home().lock().display().to_string();
        assert!(
            !said.status.success() && text.contains("another wemixvisor") && text.contains(&lock),
            "{text}"
        );
    }
    let pid = host.healthy();
    assert_eq!((host.nodes(), host.count("started"), host.count("double")), (vec![pid], 1, 0));
}

/// Something of somebody else's.
struct Foreign(Child);

impl Foreign {
    fn new() -> Foreign {
        Foreign(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn is_untouched(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_id_that_was_given_to_another_process_is_not_the_node() {
    let mut host = plain();
    let mut foreign = Foreign::new();
    host.start();
    host.healthy();
    let record = Record::read(&host.home().process()).unwrap();
    let (pid, ticks) = identity(foreign.0.id());
    let boot = "00000000-0000-0000-0000-000000000000".to_owned();
    for forged in [
        Record { pid, ..record.clone() },
        Record { pid, start_ticks: ticks + 1, asked: true, ..record.clone() },
        Record { pid, start_ticks: ticks, boot_id: boot, ..record.clone() },
    ] {
        let said = host.command(&["stop"]);
        assert!(said.status.success() && host.agent_ends() == Some(0), "{said:?}");
        forged.write(&host.home().process()).unwrap();
        let said = host.command(&["stop"]);
        assert!(String::from_utf8_lossy(&said.stdout).contains("not running"), "{forged:?}: {said:?}");
        forged.write(&host.home().process()).unwrap();
        host.start();
        assert_ne!(host.healthy(), pid, "{forged:?}");
        assert!(foreign.is_untouched(), "{forged:?}");
    }
    assert_eq!((host.count("double"), host.nodes().len()), (0, 1));
}

#[test]
fn beside_a_node_that_was_started_by_hand_the_own_one_waits() {
    let mut host = plain();
    let binary = host.root().join("genesis/bin/geth");
    let mut hand = Foreign(Command::new(binary).arg(host.data()).arg(host.port.to_string()).spawn().unwrap());
    wait("the node", || (host.count("started") == 1).then_some(()));
    host.start();
    let exit = wait("the back-off", || match host.told()?.report.process {
        ProcessState::BackingOff { exit, restarts, .. } if restarts > 0 => Some(exit),
        _ => None,
    });
    assert_eq!(exit, "exit code 1", "as the client itself ends when its data is in use");
    assert!(hand.is_untouched() && host.count("term") == 0, "{:?}", host.events());
    hand.0.kill().unwrap();
    hand.0.wait().unwrap();
    let pid = host.healthy();
    assert_eq!((host.nodes(), host.count("started")), (vec![pid], 2));
}

#[test]
fn a_lock_that_somebody_holds_by_hand_is_named_with_its_holder() {
    let mut host = plain();
    let path = host.home().node_lock();
    let file = std::fs::File::create(&path).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let said = refusal(&host);
    let (lock, pid) = (path.display().to_string(), format!("process {}", std::process::id()));
    assert!(said.contains(&lock) && said.contains(&pid), "{said}");
    assert_eq!(host.count("started"), 0);
    drop(file);
    host.start();
    host.healthy();
}

#[test]
fn a_control_socket_that_is_left_or_is_none() {
    let mut host = plain();
    host.start();
    let pid = host.running();
    host.kill_agent();
    let socket = host.home().control();
    assert!(socket.symlink_metadata().is_ok(), "nothing is left to be stale");
    let said = host.command(&["status"]);
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    host.start();
    assert_eq!(host.running(), pid);
    host.kill_agent();
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "no socket").unwrap();
    host.start();
    assert_eq!(host.running(), pid);
    host.kill_agent();
    std::fs::remove_file(&socket).unwrap();
    std::fs::create_dir_all(socket.join("full")).unwrap();
    let said = refusal(&host);
    assert!(said.contains(&socket.display().to_string()), "{said}");
    assert_eq!((host.nodes(), host.count("started"), host.count("term")), (vec![pid], 1, 0));
    std::fs::remove_dir_all(&socket).unwrap();
    host.start();
    assert_eq!(host.running(), pid);
}

#[test]
fn a_home_whose_path_is_longer_than_a_sockets_may_be() {
    let folder = tempfile::Builder::new().prefix(&"long-".repeat(40)).tempdir().unwrap();
    let mut host = Host::in_folder(folder, &json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    assert!(host.home().control().as_os_str().len() > 200);
    host.start();
    let pid = host.healthy();
    let said = host.command(&["restart"]);
    assert!(said.status.success() && host.healthy() != pid, "{said:?}");
    let said = host.command(&["stop"]);
    assert!(said.status.success() && host.agent_ends() == Some(0), "{said:?}");
}

/// A mount of this test's own.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, how: &[&str]) -> Option<Mount> {
        let done = Command::new("mount").args(how).arg(at).stderr(Stdio::null()).status();
        done.is_ok_and(|s| s.success()).then(|| Mount(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_home_that_cannot_be_written_is_named_and_its_node_goes_on() {
    let mut host = plain();
    host.start();
    let pid = host.healthy();
    let node = identity(pid);
    host.kill_agent();
    let home = host.folder.path().to_owned();
    let text = home.display().to_string();
    let bound = Mount::new(&home, &["--bind", &text]);
    let Some(_read_only) = bound.as_ref().and_then(|_| Mount::new(&home, &["-o", "remount,ro,bind"])) else {
        eprintln!("skipped: nothing can be mounted here");
        return;
    };
    let said = refusal(&host);
    let lock = host.home().lock().display().to_string();
    assert!(said.contains(&lock) && said.contains("Read-only file system"), "{said}");
    assert_eq!((identity(pid), host.count("term"), host.count("started")), (node, 0, 1));
    drop(bound);
    host.start();
    assert_eq!((host.running(), identity(pid)), (pid, node));
}

/// Takes all that is left of a file system, to the last byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let block = vec![0; size];
        while file.write(&block).is_ok_and(|n| n > 0) {}
    }
}

#[test]
fn a_full_disk_stops_neither_the_node_nor_its_coming_back() {
    let at = tempfile::tempdir().unwrap();
    let Some(_disk) = Mount::new(at.path(), &["-t", "tmpfs", "-o", "size=192m", "none"]) else {
        eprintln!("skipped: nothing can be mounted here");
        return;
    };
    let mut host = Host::in_folder(tempfile::tempdir_in(at.path()).unwrap(), &json!({"version": "1.0.0"}));
    let backups = host.folder.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    host.plan_settings(&format!("[backup]\nbefore_upgrade = \"always\"\ndir = {backups:?}\n"));
    std::fs::write(host.data().join("chain"), vec![7; 16 << 20]).unwrap();
    host.add("v2", &json!({"version": "2.0.0"}));
    host.start();
    let pid = host.healthy();
    let filler = at.path().join("filler");
    let free = agent::host::disk::free_bytes(at.path()).unwrap();
    std::fs::write(&filler, vec![0; usize::try_from(free).unwrap() - (8 << 20)]).unwrap();
    let said = host.command(&["upgrade", "schedule", "v2", "now"]);
    assert!(said.status.success(), "{said:?}");
    let fault = host.fault(FaultCode::DiskFull);
    assert!(alive(pid) && host.count("term") == 0, "the node was stopped: {fault:?}");
    // Now nothing at all can be written, the agent's own output included; it is asked to.
    fill(&filler);
    assert!(host.command(&["upgrade", "retry"]).status.success());
    let ended = wait("the agent to give up", || host.agent.as_mut().unwrap().try_wait().unwrap());
    host.agent = None;
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(alive(pid) && host.count("term") == 0);
    // The next one has a node to find, and one to start.
    host.start();
    assert_eq!(host.running(), pid);
    send("KILL", pid);
    // Its old record makes room for the new one, unless somebody else takes that first; then it says so and waits.
    let back = |host: &Host| host.nodes().first().copied().filter(|next| *next != pid);
    let fault = wait("the node or the reason", || {
        let fault = host.told()?.report.fault.filter(|f| f.code == FaultCode::BinaryUnusable);
        fault.map(Some).or_else(|| back(&host).map(|_| None))
    });
    if let Some(fault) = fault {
        assert!(fault.detail.contains("process.json") && fault.detail.contains("No space"), "{fault:?}");
    }
    std::fs::remove_file(&filler).unwrap();
    let next = wait("the node", || back(&host));
    assert_eq!(host.healthy(), next);
    // And with room again the upgrade goes through.
    assert!(host.command(&["upgrade", "retry"]).status.success());
    host.runs("v2");
    assert_eq!(host.count("double"), 0);
}
