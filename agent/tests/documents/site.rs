//! A host on which a document is followed: a home, the executables the document names, a PATH.
use super::read;
use super::support::release::release_bytes;
use super::support::{AGENT, alive, wait};
use agent::host::launch::Record;
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Where the home is in the documents.
const DOCUMENTED_HOME: &str = "/var/lib/geth";

/// One host. Everything that was started on it is ended with it.
pub struct Site {
    folder: tempfile::TempDir,
    name: String,
    port: u16,
}

/// What a document asks for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Run these lines; the number is that of the first one.
    Run(usize, String),
    /// Wait until this release runs and its upgrade is over.
    Runs(String),
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut block, line) {
            (None, "```sh test") => block = Some((at + 2, String::new())),
            (Some(_), "```") => steps.extend(block.take().map(|(at, lines)| Step::Run(at, lines))),
            (Some((_, lines)), line) => *lines += &format!("{line}\n"),
            (None, line) => {
                let name = line.strip_prefix("<!-- runs: ").and_then(|l| l.strip_suffix(" -->"));
                steps.extend(name.map(|name| Step::Runs(name.to_owned())));
            }
        }
    }
    assert!(block.is_none() && !steps.is_empty(), "{steps:?}");
    steps
}

impl Site {
    pub fn new(name: &str) -> Site {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let site = Site { folder: tempfile::tempdir().unwrap(), name: name.to_owned(), port };
        std::fs::create_dir_all(site.path("bin")).unwrap();
        for name in ["wemixvisor", "cosmovisor"] {
            symlink(AGENT, site.path("bin").join(name)).unwrap();
        }
        site
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn text(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
    }

    /// An executable that takes geth's arguments: the scripted node, told where it lives.
    pub fn put_release(&self, relative: &str, version: &str) {
        let node = self.path(&format!("nodes/{version}"));
        std::fs::create_dir_all(node.parent().unwrap()).unwrap();
        std::fs::write(&node, release_bytes(&json!({"version": version}))).unwrap();
        let (node_path, data, port) = (node.display(), self.path("home/data"), self.port);
        let script = format!(
            "#!/bin/sh\ncase \"${{1-}}\" in version|attach|pre-upgrade) exec {node_path} \"$@\";; esac\nexec {node_path} {} {port}\n",
            data.display()
        );
        self.write(relative, &script);
        for path in [node, self.path(relative)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// One that lies in the working folder.
    pub fn release_file(&self, name: &str, version: &str) {
        self.put_release(name, version);
    }

    /// A home as another supervisor leaves it.
    pub fn home_of(&self, folder: &str, version: &str) {
        self.put_release(&format!("home/{folder}/genesis/bin/{}", self.name), version);
        std::fs::create_dir_all(self.path("home/data")).unwrap();
        self.point(folder, "genesis");
    }

    /// Points `current` to a release.
    pub fn point(&self, folder: &str, to: &str) {
        let link = self.path(&format!("home/{folder}/current"));
        let _ = std::fs::remove_file(&link);
        symlink(to, link).unwrap();
    }

    /// Does what a document says.
    pub fn follow(&self, document: &str) {
        for step in steps(&read(document)) {
            match step {
                Step::Run(line, block) => {
                    let said = self.shell(&block);
                    assert!(said.status.success(), "{document}:{line}: {}\n{block}{said:?}", said.status);
                }
                Step::Runs(name) => wait(&format!("{document}: {name} to run"), || self.runs(&name)),
            }
        }
    }

    fn shell(&self, block: &str) -> Output {
        let block = block.replace(DOCUMENTED_HOME, &self.path("home").display().to_string());
        // A PATH of its own before the usual one; nothing of the caller's settings.
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-eu", "-c", &block]).current_dir(self.folder.path()).env_clear();
        command.env("PATH", path).env("DAEMON_HOME", self.path("home")).env("DAEMON_NAME", &self.name);
        command.env("WEMIXVISOR_RPC", format!("http://127.0.0.1:{}", self.port));
        command.output().unwrap()
    }

    fn runs(&self, name: &str) -> Option<()> {
        let said = self.shell("wemixvisor status -o json");
        let status: Value = serde_json::from_slice(&said.stdout).ok()?;
        let report = &status["report"];
        let rest = matches!(report["phase"].as_str()?, "idle" | "done");
        (rest && report["running"]["name"] == name && report["health"]["rpc_up"] == true).then_some(())
    }

    fn root(&self) -> PathBuf {
        let theirs = self.path("home/cosmovisor");
        if theirs.is_dir() { theirs } else { self.path("home/wemixvisor") }
    }

    pub fn current(&self) -> String {
        std::fs::read_link(self.root().join("current")).unwrap().display().to_string()
    }

    pub fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("home/data/events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Node processes that live.
    pub fn nodes(&self) -> Vec<u32> {
        let started = self.events().into_iter().filter_map(|e| {
            let words: Vec<&str> = e.split(' ').collect();
            (words[0] == "started").then(|| words[2].parse::<u32>().ok())?
        });
        let ours = self.path("nodes").display().to_string();
        let runs_ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).starts_with(&ours) && alive(*pid)
        };
        started.filter(runs_ours).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The agent that `start` put into the background has its id in the lock, as long as it holds it.
        let pid = std::fs::read_to_string(self.root().join("lock")).unwrap_or_default();
        let agent = pid.trim().parse::<u32>().ok().filter(|pid| {
            let home = std::fs::read_link(format!("/proc/{pid}/cwd"));
            home.is_ok_and(|folder| folder == self.root().canonicalize().unwrap_or_default())
        });
        let node = Record::read(&self.root().join("process.json")).map(|r| r.pid);
        let node = node.filter(|pid| self.nodes().contains(pid));
        for pid in agent.into_iter().chain(node).chain(self.nodes()) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.root().join("agent.log")).unwrap_or_default();
            eprintln!("--- agent\n{log}\n--- node\n{:?}", self.events());
        }
    }
}

#[test]
fn blocks_and_waits_are_found_in_order() {
    let text = "a\n```sh\nno\n```\n```sh test\nx\ny\n```\n<!-- runs: v2 -->\n```sh test\nz\n```\n";
    let expected = [Step::Run(6, "x\ny\n".into()), Step::Runs("v2".into()), Step::Run(11, "z\n".into())];
    assert_eq!(steps(text), expected);
}
