//! Becoming another agent: the executable on the disk takes over, with the same process id and the same node.
use super::Driver;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a new agent may take to say its version before it is not believed to work.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

impl Driver {
    /// Whether the executable that stands where this one came from works; its version.
    pub(super) fn check_successor(&self) -> Result<String, String> {
        let program = &self.parts.program;
        let said = version_of(program)?;
        tracing::info!(program = %program.display(), said, "the next agent");
        Ok(said)
    }

    /// Becomes the executable on the disk, with the same arguments and process id: the node stays this process's
    /// child. Returns only when that fails; the node is then without an agent until a service manager starts one.
    pub(super) fn become_successor(&self) -> anyhow::Error {
        tracing::info!(program = %self.parts.program.display(), "handing over");
        let error = {
            // By the same name: `cosmovisor` stays `cosmovisor`.
            let mut args = std::env::args_os();
            let called = args.next().unwrap_or_else(|| self.parts.program.clone().into());
            Command::new(&self.parts.program).arg0(called).args(args).exec()
        };
        anyhow::anyhow!(
            "becoming {}: {error}; the node goes on without an agent",
            self.parts.program.display()
        )
    }
}

/// What `<program> version` prints, in its first line.
fn version_of(program: &Path) -> Result<String, String> {
    let failed = |why: String| format!("`{} version` {why}", program.display());
    let child = Command::new(program)
        .args(["version", "--agent-only"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(format!("does not run: {e}")))?;
    let mut child = child;
    let end = std::time::Instant::now() + VERSION_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if std::time::Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("did not end in time".to_owned()));
            }
            Err(e) => return Err(failed(format!("was lost: {e}"))),
        }
    }
    let output = child.wait_with_output().map_err(|e| failed(format!("was lost: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
    if output.status.success() && text.starts_with("wemixvisor ") {
        Ok(text.chars().take(100).collect())
    } else {
        Err(failed(format!("ended with {} and said {text:?}", output.status)))
    }
}

/// Where this program was started from. When its file is replaced, the kernel marks the old one as deleted; the
/// path without the mark is where the new one is.
pub fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}
