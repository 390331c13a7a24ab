//! One home with its agent, and what is read off both.
use super::SuperviseSpec;
use super::node::{COMMAND, now_ns};
use crate::devnet::{free_ports, wait_until};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Name of the node's executable (`DAEMON_NAME`).
const DAEMON: &str = "node";
/// Everything that is waited for comes long before this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A home with an agent. Dropping it ends the agent; the node ends with the folder it runs from.
pub(super) struct Home {
    program: PathBuf,
    pub(super) path: PathBuf,
    child: Option<Child>,
}

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Resident {
    /// All of it.
    pub rss_kib: u64,
    /// What only this process has: heap and stacks.
    pub anon_kib: u64,
    /// What it shares with the page cache: its own text and libraries.
    pub file_kib: u64,
    /// The most it ever was.
    pub peak_kib: u64,
    /// Threads.
    pub threads: u64,
}

impl Home {
    /// A home around an executable of `binary_bytes` bytes.
    pub(super) fn make(spec: &SuperviseSpec, path: &Path) -> Result<Home> {
        let data = path.join("data");
        std::fs::create_dir_all(&data)?;
        let home = Home { program: spec.wemixvisor.clone(), path: path.to_owned(), child: None };
        let release = path.join("release");
        weigh(&release, spec.binary_bytes, b"genesis")?;
        home.command(&["init", &release.display().to_string()])?;
        let port = free_ports(1)?[0];
        let text = format!(
            "schema = 1\n[node]\nargs = [\"{COMMAND}\", \"{}\", \"{port}\", \"{}\"]\nrpc = \"http://127.0.0.1:{port}\"\n\
             [agent]\non_exit = \"stop\"\n",
            data.display(),
            spec.block.as_millis()
        );
        std::fs::write(path.join("wemixvisor/wemixvisor.toml"), text)?;
        Ok(home)
    }

    fn base(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("DAEMON_HOME", &self.path).env("DAEMON_NAME", DAEMON);
        // Backups have measures of their own.
        command.env("UNSAFE_SKIP_BACKUP", "true").stdin(Stdio::null());
        command
    }

