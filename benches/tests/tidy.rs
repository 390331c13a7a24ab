//! What text can check of the rules in docs/ARCHITECTURE.md and docs/development.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
use agent::config::{Flags, Settings};
use common::policy::PolicyFile;
use common::rollout::Reason;
use common::wire::v1::FaultCode;
use coordinator::config::Config;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIBLINGS: [&str; 6] = ["common", "indexer", "coordinator", "agent", "loadtest", "benches"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Files of the tree, from its root; those that are new and not ignored count, deleted ones do not.
fn tree() -> Vec<String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root()).output().expect("git");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).expect("UTF-8");
    let files: Vec<_> = text.lines().map(str::to_owned).filter(|f| root().join(f).is_file()).collect();
    assert!(files.len() > 50, "only {} files", files.len());
    files
}

fn ending<'a>(files: &'a [String], end: &'a str) -> impl Iterator<Item = &'a String> {
    files.iter().filter(move |f| f.ends_with(end))
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn dependencies(member: &str, table: &str) -> BTreeSet<String> {
    let manifest: toml::Table = read(&format!("{member}/Cargo.toml")).parse().expect("TOML");
    let table = manifest.get(table).and_then(|t| t.as_table());
    table.map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn crates_depend_as_drawn() {
    let allowed = |member: &str| -> &[&str] {
        match member {
            "indexer" | "agent" => &["common"],
            "coordinator" => &["common", "indexer"],
            "loadtest" => &["common", "indexer", "coordinator", "agent"],
            "benches" => &SIBLINGS,
            _ => &[],
        }
    };
    let mut faults = Vec::new();
    for member in SIBLINGS {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = dependencies(member, table);
            let siblings = names.iter().filter(|n| SIBLINGS.contains(&n.as_str()));
            let wrong = siblings.filter(|n| !allowed(member).contains(&n.as_str()));
            faults.extend(wrong.map(|n| format!("{member} [{table}] has {n}")));
        }
    }
    none(&faults);
    assert!(dependencies("coordinator", "dependencies").contains("indexer"), "the manifests are read");
}

#[test]
fn common_is_pure() {
    let banned =
        ["async ", "std::fs", "std::net", "std::process", "std::env", "SystemTime", "Instant", "HashMap"];
    let mut faults = Vec::new();
    for file in ending(&tree(), ".rs").filter(|f| f.starts_with("common/src/")) {
        for (at, line) in read(file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let words = banned.iter().filter(|w| code.contains(**w));
            faults.extend(words.map(|w| format!("{file}:{}: {w}", at + 1)));
        }
    }
    none(&faults);
}

#[test]
fn files_are_short() {
    let long = |f: &String| Some((f.clone(), read(f).lines().count())).filter(|(_, n)| *n > 450);
    let faults: Vec<_> = ending(&tree(), ".rs").filter_map(long).map(|(f, n)| format!("{f}: {n}")).collect();
    none(&faults);
}

/// Names in `text` that begin with one of ours and are no alert or file name.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
    words.filter(|w| w.starts_with("wemixfleet_") || w.starts_with("wemixvisor_")).collect()
}

#[test]
fn metrics_in_dashboards_exist() {
    let source = read("coordinator/src/metrics.rs") + &read("agent/src/metrics.rs");
    let real: BTreeSet<_> = source.split('"').filter(|w| metrics_in(w).contains(w)).collect();
    let (mut named, mut faults) = (0, Vec::new());
    let files = tree();
    for file in files.iter().filter(|f| f.starts_with("dashboards/")) {
        let text = read(file);
        for metric in metrics_in(&text) {
            named += 1;
            let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|end| metric.strip_suffix(end));
            if !real.contains(metric) && !parts.into_iter().any(|m| real.contains(m)) {
                faults.push(format!("{file}: {metric}"));
            }
        }
    }
    none(&faults);
    assert!(named > 20, "only {named} metrics are named");
}

