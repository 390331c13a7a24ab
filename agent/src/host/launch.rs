//! How a node comes to be. The agent takes the node's lock and executes itself a second time, which
//! inherits the lock; that second life leads a session of its own, checks the digest, writes the process
//! record, and then becomes the node by exec, with the same process id and start time.
//!
//! So the record is there before the node runs, whenever the agent dies; and the lock, which is held
//! without a gap from before the fork to the node's end, makes a second node impossible.
use super::files::Checked;
use super::{cgroup, files, proc};
use crate::clock;
use common::release::Digest;
use common::time::{Span, UnixMs};
use rustix::io::fcntl_dupfd_cloexec;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// First argument of the second life.
pub const COMMAND: &str = "__launch";

/// What is to be executed, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// The executable, without links on the way.
    pub exe: PathBuf,
    /// What its digest must be.
    pub digest: Digest,
    /// What was hashed a moment ago, so that the node is not waited for longer than it must be.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working folder.
    pub folder: PathBuf,
    /// Takes its output; `None`: it has the agent's own.
    pub log: Option<PathBuf>,
    /// The control group it is put in.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Takes the process record.
    pub record: PathBuf,
}

/// Which process is the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Process id, also the id of its session.
    pub pid: u32,
    /// When it started, in clock ticks since boot; tells a reused process id.
    pub start_ticks: u64,
    /// The boot it belongs to.
    pub boot_id: String,
    /// When it was executed, by the host's clock.
    pub since: UnixMs,
    /// Digest checked right before the exec.
    pub digest: Digest,
    /// Device of the executable.
    pub device: u64,
    /// Inode of the executable.
    pub inode: u64,
    /// Whether it is a script, so that the process shows its interpreter.
    #[serde(default)]
    pub script: bool,
    /// Its control group, when it has one of its own.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// When it was decided to send its one SIGTERM.
    #[serde(default)]
    pub stopping: Option<UnixMs>,
    /// The same as time since the machine was started, which nobody sets: what is left of the stop's limit.
    #[serde(default)]
    pub stopping_from: Option<Span>,
    /// Whether that was sent.
    #[serde(default)]
    pub asked: bool,
}

impl Record {
    /// Reads the record of a home; anything unreadable is no record.
    pub fn read(path: &Path) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Replaces the record of a home. Not flushed: it is about processes, which a power cut ends as well.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = files::beside(path);
        let written = std::fs::write(&new, serde_json::to_vec(self)?);
        written.and_then(|()| std::fs::rename(&new, path))
    }
}

/// Why the node was not executed.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error("the order cannot be read: {0}")]
    Order(serde_json::Error),
    #[error("{path} has digest {found}, expected {expected}")]
    Digest { path: PathBuf, found: Digest, expected: Digest },
    #[error("{0} was replaced while it was checked")]
    Replaced(PathBuf),
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

/// Becomes the node; returns only when that fails, after saying why into the pipe that is its standard input.
pub fn become_node(order: &str) -> ExitCode {
    // The agent reads this pipe: nothing and end-of-file means that the exec succeeded.
    let Ok(pipe) = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return ExitCode::FAILURE };
    let Err(error) = launch(order);
    let prefix = if matches!(error, LaunchError::Digest { .. }) { "digest: " } else { "" };
    let _ = writeln!(File::from(pipe), "{prefix}{error}");
    ExitCode::FAILURE
}

/// Nothing to read, and its output where it belongs.
fn redirect<F: FnOnce(io::Error) -> LaunchError>(
    log: Option<&Path>,
    io: &impl Fn(&'static str, &Path) -> F,
) -> Result<(), LaunchError> {
    let null = Path::new("/dev/null");
    let nothing = File::open(null).map_err(io("opening", null))?;
    rustix::stdio::dup2_stdin(&nothing).map_err(|e| io("reading from", null)(e.into()))?;
    let Some(path) = log else { return Ok(()) };
    let log = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    let log = log.map_err(io("opening", path))?;
    rustix::stdio::dup2_stdout(&log).map_err(|e| io("writing to", path)(e.into()))?;
    rustix::stdio::dup2_stderr(&log).map_err(|e| io("writing to", path)(e.into()))
}

fn launch(order: &str) -> Result<std::convert::Infallible, LaunchError> {
    let order: Launch = serde_json::from_str(order).map_err(LaunchError::Order)?;
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| LaunchError::Io { what, path, source }
    };
    let _ = rustix::process::setsid();
    let mut file = File::open(&order.exe).map_err(io("opening", &order.exe))?;
    let before = file.metadata().map_err(io("looking at", &order.exe))?;
    let found = match order.checked.as_ref().and_then(|c| c.digest(&before)) {
        Some(digest) => digest,
        None => files::digest(&file).map_err(io("reading", &order.exe))?,
    };
    if found != order.digest {
        return Err(LaunchError::Digest { path: order.exe, found, expected: order.digest });
    }
    let checked = file.metadata().map_err(io("looking at", &order.exe))?;
    executable(&order.exe, &checked);
    let mut first = [0; 2];
    file.rewind().and_then(|()| file.read(&mut first)).map_err(io("reading", &order.exe))?;
    let pid = std::process::id();
    let record = Record {
        pid,
        start_ticks: proc::stat(pid).map_or(0, |s| s.start_ticks),
        boot_id: proc::boot_id(),
        since: clock::now(),
        digest: found,
        device: checked.dev(),
        inode: checked.ino(),
        script: &first == b"#!",
        cgroup: joined(order.cgroup.as_deref()),
        stopping: None,
        stopping_from: None,
        asked: false,
    };
    record.write(&order.record).map_err(io("writing", &order.record))?;
    redirect(order.log.as_deref(), &io)?;
    let now = std::fs::metadata(&order.exe).map_err(io("looking at", &order.exe))?;
    let same = |m: &std::fs::Metadata| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec());
    let error = if same(&now) == same(&checked) {
        let source = Command::new(&order.exe).args(&order.args).current_dir(&order.folder).exec();
        io("executing", &order.exe)(source)
    } else {
        LaunchError::Replaced(order.exe.clone())
    };
    let _ = std::fs::remove_file(&order.record);
    Err(error)
}

/// Sets executable bits that are missing, as the incumbents do; where that fails, the exec says so.
fn executable(path: &Path, found: &std::fs::Metadata) {
    if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
        let _ =
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(found.mode() & 0o7777 | 0o111));
    }
}

/// The control group this process is in now; the session has to do where that fails.
fn joined(group: Option<&Path>) -> Option<PathBuf> {
    let group = group?;
    cgroup::join(group).ok()?;
    Some(group.to_owned())
}
