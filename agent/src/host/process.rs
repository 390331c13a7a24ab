//! The node process: started, watched, stopped. Never killed because the agent ends.
use super::files::Checked;
use super::launch::{COMMAND, Launch, Record};
use super::{cgroup, lock, proc};
use crate::clock;
use crate::home::Home;
use common::release::InstalledRelease;
use common::wire::v1::{Fault, FaultCode};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

/// How long the way from fork to exec may take; the digest of the executable is computed in it.
const EXEC_WITHIN: Duration = Duration::from_secs(60);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was started by an agent before this one, so nobody can tell.
    Unknown,
}

impl Exit {
    /// The exit code of an agent that ends because of it: the node's own, 128 + n for a signal.
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
            Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
            Exit::Unknown => 1,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
            Exit::Unknown => f.write_str("ended, status unknown"),
        }
    }
}

/// A node process that runs.
#[derive(Debug, Clone)]
pub struct Node {
    /// Which process it is.
    pub record: Record,
    fd: Arc<OwnedFd>,
    /// Its lock's file.
    lock: Arc<Path>,
    asked: Arc<AtomicBool>,
}

impl Node {
    /// Watches the process of a record in a home.
    ///
    /// # Errors
    /// When it is gone, or its id belongs to another process now.
    pub fn watch(record: Record, home: &Home) -> io::Result<Node> {
        let pid = Pid::from_raw(i32::try_from(record.pid).unwrap_or(0))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // Looked at after the descriptor is held: it cannot become another process any more.
        let same = proc::stat(record.pid).is_some_and(|s| s.start_ticks == record.start_ticks);
        if !same {
            return Err(io::ErrorKind::NotFound.into());
        }
        let asked = Arc::new(AtomicBool::new(record.asked));
        let lock = Arc::from(home.node_lock());
        Ok(Node { record, fd: Arc::new(fd), lock, asked })
    }

    /// Waits for the end of the process and says how it ended. A thread of its own sleeps in the kernel
    /// for it: it costs nothing while the node lives, and needs no signal handler.
    pub async fn gone(&self) -> Exit {
        let (tell, told) = oneshot::channel();
        let fd = Arc::clone(&self.fd);
        let watcher = std::thread::Builder::new().name("node-end".to_owned()).stack_size(64 * 1024);
        let spawned = watcher.spawn(move || {
            let _ = tell.send(wait_for_end(&fd));
        });
        match spawned {
            Ok(_) => told.await.unwrap_or(Exit::Unknown),
            Err(error) => {
                tracing::error!(%error, "no thread to watch the node with; looking instead");
                while proc::stat(self.record.pid)
                    .is_some_and(|s| s.start_ticks == self.record.start_ticks && s.state != 'Z')
                {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Exit::Unknown
            }
        }
    }

    /// Sends SIGTERM, once in the life of this process, and writes down first that it is so.
    ///
    /// # Errors
    /// When the record cannot be written; no signal is sent then.
    pub fn ask_to_stop(&mut self, home: &Home) -> io::Result<()> {
        if self.record.asked {
            return Ok(());
        }
        self.record.stopping = Some(clock::now());
        self.record.stopping_from = Some(clock::since_boot());
        self.record.write(&home.process())?;
        self.signal(Signal::TERM);
        self.asked.store(true, Ordering::Relaxed);
        // An agent that dies right here sends it again: better twice than a SIGKILL at the end of the
        // limit because nobody ever asked.
        self.record.asked = true;
        self.record.write(&home.process())
    }

    /// Whether it was asked to stop.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Sends SIGKILL to the process and all of its session.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        if let Some(group) = &self.record.cgroup {
            cgroup::kill(group);
        }
    }

    fn signal(&self, signal: Signal) {
        let others = self.rest();
        let _ = rustix::process::pidfd_send_signal(&*self.fd, signal);
        send(&others, signal);
    }

    /// Living processes of the node's session and of its control group, and those that inherited its lock, other
    /// than the node. Without a control group the lock is what tells who left the session; and while somebody has
    /// it, no node can be started.
    pub fn rest(&self) -> Vec<u32> {
        let mut members = proc::session_members(self.record.pid);
        if let Some(group) = &self.record.cgroup {
            members.extend(
                cgroup::members(group).into_iter().filter(|p| proc::stat(*p).is_some_and(|s| s.state != 'Z')),
            );
        }
        if lock::node_is_there(&self.lock).unwrap_or(false) {
            members.extend(lock::holders(&self.lock));
        }
        members.sort_unstable();
        members.dedup();
        members.retain(|pid| *pid != self.record.pid);
        members
    }

    /// Sends a signal to what is left of the session.
    pub fn signal_rest(&self, kill: bool) {
        send(&self.rest(), if kill { Signal::KILL } else { Signal::TERM });
    }
}