#[test]
fn dashboards_are_complete() {
    let files = tree();
    let boards: Vec<_> = ending(&files, ".json").filter(|f| f.starts_with("dashboards/grafana/")).collect();
    assert!(boards.len() >= 4, "{boards:?}");
    let mut uids = BTreeSet::new();
    for file in boards {
        let board: serde_json::Value = serde_json::from_str(&read(file)).expect(file);
        assert!(uids.insert(board["uid"].to_string()), "{file}: the uid is taken");
        let panels = board["panels"].as_array().expect(file);
        let shows = |p: &serde_json::Value| p["targets"][0]["expr"].is_string() && p["title"].is_string();
        assert!(!panels.is_empty() && panels.iter().all(shows), "{file}");
        let odd = panels
            .iter()
            .map(|p| &p["fieldConfig"]["defaults"]["unit"])
            .find(|u| !u.is_null() && !u.is_string());
        assert!(odd.is_none(), "{file}: a unit is a word: {odd:?}");
    }
}

#[test]
fn samples_parse() {
    let files = tree();
    let (mut policies, mut faults) = (0, Vec::new());
    for file in files.iter().filter(|f| f.starts_with("config/")) {
        let text = read(file);
        let parsed = match file.as_str() {
            "config/wemixfleet.toml" => {
                Config::parse(&text, &root().join(file), |_| None).map(drop).map_err(|e| e.to_string())
            }
            _ if file == "config/wemixvisor.toml" || file.starts_with("config/templates/") => {
                let flags = Flags {
                    home: Some("/var/lib/node".into()),
                    name: Some("gstable".into()),
                    ..Flags::default()
                };
                Settings::parse(&text, &flags, &|_| None).map(drop).map_err(|e| e.to_string())
            }
            _ if file.ends_with(".toml") => {
                policies += 1;
                PolicyFile::parse(&text).map(drop).map_err(|e| format!("{e:?}"))
            }
            _ => Err("no test knows how to read it".to_owned()),
        };
        faults.extend(parsed.err().map(|e| format!("{file}: {e}")));
    }
    none(&faults);
    assert!(policies >= 4, "only {policies} policies");
    assert_eq!(read("config/wemixvisor.toml"), read("agent/src/config/sample.toml"));
}

#[test]
fn every_code_has_a_row() {
    let text = read("docs/operations.md");
    let codes = Reason::all_codes().iter().chain(FaultCode::all_codes());
    let missing = codes.filter(|code| !text.contains(&format!("\n| `{code}` |")));
    none(&missing.map(|code| format!("docs/operations.md has no row for {code}")).collect::<Vec<_>>());
}

/// Targets of `[text](target)` outside code blocks and code spans.
fn links(text: &str) -> Vec<String> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        if !fenced {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(str::to_owned));
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for file in ending(&tree(), ".md") {
        let folder = root().join(file).parent().expect("a folder").to_owned();
        for link in links(&read(file)) {
            let path = link.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !folder.join(path).exists() {
                faults.push(format!("{file}: {link}"));
            }
        }
    }
    none(&faults);
    assert_eq!(links("a [b](c.md#d) `[e](f)`\n```\n[g](h)\n```"), ["c.md#d"]);
}

#[test]
fn dependencies_are_explained() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let all = manifest["workspace"]["dependencies"].as_table().expect("a table");
    let text = read("docs/development.md");
    let (_, rows) = text.split_once("## Direct dependencies").expect("the section");
    let first = |row: &str| row.strip_prefix("| ").and_then(|r| r.split(" |").next()).map(str::to_owned);
    let named: BTreeSet<String> = rows
        .lines()
        .filter_map(first)
        .flat_map(|names| names.split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let missing = all.keys().filter(|n| !SIBLINGS.contains(&n.as_str()) && !named.contains(*n));
    none(&missing.map(|n| format!("docs/development.md has no row for {n}")).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_lying() {
    // In parts, so that this file does not hold them.
    let banned = [concat!("/wo", "rk/"), concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut faults = Vec::new();
    for file in tree() {
        let bytes = std::fs::read(root().join(&file)).expect(&file);
        let text = String::from_utf8_lossy(&bytes);
        for (at, line) in text.lines().enumerate() {
            let words = banned.iter().filter(|w| line.contains(**w));
            faults.extend(words.map(|w| format!("{file}:{}: {w}", at + 1)));
        }
    }
    none(&faults);
}
