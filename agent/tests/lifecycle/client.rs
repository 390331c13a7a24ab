//! What is the chain client's: its own commands, its output, its arguments.
use crate::support::{AGENT, Host, wait};
use crate::{failed, said};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

#[test]
fn commands_of_the_client_are_handed_on_as_they_are() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    let told = |args: &[&str]| said(&host.command(args));
    assert_eq!(
        told(&["attach", "--exec", "eth.x", "-o", "--help"]),
        "attached with --exec eth.x -o --help\n"
    );
    assert_eq!(told(&["exec", "--", "attach", "--", "a b", ""]), "attached with -- a b \n");
    let home = host.folder.path().display().to_string();
    assert_eq!(told(&["--home", &home, "attach", "--home=x"]), "attached with --home=x\n");
    // Its exit code is ours: the scripted client takes `account` for a folder that is not there.
    assert_eq!(host.command(&["account", "list"]).status.code(), Some(1));
    host.start();
    host.healthy();
    for args in [&["console"][..], &["init", "genesis.json"], &["exec", "removedb"], &["snapshot", "x"]] {
        let why = failed(&host.command(args), 1);
        assert!(why.contains("the node runs") && why.contains("wemixvisor stop"), "{args:?}: {why}");
    }
    assert_eq!(said(&host.command(&["attach"])), "attached with \n", "but this one beside the node");
    said(&host.command(&["stop"]));
    assert_eq!(host.agent_ends(), Some(0));
    let run = host.command(&["console"]);
    assert!(!String::from_utf8_lossy(&run.stderr).contains("the node runs"), "{run:?}");
    let binary = host.root().join("genesis/bin/geth");
    std::fs::write(&binary, "#!/bin/sh\necho other bytes\n").unwrap();
    let why = failed(&host.command(&["attach"]), 1);
    assert!(why.contains("nothing is executed") && why.contains("doctor"), "{why}");
}

/// A client that writes its arguments down, one a line, and ends with 5.
fn scribe() -> Host {
    let host = Host::new(&json!({}));
    let binary = host.root().join("genesis/bin/geth");
    std::fs::write(&binary, "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$DAEMON_HOME/said\"\nexit 5\n").unwrap();
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    host.settings(None, "stop", "20s");
    let path = host.root().join("wemixvisor.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace("stop = \"20s\"", "restart = \"never\"")).unwrap();
    host
}

#[test]
fn arguments_of_the_node_are_not_ours_to_read() {
    let host = scribe();
    let table: [(&[&str], &[&str]); 6] = [
        (&["run", "--http", "--unknown=1", "-x", "--", "a b", "", "run", "*"], &[]),
        (&["run", "--help", "--config", "x", "--version"], &[]),
        (&["--datadir", "/d", "--http.port=1", "run"], &["--datadir", "/d", "--http.port=1", "run"]),
        (&["start", "--foreground", "--http", "--wait", "-F"], &["--http", "--wait", "-F"]),
        (&["start", "-F", "--", "--foreground"], &["--foreground"]),
        (&["run"], &[""]),
    ];
    for (args, expected) in table {
        let expected = if expected.is_empty() { &args[1..] } else { expected };
        let output = host.command(args);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {output:?}");
        let path = host.folder.path().join("said");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", expected.join("\n")), "{args:?}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn logs_are_the_nodes_output() {
    let mut host = Host::new(&json!({"version": "1.0.0", "chatter_ms": 20}));
    host.settings(None, "leave", "20s");
    let log = host.root().join("node.log");
    assert!(failed(&host.command(&["logs"]), 1).contains("not been started yet"));
    host.start();
    let pid = host.healthy();
    wait("ten lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() >= 10).then_some(())
    });
    let tail = said(&host.command(&["logs", "--tail", "2"]));
    let numbers: Vec<u64> = tail.lines().map(|line| number(line, pid)).collect();
    assert_eq!((numbers.len(), numbers[0] + 1), (2, numbers[1]), "{tail}");
    assert!(said(&host.command(&["logs", "-n", "all"])).starts_with(&format!("line {pid} 0\n")));
    assert_eq!(said(&host.command(&["logs", "--path"])), format!("{}\n", log.display()));
    let mut command = Command::new(AGENT);
    command.args(["logs", "--follow", "-n", "1"]).stdout(Stdio::piped());
    command.env("DAEMON_HOME", host.folder.path()).env("DAEMON_NAME", "geth");
    let mut follow = command.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let first = number(&lines.next().unwrap().unwrap(), pid);
    // What the node says without its agent is not lost.
    host.kill_agent();
    for next in first + 1..first + 20 {
        assert_eq!(number(&lines.next().unwrap().unwrap(), pid), next);
    }
    // A reader that goes away ends the command.
    drop(lines);
    let ended = wait("the end of logs --follow", || follow.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}

fn number(line: &str, pid: u32) -> u64 {
    let rest = line.strip_prefix(&format!("line {pid} ")).unwrap_or_else(|| panic!("{line:?}"));
    rest.parse().unwrap()
}
