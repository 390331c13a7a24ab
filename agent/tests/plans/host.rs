//! A home without a node, and the commands that work on it.
use common::release::Digest;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home with a first release.
pub struct Host {
    folder: tempfile::TempDir,
    root: &'static str,
    program: &'static str,
}

impl Host {
    pub fn new(root: &'static str) -> Host {
        let host = Host::empty(root);
        host.write(&format!("{root}/genesis/bin/geth"), "genesis");
        host.link("genesis");
        std::fs::create_dir(host.path("data")).unwrap();
        host
    }

    /// Nothing but a folder.
    pub fn empty(root: &'static str) -> Host {
        Host { folder: tempfile::tempdir().unwrap(), root, program: "wemixvisor" }
    }

    pub fn called(mut self, program: &'static str) -> Host {
        self.program = program;
        self
    }

    pub fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.folder.path().to_owned() } else { self.folder.path().join(path) }
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn mode(&self, path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// A file outside of the home's folders that is not executable.
    pub fn executable(&self, name: &str, text: &str) -> String {
        let path = self.write(name, text);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        path.display().to_string()
    }

    /// Points `current` somewhere.
    pub fn link(&self, target: impl AsRef<Path>) {
        let current = self.path(self.root).join("current");
        let _ = std::fs::remove_file(&current);
        std::os::unix::fs::symlink(target, current).unwrap();
    }

    /// A release that came by a plan and runs.
    pub fn applied(&self, name: &str, height: u64) {
        self.write(&format!("{}/upgrades/{name}/bin/geth", self.root), name);
        let plan = format!(r#"{{"name":"{name}","time":"0001-01-01T00:00:00Z","height":{height}}}"#);
        self.write(&format!("{}/upgrades/{name}/upgrade-info.json", self.root), &plan);
        self.link(format!("upgrades/{name}"));
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.prepared(args)
            .env("DAEMON_HOME", self.folder.path())
            .env("DAEMON_NAME", "geth")
            .output()
            .unwrap()
    }

    /// As [`Host::run`] without anything that says where the home is.
    pub fn prepared(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wemixvisor"));
        for (key, _) in std::env::vars() {
            if ["DAEMON_", "COSMOVISOR_", "WEMIXVISOR_"].iter().any(|p| key.starts_with(p)) {
                command.env_remove(key);
            }
        }
        command.arg0(self.program).args(args).stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    /// What `upgrade list` says.
    pub fn list(&self) -> Value {
        serde_json::from_str(&said(&self.run(&["upgrade", "list", "-o", "json"]))).unwrap()
    }

    pub fn plans(&self) -> Vec<Value> {
        self.list()["plans"].as_array().unwrap().clone()
    }
}

/// What a command that succeeds prints.
pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that fails complains about; it prints nothing else.
pub fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}
