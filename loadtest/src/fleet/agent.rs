//! One agent process with its home.
use crate::devnet::DevNode;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An agent and its home. Dropping it kills the agent, not its node.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    /// The node's home (`DAEMON_HOME`).
    pub home: PathBuf,
    /// Name of the node.
    pub name: String,
    log: PathBuf,
    child: Option<Child>,
}

const DAEMON: &str = "devnode";

impl Agent {
    /// Makes a home around a release, with settings for a node of the network.
    ///
    /// # Errors
    /// When `wemixvisor init` refuses.
    pub fn init(program: &Path, home: &Path, node: &DevNode, release: &Path, on_exit: &str) -> Result<Agent> {
        std::fs::create_dir_all(home)?;
        let agent = Agent {
            program: program.to_owned(),
            home: home.to_owned(),
            name: node.name.to_string(),
            log: home.join("agent.log"),
            child: None,
        };
        agent.command(&["init", &release.display().to_string()])?;
        let argv: Vec<toml::Value> = node.argv.iter().cloned().map(toml::Value::String).collect();
        let settings = format!(
            "schema = 1\n[node]\nargs = {}\nrpc = \"{}\"\n[agent]\non_exit = \"{on_exit}\"\n",
            toml::Value::Array(argv),
            node.rpc_url
        );
        std::fs::write(home.join("wemixvisor/wemixvisor.toml"), settings)?;
        Ok(agent)
    }

    fn base(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("DAEMON_HOME", &self.home).env("DAEMON_NAME", DAEMON).stdin(Stdio::null());
        command
    }

    /// Runs a command of the agent and gives its output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        let out = self.base().args(args).output().context("starting wemixvisor")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "wemixvisor {} for {}: {said}", args.join(" "), self.name);
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Starts `wemixvisor run`.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let child = self.base().arg("run").stdout(log.try_clone()?).stderr(log).spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether the agent's process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// SIGKILL to the agent alone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _status = child.wait();
        }
    }

    /// What the agent said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill9();
    }
}
