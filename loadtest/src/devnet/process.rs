//! Child processes: they end with us, however we end.
use super::error::DevnetError;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if that ended it.
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

/// Starts any program through the devnode's hidden command, so that the kernel ends it when we end.
pub(super) fn tied_to_us(node_binary: &Path, argv: &[OsString], log: File) -> Result<Child, DevnetError> {
    let mut command = Command::new(node_binary);
    command.arg("exec-with-parent").arg("--").args(argv);
    spawn(command, node_binary, log)
}

/// Starts a program in its own process group, so that Ctrl-C on a terminal reaches us only and the end is orderly.
pub(super) fn spawn(mut command: Command, program: &Path, log: File) -> Result<Child, DevnetError> {
    let failed = |source| DevnetError::Start { program: program.to_owned(), source };
    let log_too = log.try_clone().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match command.spawn() {
            // A file just written may still be open for writing in a child that another thread is starting.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.map_err(failed),
        }
    }
}

/// Sends a signal to a child that was not waited for yet.
pub(super) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(kill_process(pid, signal)?)
}
