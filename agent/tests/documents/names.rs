//! What the documents name: commands and flags, settings, messages.
use super::support::AGENT;
use super::{read, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Documents about one node, as far as they are there.
const DOCUMENTS: [&str; 9] = [
    "README.md",
    "docs/user-guide.md",
    "docs/migration-cosmovisor.md",
    "docs/migration-wemixvisor.md",
    "docs/troubleshooting.md",
    "docs/configuration.md",
    "docs/plans.md",
    "docs/backup.md",
    "docs/monitoring.md",
];
/// Commands of the chain client that are handed on.
const CLIENTS: [&str; 2] = ["attach", "account"];

fn documents() -> Vec<(&'static str, String)> {
    let there = DOCUMENTS.into_iter().filter(|d| root().join(d).is_file());
    there.map(|d| (d, read(d))).collect()
}

/// Code spans, and lines of shell blocks.
fn code(text: &str) -> Vec<String> {
    let (mut found, mut fence) = (Vec::new(), None);
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind.starts_with("sh") || kind.is_empty()) };
        } else if fence == Some(true) {
            found.push(line.split(" #").next().unwrap_or_default().trim().to_owned());
        } else if fence.is_none() {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Help texts by command, asked for once.
struct Help(BTreeMap<String, String>);

impl Help {
    fn of(&mut self, command: &str) -> &str {
        self.0.entry(command.to_owned()).or_insert_with(|| {
            let words = command.split(' ').filter(|w| !w.is_empty());
            let said = Command::new(AGENT).arg("help").args(words).output().unwrap();
            String::from_utf8(said.stdout).unwrap()
        })
    }

    fn has_command(&mut self, above: &str, word: &str) -> bool {
        let listed = |line: &str| line.split_whitespace().next() == Some(word) && line.starts_with("  ");
        let alias = format!("alias: {word}");
        self.of(above).lines().any(|line| listed(line) || line.contains(&alias))
    }

    fn has_flag(&mut self, command: &str, flag: &str) -> bool {
        let text = self.of(command);
        text.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag)
    }

    /// What is wrong with a command line, if anything.
    fn judge(&mut self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace().map(|w| w.trim_matches(['"', ')', ',', ';', '.']));
        let mut command = String::new();
        let first = words.next()?;
        if !self.has_command("", first) && first != "help" {
            let plain = first.starts_with('-') || CLIENTS.contains(&first) || first.contains('…');
            return (!plain).then(|| format!("there is no command {first}"));
        }
        command += first;
        let mut rest: Vec<&str> = words.collect();
        if ["[COMMAND]", "<COMMAND>"].iter().any(|form| self.of(&command).contains(form))
            && let Some(second) =
                rest.first().copied().filter(|w| w.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            if !self.has_command(&command, second) {
                return Some(format!("{command} has no command {second}"));
            }
            command += &format!(" {second}");
            rest.remove(0);
        }
        // What follows these belongs to the chain client.
        if ["run", "exec", "start"].contains(&first) {
            return None;
        }
        let flags = rest.iter().filter(|w| w.len() > 1 && w.starts_with('-'));
        let mut flags = flags.map(|w| w.split('=').next().unwrap_or_default());
        flags
            .find(|flag| !self.has_flag(&command, flag))
            .map(|flag| format!("`{command}` has no flag {flag}"))
    }
}