    /// Runs a command of the agent.
    pub(super) fn command(&self, args: &[&str]) -> Result<()> {
        let out = self.base().args(args).output().context("starting wemixvisor")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "wemixvisor {}: {said}", args.join(" "));
        Ok(())
    }

    /// Starts `wemixvisor run`; the moment before the fork, in nanoseconds.
    pub(super) fn start(&mut self) -> Result<u128> {
        let log = std::fs::File::options().create(true).append(true).open(self.path.join("agent.log"))?;
        let mut command = self.base();
        command.arg("run").stdout(log.try_clone()?).stderr(log);
        let before = now_ns();
        self.child = Some(command.spawn().context("starting wemixvisor")?);
        Ok(before)
    }

    /// The agent's process id.
    pub(super) fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the agent does not run")?.id())
    }

    /// Sends SIGTERM to the agent and waits for its end; the moment it was gone, in nanoseconds.
    pub(super) async fn stop(&mut self) -> Result<u128> {
        let mut child = self.child.take().context("the agent does not run")?;
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no process id")?, rustix::process::Signal::TERM)?;
        let waited = tokio::task::spawn_blocking(move || -> (std::io::Result<Option<ExitStatus>>, u128) {
            let end = Instant::now() + PATIENCE;
            loop {
                match child.try_wait() {
                    Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_micros(200)),
                    Ok(None) => {
                        let _killed = child.kill();
                        let _reaped = child.wait();
                        return (Ok(None), now_ns());
                    }
                    other => return (other, now_ns()),
                }
            }
        });
        let (status, at) = waited.await?;
        match status? {
            Some(status) if status.success() => Ok(at),
            Some(status) => bail!("the agent ended with {status}:\n{}", self.log_tail()),
            None => bail!("the agent did not end within {PATIENCE:?}:\n{}", self.log_tail()),
        }
    }

    /// Nanoseconds of the node's events of one kind, oldest first.
    pub(super) fn events(&self, what: &str) -> Vec<u128> {
        let text = std::fs::read_to_string(self.path.join("data/events")).unwrap_or_default();
        let one = |line: &str| {
            let mut words = line.split(' ');
            (words.next()? == what).then(|| words.nth(1)?.parse().ok()).flatten()
        };
        text.lines().filter_map(one).collect()
    }

    /// Waits until there are `count` events of a kind; the newest of them.
    pub(super) async fn event(&self, what: &str, count: usize, within: Duration) -> Result<u128> {
        let waiting = format!("event {what} number {count} of the node");
        let found = wait_until(&waiting, within, || async {
            let events = self.events(what);
            events.get(count.checked_sub(1)?).copied()
        });
        found.await.with_context(|| self.log_tail())
    }

    /// Waits until the agent saw the node's RPC up.
    pub(super) async fn healthy(&self) -> Result<()> {
        let up = wait_until("the agent sees the node's RPC", PATIENCE, || async {
            let out = self.base().args(["status", "--output", "json"]).output().ok()?;
            let status: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
            (status.pointer("/report/health/rpc_up")? == true).then_some(())
        });
        up.await.with_context(|| self.log_tail())
    }

    /// Places the release `v2` and a plan for it at a height.
    pub(super) fn plan(&self, spec: &SuperviseSpec, height: u64) -> Result<()> {
        let bin = self.path.join("wemixvisor/upgrades/v2/bin");
        std::fs::create_dir_all(&bin)?;
        weigh(&bin.join(DAEMON), spec.binary_bytes, b"v2")?;
        let plan = serde_json::json!({"name": "v2", "height": height, "info": ""});
        let place = self.path.join("data/upgrade-info.json");
        let new = place.with_extension("new");
        std::fs::write(&new, plan.to_string())?;
        Ok(std::fs::rename(new, place)?)
    }

    /// Last lines of what the agent said.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.path.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// This program with padding up to `bytes`, and `mark` so that two releases differ.
fn weigh(path: &Path, bytes: u64, mark: &[u8]) -> Result<()> {
    let own = std::env::current_exe().context("this program has no path")?;
    std::fs::copy(&own, path).with_context(|| format!("copying {} to {}", own.display(), path.display()))?;
    let mut file = std::fs::File::options().append(true).open(path)?;
    let mut left = bytes.saturating_sub(file.metadata()?.len());
    let chunk = [0x5a_u8; 64 << 10];
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        file.write_all(&chunk[..now])?;
        left -= now as u64;
    }
    file.write_all(mark)?;
    Ok(file.sync_all()?)
}

/// Resident memory of a process.
pub(super) fn resident(pid: u32) -> Result<Resident> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} cannot be measured"))?;
    let number = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    let need = |key: &str| number(key).with_context(|| format!("{key} of process {pid}"));
    Ok(Resident {
        rss_kib: need("VmRSS:")?,
        anon_kib: need("RssAnon:")?,
        file_kib: need("RssFile:")?,
        peak_kib: need("VmHWM:")?,
        threads: need("Threads:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_what_the_kernel_says() {
        let own = resident(std::process::id()).unwrap();
        assert!(own.rss_kib >= own.anon_kib + own.file_kib && own.anon_kib > 0 && own.threads > 0);
        assert!(own.peak_kib >= own.rss_kib / 2);
        assert!(resident(u32::MAX).is_err());
    }

    #[test]
    fn a_release_weighs_what_was_asked_for_and_differs_from_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let own = std::fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
        weigh(&one, own + 100_000, b"1").unwrap();
        weigh(&two, own + 100_000, b"2").unwrap();
        assert_eq!(std::fs::metadata(&one).unwrap().len(), own + 100_001);
        assert_ne!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    }
}
