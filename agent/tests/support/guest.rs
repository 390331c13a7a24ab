//! A home as another supervisor made it, without anything of ours, supervised by ours under the other's name.
use crate::support::release::release_bytes;
use crate::support::{AGENT, Host, wait};
use common::wire::v1::AgentPhase;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub struct Guest {
    pub host: Host,
    /// The supervisor's folder in the home.
    pub root: &'static str,
    /// What the program is called.
    pub program: &'static str,
}

impl Guest {
    /// A home of cosmovisor whose first release behaves as said; `current` is relative.
    pub fn cosmovisor(behaviour: &Value) -> Guest {
        Guest::new("cosmovisor", "cosmovisor", &release_bytes(behaviour))
    }

    /// A home with a first executable.
    pub fn new(root: &'static str, program: &'static str, first: &[u8]) -> Guest {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut host = Host { folder, agent: None, port, extra: Vec::new(), program: AGENT.into() };
        host.extra.push(("WEMIXVISOR_RPC".into(), format!("http://127.0.0.1:{port}")));
        host.extra.push(("DAEMON_POLL_INTERVAL".into(), "50ms".into()));
        let guest = Guest { host, root, program };
        std::fs::create_dir(guest.host.data()).unwrap();
        guest.put("genesis", first);
        guest.link(Path::new("genesis"));
        guest
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.host.extra.push((name.to_owned(), value.to_owned()));
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.host.folder.path().join(path)
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn text(&self, path: &str) -> String {
        let path = self.at(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Puts an executable into the folder of a release, as `genesis` or `upgrades/NAME`, with no right to run it.
    pub fn put(&self, release: &str, bytes: &[u8]) {
        let path = self.at(self.root).join(release).join("bin/geth");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let mode = if release == "genesis" { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// As [`Guest::put`], of a release that behaves as said.
    pub fn add(&self, release: &str, behaviour: &Value) {
        self.put(release, &release_bytes(behaviour));
    }

    pub fn link(&self, to: &Path) {
        let current = self.at(self.root).join("current");
        let _ = std::fs::remove_file(&current);
        std::os::unix::fs::symlink(to, current).unwrap();
    }

    /// What the link says, as it is.
    pub fn current(&self) -> String {
        let link = std::fs::read_link(self.at(self.root).join("current"));
        link.map_or_else(|e| e.to_string(), |l| l.display().to_string())
    }

    fn prepared(&self) -> Command {
        let mut command = Command::new(AGENT);
        command.arg0(self.program).env("DAEMON_HOME", self.at("")).env("DAEMON_NAME", "geth");
        command.envs(self.host.extra.iter().map(|(k, v)| (k, v)));
        command
    }

    pub fn command(&self, args: &[&str]) -> Output {
        self.prepared().args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// `run`, with the node's arguments and these; its standard output goes to a file.
    pub fn start(&mut self, more: &[&str]) {
        assert!(self.host.agent.is_none());
        let open =
            |name: &str| std::fs::OpenOptions::new().create(true).append(true).open(self.at(name)).unwrap();
        let mut command = self.prepared();
        command.arg("run").arg(self.host.data()).arg(self.host.port.to_string()).args(more);
        command.stdin(Stdio::null()).stdout(open("agent.out")).stderr(open("agent.log"));
        self.host.agent = Some(command.spawn().unwrap());
    }

    /// SIGTERM to the agent; it ends well.
    pub fn stop(&mut self) {
        self.host.signal_agent("TERM");
        assert_eq!(self.host.agent_ends(), Some(0));
    }

    /// Waits until a release runs, its upgrade is over, and the link says so.
    pub fn runs(&self, name: &str, link: &str) {
        wait(&format!("{name} to run"), || {
            let status = self.host.status()?;
            let running = status.report.running.as_ref()?.name.as_str() == name;
            let rest = status.report.phase == AgentPhase::Idle && status.plan.is_none();
            (running && rest && status.report.health.rpc_up).then_some(())
        });
        assert_eq!(self.current(), link);
    }

    /// Every file and link below the home: its mode, and its content or where it leads. What an agent that runs takes
    /// away meanwhile, as it does with files on their way to their names, is left out.
    pub fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.at("")];
        while let Some(folder) = open.pop() {
            for entry in still_there(std::fs::read_dir(&folder)).into_iter().flatten().flatten() {
                let path = entry.path();
                let Some(shown) = still_there(shown(&path)) else { continue };
                found.insert(path.strip_prefix(self.at("")).unwrap().to_owned(), shown);
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    open.push(path);
                }
            }
        }
        found
    }
}

/// `None` when it was taken away; everything else that is wrong fails the test.
fn still_there<T>(looked: std::io::Result<T>) -> Option<T> {
    match looked {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        looked => Some(looked.unwrap()),
    }
}

fn shown(path: &Path) -> std::io::Result<String> {
    let meta = path.symlink_metadata()?;
    Ok(if meta.is_symlink() {
        format!("-> {}", std::fs::read_link(path)?.display())
    } else if meta.is_file() {
        format!("{:o} {}", meta.mode() & 0o777, common::release::Digest::of(&std::fs::read(path)?))
    } else if meta.is_dir() {
        "folder".to_owned()
    } else {
        "special".to_owned()
    })
}
