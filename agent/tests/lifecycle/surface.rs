//! The command line itself: help, completions, manual, versions, words it does not know.
use crate::support::{AGENT, Host};
use crate::{failed, said};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

const COMMANDS: [&str; 25] = [
    "run",
    "start",
    "stop",
    "restart",
    "reload",
    "replace-agent",
    "exec",
    "init",
    "enroll",
    "status",
    "doctor",
    "config",
    "backup",
    "logs",
    "upgrade",
    "add-upgrade",
    "add-batch-upgrade",
    "prepare-upgrade",
    "show-upgrade-info",
    "version",
    "completions",
    "man",
    "upgrade schedule",
    "backup restore",
    "config migrate",
];

/// Without a home and without variables.
fn bare(args: &[&str]) -> Output {
    Command::new(AGENT).args(args).env_clear().output().unwrap()
}

#[test]
fn every_command_explains_itself_without_a_home() {
    let all = said(&bare(&["--help"]));
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').collect();
        assert!(all.contains(&format!("\n  {} ", words[0])), "{command}: {all}");
        let passes_on = ["run", "exec"].contains(&command);
        let args = if passes_on { vec!["help", command] } else { [&words[..], &["--help"]].concat() };
        let text = said(&bare(&args));
        assert!(text.contains(&format!("Usage: wemixvisor {command}")), "{command}: {text}");
    }
}

#[test]
fn unknown_words_are_refused_with_a_hint() {
    for (args, hint) in [
        (&["statsu"][..], "'status'"),
        (&["restat"], "'restart'"),
        (&["status", "--outptu", "json"], "'--output'"),
        (&["upgrade", "shedule"], "'schedule'"),
        (&["completions", "bosh"], "bash"),
    ] {
        let why = failed(&bare(args), 2);
        assert!(why.contains(hint) && why.contains("--help"), "{args:?}: {why}");
    }
    assert!(failed(&bare(&[]), 2).contains("Usage:"));
    // Without a home: what is missing is named, not guessed.
    for command in ["run", "start", "stop", "restart", "doctor"] {
        let why = failed(&bare(&[command]), 1);
        assert!(why.contains("DAEMON_HOME") && why.contains("DAEMON_NAME"), "{command}: {why}");
    }
}

#[test]
fn completions_and_manual_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = said(&bare(&["completions", shell]));
        for command in COMMANDS.iter().filter(|c| !c.contains(' ')) {
            assert!(text.contains(command), "{shell} does not know {command}");
        }
    }
    let page = said(&bare(&["man"]));
    assert!(page.contains(".TH wemixvisor 1") && page.contains("add\\-batch\\-upgrade"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    said(&bare(&["man", "--out", out.to_str().unwrap()]));
    for command in COMMANDS {
        let page = out.join(format!("wemixvisor-{}.1", command.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains(".SH NAME"), "{}: {text}", page.display());
    }
}

#[test]
fn versions_of_the_supervisor_and_of_the_node() {
    let own = env!("CARGO_PKG_VERSION");
    let host = Host::new(&json!({"version": "1.2.3"}));
    let by = |name: &str, args: &[&str]| {
        let mut command = Command::new(AGENT);
        command.arg0(name).args(args).env_clear();
        command.env("DAEMON_HOME", host.folder.path()).env("DAEMON_NAME", "geth");
        command.output().unwrap()
    };
    let node = "Scripted\nVersion: 1.2.3\n";
    assert_eq!(said(&by("wemixvisor", &["version"])), format!("wemixvisor {own}\n{node}"));
    assert_eq!(said(&by("wemixvisor", &["--version"])), format!("wemixvisor {own}\n"));
    assert_eq!(said(&by("wemixvisor", &["version", "--agent-only"])), format!("wemixvisor {own}\n"));
    let read = |output: Output| serde_json::from_str::<Value>(&said(&output)).unwrap();
    let both = json!({"wemixvisor_version": own, "app_version": node});
    assert_eq!(read(by("wemixvisor", &["version", "-o", "json"])), both);
    let name = "/usr/local/bin/cosmovisor";
    let ours = format!("wemixvisor {own}\ncosmovisor version: {own} (wemixvisor)\n");
    assert_eq!(said(&by(name, &["version"])), format!("{ours}{node}"));
    assert_eq!(said(&by(name, &["version", "--cosmovisor-only"])), ours);
    let json = read(by(name, &["version", "--output", "json", "--cosmovisor-only"]));
    assert_eq!(json, json!({"cosmovisor_version": own}));
    // As cosmovisor the node's version was asked for, and a home that is not said is an error.
    let mut command = Command::new(AGENT);
    let lost = command.arg0("cosmovisor").arg("version").env_clear().output().unwrap();
    assert_eq!(lost.status.code(), Some(1), "{lost:?}");
    assert!(String::from_utf8_lossy(&lost.stderr).contains("DAEMON_NAME"), "{lost:?}");
    assert_eq!(said(&bare(&["version"])), format!("wemixvisor {own}\n"));
}
