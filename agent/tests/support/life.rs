//! Lives of agents beside a node, seen without starting a process for each look.
use super::{Host, wait};
use agent::ask::ask;
use agent::driver::{Answer, Request, Status};
use agent::home::Home;
use agent::host::files;
use agent::host::proc;
use common::release::Digest;
use common::wire::v1::{AgentPhase, ProcessState};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// Numbers that look random and are the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A process that another one with the same id is not.
pub fn identity(pid: u32) -> (u32, u64) {
    (pid, proc::stat(pid).unwrap_or_else(|| panic!("process {pid} is gone")).start_ticks)
}

impl Host {
    pub fn home(&self) -> Home {
        Home::new(self.folder.path().to_owned(), "geth".into())
    }

    /// What the running agent says.
    pub fn told(&self) -> Option<Box<Status>> {
        match ask(&self.home(), &Request::Status) {
            Ok(Answer::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// Waits until an agent has a running node, and gives that.
    pub fn running(&self) -> u32 {
        wait("an agent with a node", || match self.told()?.report.process {
            ProcessState::Running { pid, .. } => Some(pid),
            _ => None,
        })
    }

    /// Whether this release runs and its upgrade is over.
    pub fn has_come(&self, name: &str) -> Option<()> {
        let report = self.told()?.report;
        let rest = matches!(report.phase, AgentPhase::Idle | AgentPhase::Done);
        let there = report.running.is_some_and(|r| r.name.as_str() == name);
        (there && rest && report.health.rpc_up).then_some(())
    }

    /// How the agent ended, when it did.
    pub fn agent_signal(&mut self) -> Option<Option<i32>> {
        let status = self.agent.as_mut().unwrap().try_wait().unwrap()?;
        self.agent = None;
        Some(status.signal())
    }

    /// What the agents said, all of them.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The one node that runs, by the digest of the bytes that it was executed from.
    pub fn running_digest(&self) -> Digest {
        let nodes = self.nodes();
        assert_eq!(nodes.len(), 1, "{nodes:?} run");
        files::digest_of(&proc::exe(nodes[0])).unwrap()
    }

    /// Files of the home that were being written when somebody died.
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        unfinished(self.folder.path(), &mut found);
        found
    }
}

fn unfinished(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let partial = [".new", ".part", ".partial"].iter().any(|end| name.ends_with(end));
        if name.starts_with('.') && partial || path.parent().is_some_and(|p| p.ends_with("store/staging")) {
            found.push(path.clone());
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            unfinished(&path, found);
        }
    }
}
