//! A home with a scripted node, and a coordinator in the test.
#![allow(dead_code, clippy::unwrap_used, reason = "every test file uses a part of it, and fails by panic")]
pub mod coordinator;
pub mod life;
pub mod release;

use agent::driver::Status;
use common::wire::v1::{AgentPhase, Fault, FaultCode};
use coordinator::Fleet;
use release::release_bytes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const AGENT: &str = env!("CARGO_BIN_EXE_wemixvisor");
/// Everything that is waited for comes long before this on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `look` gives something.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A home, its agent and its node. Everything it started is ended with it.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub agent: Option<Child>,
    pub port: u16,
    pub extra: Vec<(String, String)>,
    /// The agent's executable.
    pub program: PathBuf,
}

impl Host {
    /// A home whose genesis release behaves as said.
    pub fn new(behaviour: &Value) -> Host {
        Host::in_folder(tempfile::tempdir().unwrap(), behaviour)
    }

    /// As [`Host::new`], in a folder of one's own.
    pub fn in_folder(folder: tempfile::TempDir, behaviour: &Value) -> Host {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let host = Host { folder, agent: None, port, extra: Vec::new(), program: AGENT.into() };
        std::fs::create_dir_all(host.data()).unwrap();
        let binary = host.folder.path().join("install");
        std::fs::write(&binary, release_bytes(behaviour)).unwrap();
        let made = host.command(&["init", binary.to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        host
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("wemixvisor")
    }

    /// Settings: the fleet, and what else is to be said.
    pub fn settings(&self, fleet: Option<&Fleet>, on_exit: &str, stop: &str) {
        self.settings_and(fleet, on_exit, stop, "");
    }

    /// As [`Host::settings`], with further sections.
    pub fn settings_and(&self, fleet: Option<&Fleet>, on_exit: &str, stop: &str, more: &str) {
        let mut text = format!(
            "schema = 1\n[node]\nrpc = \"http://127.0.0.1:{}\"\nstop = \"{stop}\"\n[agent]\non_exit = \"{on_exit}\"\nlog = \"debug,hyper=info,reqwest=info\"\n",
            self.port
        );
        if let Some(fleet) = fleet {
            text +=
                &format!("[fleet]\nurl = \"{}\"\nnode = \"val-01\"\n[trust]\n{}\n", fleet.url, fleet.trust());
        }
        text += more;
        std::fs::write(self.root().join("wemixvisor.toml"), text).unwrap();
    }

    /// A home for plans: quick looks and deadlines, no backup unless asked for.
    pub fn plan_settings(&self, more: &str) {
        let upgrade = "[upgrade]\npoll = \"50ms\"\nhalted_after = \"1s\"\nstart_within = \"20s\"\nrpc_within = \"20s\"\n";
        let backup = if more.contains("[backup]") { "" } else { "[backup]\nbefore_upgrade = \"never\"\n" };
        let upgrade = if more.contains("[upgrade]") { "" } else { upgrade };
        self.settings_and(None, "stop", "20s", &format!("{upgrade}{backup}{more}"));
    }

    /// Puts the executable of an upgrade in its place.
    pub fn add(&self, name: &str, behaviour: &Value) -> Vec<u8> {
        let bytes = release_bytes(behaviour);
        let file = self.folder.path().join(format!("new-{name}"));
        std::fs::write(&file, &bytes).unwrap();
        let said = self.command(&["add-upgrade", name, file.to_str().unwrap()]);
        assert!(said.status.success(), "{said:?}");
        bytes
    }

    /// Writes the plan file as a chain does.
    pub fn plan(&self, text: &str) {
        std::fs::write(self.data().join("upgrade-info.json"), text).unwrap();
    }

    /// Waits until `name` runs and its upgrade is over.
    pub fn runs(&self, name: &str) {
        wait(&format!("{name} to run"), || {
            let status = self.status()?;
            let running = status.report.running.as_ref()?.name.as_str() == name;
            let rest = matches!(status.report.phase, AgentPhase::Idle | AgentPhase::Done);
            (running && rest && status.report.health.rpc_up && self.current() == name).then_some(())
        });
    }

    /// Waits for the fault.
    pub fn fault(&self, code: FaultCode) -> Fault {
        wait(&format!("the fault {code:?}"), || self.status()?.report.fault.filter(|f| f.code == code))
    }

    /// What the node was at when it was asked to stop or ended by itself.
    pub fn kept_head(&self) -> u64 {
        std::fs::read_to_string(self.data().join("head")).unwrap().parse().unwrap()
    }

    pub fn prepared(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("DAEMON_HOME", self.folder.path()).env("DAEMON_NAME", "geth");
        command.envs(self.extra.iter().map(|(k, v)| (k, v)));
        command
    }

    pub fn command(&self, args: &[&str]) -> Output {
        self.prepared().args(args).output().unwrap()
    }

    pub fn start(&mut self) {
        assert!(self.agent.is_none());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.prepared();
        command.arg("run").arg(self.data()).arg(self.port.to_string());
        self.agent = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }

    /// SIGKILL to the agent only.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn signal_agent(&self, name: &str) {
        let pid = self.agent.as_ref().unwrap().id();
        send(name, pid);
    }

    /// Waits for the end of the agent.
    pub fn agent_ends(&mut self) -> Option<i32> {
        let agent = self.agent.as_mut().unwrap();
        let ended = wait("the end of the agent", || agent.try_wait().unwrap());
        self.agent = None;
        ended.code()
    }

    pub fn status(&self) -> Option<Status> {
        let said = self.command(&["status", "--output", "json"]);
        serde_json::from_slice(&said.stdout).ok()
    }

    /// Waits until the node's RPC was seen up, and gives its process id.
    pub fn healthy(&self) -> u32 {
        wait("a healthy node", || {
            let status = self.status()?;
            if !status.report.health.rpc_up {
                return None;
            }
            match status.report.process {
                common::wire::v1::ProcessState::Running { pid, .. } => Some(pid),
                _ => None,
            }
        })
    }

    /// What the node wrote down of its lives.
    pub fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.data().join("events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn count(&self, what: &str) -> usize {
        self.events().iter().filter(|e| e.starts_with(what)).count()
    }

    /// Node processes of this home that live.
    pub fn nodes(&self) -> Vec<u32> {
        let data = self.data().display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let args: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
            args.get(1).is_some_and(|a| *a == data) && alive(*pid)
        })
        .collect()
    }

    /// Everything below the supervisor's folder that belongs to releases other than genesis.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["store", "upgrades"] {
            files(&self.root().join(folder), &mut found);
        }
        found
    }

    pub fn current(&self) -> String {
        let link = std::fs::read_link(self.root().join("current")).unwrap();
        link.file_name().unwrap().to_string_lossy().into_owned()
    }

    pub fn ledger(&self) -> common::machine::Ledger {
        agent::ledger::read(&self.root().join("ledger.json")).unwrap().unwrap()
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

pub fn alive(pid: u32) -> bool {
    agent::host::proc::stat(pid).is_some_and(|s| s.state != 'Z')
}

pub fn send(signal: &str, pid: u32) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(status.unwrap().success());
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        for pid in self.nodes() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        if std::thread::panicking() {
            eprintln!("--- agent\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
            eprintln!("--- node\n{:?}", self.events());
        }
    }
}