#[test]
fn every_command_and_flag_exists() {
    let (mut help, mut faults, mut judged) = (Help(BTreeMap::new()), Vec::new(), BTreeSet::new());
    for (document, text) in documents() {
        for line in code(&text) {
            let ours = line.split("wemixvisor ").skip(1).filter(|_| line.starts_with("wemixvisor "));
            for command in ours.map(str::trim).filter(|c| !c.is_empty()) {
                judged.insert(command.to_owned());
                faults.extend(help.judge(command).map(|why| format!("{document}: `{line}`: {why}")));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(judged.len() > 60, "only {} commands were found", judged.len());
    for (line, wrong) in [
        ("status -o json", false),
        ("upgrade status", false),
        ("backup prune --keep 3", false),
        ("statsu", true),
        ("upgrade undo", true),
        ("stop --now", true),
    ] {
        assert_eq!(help.judge(line).is_some(), wrong, "{line}");
    }
}

#[test]
fn every_setting_exists() {
    let sample = read("config/wemixvisor.toml");
    let (mut section, mut keys) = ("", BTreeSet::new());
    for line in sample.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        }
        let name = line.strip_prefix("# ").and_then(|l| l.split_once(" = ")).map(|(name, _)| name);
        keys.extend(name.map(|name| format!("[{section}] {name}")));
    }
    let sections: BTreeSet<&str> = keys.iter().filter_map(|k| k.split(' ').next()).collect();
    let (mut faults, mut named) = (Vec::new(), 0);
    for (document, text) in documents() {
        for span in code(&text) {
            let Some((section, rest)) = span.split_once(' ').filter(|(s, _)| sections.contains(s)) else {
                continue;
            };
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            let key = rest.split(|c| !word(c)).next().unwrap_or_default();
            named += 1;
            let older = (section, key) == ("[agent]", "log");
            if !older && !keys.contains(&format!("{section} {key}")) {
                faults.push(format!("{document}: `{span}`"));
            }
        }
    }
    assert!(faults.is_empty(), "no such settings:\n{}", faults.join("\n"));
    assert!(named > 60 && keys.len() > 80, "{named} of {}", keys.len());
}

/// All our sources, without what breaks a text into lines, and with `…` for what is put into a text.
fn sources() -> String {
    let mut text = String::new();
    let mut folders = vec![root().join("agent/src"), root().join("common/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                text += &joined(&path);
            }
        }
    }
    text
}

fn joined(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let mut out = String::new();
    while let Some(mut line) = lines.next() {
        while let Some(begun) = line.strip_suffix('\\') {
            out += begun;
            line = lines.next().unwrap_or_default().trim_start();
        }
        out += &format!("{line}\n");
    }
    out.replace("\\\"", "\"")
}

#[test]
fn every_message_is_printed_somewhere() {
    let sources = sources();
    let (mut faults, mut found) = (Vec::new(), 0);
    for (document, from) in [("docs/troubleshooting.md", "## The agent"), ("docs/backup.md", "## Messages")] {
        let text = read(document);
        let (_, tables) = text.split_once(from).unwrap();
        for row in tables.lines().filter_map(|line| line.strip_prefix("| `")) {
            let cell = row.split(" | ").next().unwrap_or_default();
            let spans = cell.split('`').step_by(2);
            for piece in spans.flat_map(|span| span.split('…')).map(str::trim) {
                let piece = piece.trim_matches([';', ':', '(', ')', ',', ' ']);
                found += usize::from(piece.len() > 7);
                if piece.len() > 7 && !sources.contains(piece) {
                    faults.push(format!("{document}: {piece:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "nobody prints these:\n{}", faults.join("\n"));
    assert!(found > 100, "only {found} messages were found");
}

#[test]
fn every_wait_has_a_row() {
    use agent::driver::PlanReason::{CoordinatorFirst, FailedHere, FleetDecides, Staging};
    use common::machine::HeightWait;
    let reasons =
        [FleetDecides, CoordinatorFirst, FailedHere, Staging].map(|r| serde_json::to_value(r).unwrap());
    let heights = [HeightWait::HeightAhead { height: 2, head: 1 }, HeightWait::HeadUnknown { height: 2 }];
    let heights = heights.map(|h| serde_json::to_value(h).unwrap()["reason"].clone());
    let text = read("docs/operations.md");
    for code in reasons.iter().chain(&heights) {
        let code = code.as_str().unwrap();
        assert!(text.contains(&format!("\n| `{code}` |")), "docs/operations.md has no row for {code}");
    }
}
