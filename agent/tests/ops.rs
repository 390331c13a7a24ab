//! What an operator has on a host besides the supervisor itself: doctor, logs, metrics.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panic")]
mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{AGENT, Host, wait};

fn host() -> Host {
    let host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    host
}

/// A log of so many lines, rotated on the way.
fn write_log(host: &Host, lines: usize, rotate: bool) -> String {
    let path = host.root().join("node.log");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let mut all = String::new();
    for n in 0..lines {
        let line = format!("line {n} of the node\n");
        file.write_all(line.as_bytes()).unwrap();
        all += &line;
        if rotate && n % 1000 == 999 {
            agent::host::rotate::rotate_if_due(&path, 10_000, 100).unwrap();
        }
    }
    all
}

fn printed(host: &Host, args: &[&str]) -> String {
    let said = host.command(&[&["logs"], args].concat());
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn logs_are_printed_across_rotated_files_with_no_agent() {
    let host = host();
    let missing = host.command(&["logs"]);
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        !missing.status.success() && text.contains("node.log") && text.contains("not been started"),
        "{text}"
    );
    let all = write_log(&host, 5000, true);
    assert!(host.root().join("node.log.2").exists(), "nothing was rotated");
    let last = |count: usize| all.split_inclusive('\n').skip(5000 - count).collect::<String>();
    assert_eq!(printed(&host, &[]), last(100));
    assert_eq!(printed(&host, &["-n", "4000"]), last(4000));
    assert_eq!(printed(&host, &["--tail", "all"]), all);
    assert_eq!(printed(&host, &["--path"]).trim(), host.root().join("node.log").to_str().unwrap());
    assert_eq!(host.command(&["logs", "-n", "x"]).status.code(), Some(2));
}

fn follow(host: &Host, args: &[&str]) -> Child {
    let mut command = Command::new(AGENT);
    command.env("DAEMON_HOME", host.folder.path()).env("DAEMON_NAME", "geth").arg("logs").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn logs_follow_through_rotation_and_end_with_their_reader() {
    let host = host();
    write_log(&host, 10, false);
    let mut child = follow(&host, &["-f", "-n", "1"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "line 9 of the node");
    let all = write_log(&host, 4000, true);
    for wanted in all.lines() {
        assert_eq!(lines.next().unwrap().unwrap(), wanted);
    }
    assert!(host.root().join("node.log.2").exists(), "nothing was rotated");
    drop(lines);
    let status = wait("the end of the command", || child.try_wait().unwrap());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.is_empty(), "{status:?} {said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let host = host();
    write_log(&host, 200_000, false);
    let mut child = follow(&host, &["-n", "all"]);
    let mut first = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"line 0");
    let status = wait("the end of the command", || child.try_wait().unwrap());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.is_empty(), "{status:?} {said}");
}

fn doctor(host: &Host) -> (Option<i32>, Value) {
    let said = host.command(&["doctor", "-o", "json"]);
    (said.status.code(), serde_json::from_slice(&said.stdout).unwrap())
}

/// State and detail of a check.
fn check<'a>(said: &'a Value, name: &str) -> (&'a str, &'a str) {
    let checks = said["checks"].as_array().unwrap();
    let found = checks.iter().find(|c| c["check"] == name).unwrap_or_else(|| panic!("no {name}: {said:#}"));
    (found["state"].as_str().unwrap(), found["detail"].as_str().unwrap())
}

#[test]
fn doctor_finds_what_is_wrong_and_hints() {
    let mut host = host();
    let binary = |name: &str| host.root().join("upgrades").join(name).join("bin/geth");
    let install = |path: &Path, bytes: &[u8], mode: u32| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    install(&binary("good"), b"#!/bin/sh\n", 0o755);
    install(&binary("empty"), b"", 0o755);
    install(&binary("plain"), b"#!/bin/sh\n", 0o644);
    install(&binary("text"), b"hello there", 0o755);
    install(&host.root().join("fleet/agent.key"), b"key", 0o644);
    let (code, said) = doctor(&host);
    assert_eq!((code, said["ok"].as_bool()), (Some(1), Some(false)));
    for (name, state, part) in [
        ("clock", "ok", "plausible"),
        ("home", "ok", "flush"),
        ("executable", "ok", "genesis"),
        ("agent", "warn", "does not run"),
        ("node rpc", "fail", "does not answer"),
        ("upgrade good", "ok", "script"),
        ("upgrade empty", "fail", "empty"),
        ("upgrade plain", "fail", "not executable"),
        ("upgrade text", "fail", "neither"),
        ("keys", "fail", "agent.key"),
    ] {
        let (is, detail) = check(&said, name);
        assert!(is == state && detail.contains(part), "{name}: {is} {detail}");
    }
    for found in said["checks"].as_array().unwrap() {
        assert_eq!(found["state"] == "ok", found["hint"].is_null(), "{found}");
    }
    let left: Vec<_> = std::fs::read_dir(host.root()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().contains("doctor")), "{left:?}");
    for name in ["empty", "plain", "text"] {
        std::fs::remove_dir_all(host.root().join("upgrades").join(name)).unwrap();
    }
    std::fs::remove_dir_all(host.root().join("fleet")).unwrap();
    host.start();
    host.healthy();
    let (_, said) = doctor(&host);
    let wrong: Vec<_> = said["checks"].as_array().unwrap().iter().filter(|c| c["state"] == "fail").collect();
    assert!(wrong.iter().all(|c| c["check"] == "disk" || c["check"] == "home"), "{wrong:#?}");
    let pid = host.agent.as_ref().unwrap().id().to_string();
    assert!(check(&said, "agent").1.contains(&pid) && check(&said, "node rpc").1.contains("head"));
    let table = host.command(&["doctor"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("ok    node rpc: head"), "{table:?}");
}

#[test]
fn doctor_names_bytes_that_changed_and_a_link_that_leads_elsewhere() {
    let mut host = host();
    host.start();
    host.healthy();
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    let binary = host.root().join("genesis/bin/geth");
    std::fs::remove_file(&binary).unwrap();
    std::fs::write(&binary, "other").unwrap();
    std::fs::remove_file(host.root().join("current")).unwrap();
    let (code, said) = doctor(&host);
    assert_eq!(code, Some(1));
    assert!(
        check(&said, "executable").0 == "fail" && check(&said, "executable").1.contains("digest"),
        "{said:#}"
    );
    assert_eq!(check(&said, "current").0, "fail");
    std::fs::write(host.root().join("ledger.json"), "{").unwrap();
    let (_, said) = doctor(&host);
    assert!(check(&said, "ledger").0 == "fail" && check(&said, "ledger").1.contains("damaged"));
}

#[test]
fn metrics_are_served_while_the_node_runs() {
    let mut host = host();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    host.extra.push(("WEMIXVISOR_METRICS".into(), address.to_string()));
    host.start();
    host.healthy();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    assert!(get("/ready").starts_with("HTTP/1.1 200"));
    let page = get("/metrics");
    for line in
        ["wemixvisor_node_up 1", "wemixvisor_rpc_up 1", "wemixvisor_peers 3", "wemixvisor_restarts_total 0"]
    {
        assert!(page.lines().any(|l| l == line), "{line}: {page}");
    }
    assert!(page.contains("client_version=\"Scripted/1.0.0\"") && get("/x").starts_with("HTTP/1.1 404"));
}