/// Sleeps until the process behind a pidfd has ended, and takes its status where it is our child.
fn wait_for_end(fd: &OwnedFd) -> Exit {
    loop {
        match rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], None) {
            Ok(n) if n > 0 => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Exit::Unknown,
        }
    }
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(fd.as_fd()), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        },
        // Adopted: its parent was an agent before this one, so nobody can tell its status.
        _ => Exit::Unknown,
    }
}

/// Sends a signal to each of these processes.
pub fn send(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|p| Pid::from_raw(i32::try_from(*p).ok()?)) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Executes a release. Returns when the process has become the node.
///
/// # Errors
/// [`FaultCode::DigestMismatch`] or [`FaultCode::BinaryUnusable`]; no process is left then.
pub async fn start(
    home: &Home,
    release: &InstalledRelease,
    args: &[String],
    log: Option<&Path>,
    checked: Option<Checked>,
) -> Result<Node, Fault> {
    let unusable = |e: &dyn std::fmt::Display| clock::fault(FaultCode::BinaryUnusable, e);
    let path = home.binary(&release.name);
    let exe = path.canonicalize().map_err(|e| unusable(&format!("{}: {e}", path.display())))?;
    let order = Launch {
        exe,
        digest: release.digest,
        args: args.to_vec(),
        folder: home.root().to_owned(),
        checked,
        log: log.map(Path::to_owned),
        cgroup: cgroup::for_node(),
        record: home.process(),
    };
    let order = serde_json::to_string(&order).map_err(|e| unusable(&e))?;
    let lock = lock::for_node(&home.node_lock()).map_err(|e| unusable(&e))?;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| unusable(&format!("making a pipe: {e}")))?;
    let child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .arg(order)
        .stdin(Stdio::from(writer))
        .spawn()
        .map_err(|e| unusable(&format!("starting {}: {e}", path.display())))?;
    drop(lock);
    let pid = child.id();
    let said = tokio::time::timeout(EXEC_WITHIN, read_pipe(reader)).await;
    match said {
        Ok(Ok(said)) if said.is_empty() => {}
        Ok(Ok(said)) => {
            reap(child);
            let said = said.trim();
            return Err(match said.strip_prefix("digest: ") {
                Some(detail) => clock::fault(FaultCode::DigestMismatch, detail),
                None => unusable(&said),
            });
        }
        Ok(Err(e)) => return Err(unusable(&give_up(child, &e.to_string()))),
        Err(_) => return Err(unusable(&give_up(child, "it was not executed within a minute"))),
    }
    let record = Record::read(&home.process()).filter(|r| r.pid == pid);
    let Some(record) = record else {
        return Err(unusable(&give_up(child, "it left no process record")));
    };
    if !runs_the_checked_file(&record) {
        return Err(unusable(&give_up(child, "another file was executed than the one that was checked")));
    }
    Node::watch(record, home).map_err(|e| unusable(&format!("watching process {pid}: {e}")))
}

fn reap(mut child: std::process::Child) {
    let _ = child.wait();
}

fn give_up(mut child: std::process::Child, why: &str) -> String {
    let _ = child.kill();
    let _ = child.wait();
    why.to_owned()
}

async fn read_pipe(reader: OwnedFd) -> io::Result<String> {
    rustix::io::ioctl_fionbio(&reader, true)?;
    let mut said = String::new();
    pipe::Receiver::from_owned_fd(reader)?.take(4096).read_to_string(&mut said).await?;
    Ok(said)
}

/// Whether the process runs the very file whose digest was checked. A process that is gone already
/// is not judged: its end is told in its own way.
pub fn runs_the_checked_file(record: &Record) -> bool {
    record.script
        || std::fs::metadata(proc::exe(record.pid))
            .map_or(true, |m| (m.dev(), m.ino()) == (record.device, record.inode))
}
