//! One program with everything it starts: it has a time, and nothing of it is left afterwards.
//!
//! Its processes are known by their process group, and by a lock whose descriptor they inherit: that also finds
//! those that left the group, and those of an agent that died in the middle of a hook.
use super::{GRACE, HookError};
use crate::home::Home;
use crate::host::lock;
use common::time::Span;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// How much of the end of a program's output is kept, in bytes.
const TAIL: usize = 8 * 1024;
/// How often processes that should end are looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How long the end of the output may take once no process is left.
const DRAIN: Duration = Duration::from_secs(1);
/// A script that was just written may still be open for writing in a process that is being started.
const BUSY_TRIES: u32 = 20;

/// What is to be run.
#[derive(Debug)]
pub(super) struct Program {
    /// For people.
    pub what: String,
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables above the inherited ones; `None` takes one away.
    pub env: Vec<(&'static str, Option<String>)>,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Outcome {
    status: Option<ExitStatus>,
    within: Span,
    left: bool,
    tail: Vec<u8>,
}

impl Outcome {
    /// Its exit code; `None` when it was ended.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|s| s.code())
    }

    /// How it ended, for people.
    pub fn how(&self) -> String {
        match self.status.map(|s| (s.code(), s.signal())) {
            Some((Some(code), _)) => format!("ended with exit code {code}"),
            Some((_, Some(signal))) => format!("was ended by signal {signal}"),
            Some(_) => "ended, nobody knows how".to_owned(),
            None => format!("did not end within {} and was ended; see [hooks] timeout", self.within),
        }
    }

    /// The end of its output, safe to show.
    pub fn escaped(&self) -> String {
        String::from_utf8_lossy(&self.tail).trim_end().escape_debug().to_string()
    }

    /// One line for the log.
    pub fn line(&self, what: &str) -> String {
        let left = if self.left { ", processes it left were ended" } else { "" };
        format!("{what} {}{left}; output: {}", self.how(), self.escaped())
    }
}

/// Runs a program to its end, or until its time is over.
pub(super) async fn run(program: &Program, home: &Home, within: Span) -> Result<Outcome, HookError> {
    let failed = |source: io::Error| HookError::Spawn { what: program.what.clone(), source };
    let path = home.root().join("hook.lock");
    let held = take(&path).await?;
    let lock = held.metadata().map(|m| (m.dev(), m.ino())).map_err(failed)?;
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let child = spawn(program, home, writer, &held).await.map_err(failed)?;
    // From here on only the program and what it starts hold the lock.
    drop(held);
    let mut group = Group::new(child, lock).map_err(failed)?;
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let reading = tokio::spawn(keep_tail(reader, Arc::clone(&tail)));
    let ended = timeout(within.to_std(), group.ended()).await;
    let left = !group.rest().is_empty();
    group.end().await;
    let status = group.reap();
    let _ = timeout(DRAIN, reading).await;
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    let in_time = ended.is_ok();
    Ok(Outcome { status: status.filter(|_| in_time), within, left: left && in_time, tail })
}

/// The lock, after what an agent that died left of a hook was ended.
async fn take(path: &Path) -> Result<File, HookError> {
    let spawn = |e: lock::LockError| HookError::Spawn {
        what: "a hook".to_owned(),
        source: io::Error::other(e.to_string()),
    };
    let from = Instant::now();
    loop {
        match lock::for_node(path) {
            Ok(file) => {
                let _ = fcntl_setfd(&file, FdFlags::CLOEXEC);
                return Ok(file);
            }
            Err(lock::LockError::Node(_)) => {}
            Err(e) => return Err(spawn(e)),
        }
        if from.elapsed() > 2 * GRACE {
            return Err(HookError::Busy(path.to_owned()));
        }
        let metadata = path.metadata();
        let place = metadata.map(|m| (m.dev(), m.ino())).unwrap_or_default();
        let signal = if from.elapsed() > GRACE { Signal::KILL } else { Signal::TERM };
        for pid in holders(place) {
            let _ = kill_process(pid, signal);
        }
        tokio::time::sleep(10 * LOOK).await;
    }
}

/// Starts a program, which inherits the lock. Nothing else may: whoever holds it is ended with the hook.
async fn spawn(program: &Program, home: &Home, writer: OwnedFd, lock: &File) -> io::Result<Child> {
    let mut command = Command::new(&program.path);
    command.args(&program.args).current_dir(&home.base).process_group(0);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    for (key, value) in &program.env {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let mut tries = 0;
    loop {
        fcntl_setfd(lock, FdFlags::empty())?;
        let spawned = command.spawn();
        fcntl_setfd(lock, FdFlags::CLOEXEC)?;
        tries += 1;
        match spawned {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tokio::time::sleep(LOOK).await;
            }
            spawned => return spawned,
        }
    }
}

/// Keeps the last bytes that come out of a pipe.
async fn keep_tail(reader: OwnedFd, tail: Arc<Mutex<VecDeque<u8>>>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&reader, true)?;
    let mut reader = pipe::Receiver::from_owned_fd(reader)?;
    let mut buffer = [0; 1024];
    loop {
        let n = reader.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..n]);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
    }
}

/// A program's processes. Its leader is not waited for before all of them are gone, so that the group's number
/// cannot become somebody else's.
struct Group {
    leader: Option<Child>,
    id: Pid,
    over: oneshot::Receiver<()>,
    lock: (u64, u64),
}

impl Group {
    fn new(mut leader: Child, lock: (u64, u64)) -> io::Result<Group> {
        let id = Pid::from_child(&leader);
        match watch(id) {
            Ok(over) => Ok(Group { leader: Some(leader), id, over, lock }),
            Err(e) => {
                let _ = kill_process_group(id, Signal::KILL);
                let _ = leader.wait();
                Err(e)
            }
        }
    }

    /// Waits for the end of the leader.
    async fn ended(&mut self) {
        let _ = (&mut self.over).await;
    }

    /// Processes that are left, without the leader when that has ended.
    fn rest(&self) -> Vec<Pid> {
        let mut pids = members(self.id);
        pids.extend(holders(self.lock));
        pids
    }

    /// Ends what is left: SIGTERM, and SIGKILL to what does not go.
    async fn end(&self) {
        for signal in [Signal::TERM, Signal::KILL] {
            let rest = self.rest();
            if rest.is_empty() {
                return;
            }
            self.signal(signal, &rest);
            let end = Instant::now() + GRACE;
            while Instant::now() < end && !self.rest().is_empty() {
                tokio::time::sleep(LOOK).await;
                if signal == Signal::KILL {
                    // What was forked meanwhile is ended too.
                    self.signal(signal, &self.rest());
                }
            }
        }
    }

    fn signal(&self, signal: Signal, rest: &[Pid]) {
        let _ = kill_process_group(self.id, signal);
        let others = members(self.id);
        for pid in rest.iter().filter(|pid| !others.contains(pid)) {
            let _ = kill_process(*pid, signal);
        }
    }

    /// The leader's status; `None` when it did not go away.
    fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.leader.as_mut()?.try_wait().ok()?;
        if status.is_some() {
            self.leader = None;
        }
        status
    }
}

impl Drop for Group {
    /// What was left off is ended, and waited for where nobody is kept waiting by that.
    fn drop(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        self.signal(Signal::KILL, &self.rest());
        if !matches!(leader.try_wait(), Ok(Some(_))) {
            std::thread::spawn(move || leader.wait());
        }
    }
}

/// Tells the end of a process. A thread sleeps in the kernel for it, as for the node.
fn watch(id: Pid) -> io::Result<oneshot::Receiver<()>> {
    let fd = pidfd_open(id, PidfdFlags::empty())?;
    let (tell, told) = oneshot::channel();
    let watcher = std::thread::Builder::new().name("hook-end".to_owned()).stack_size(64 * 1024);
    watcher.spawn(move || {
        while matches!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], None), Ok(0) | Err(Errno::INTR)) {}
        let _ = tell.send(());
    })?;
    Ok(told)
}

/// Living processes of a process group.
fn members(group: Pid) -> Vec<Pid> {
    let wanted = group.as_raw_nonzero().get().to_string();
    processes().filter(|pid| member(*pid, &wanted).unwrap_or(false)).collect()
}

fn member(pid: Pid, group: &str) -> Option<bool> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Behind the name, which may hold anything: state, parent, group.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let living = !matches!(fields.next()?, "Z" | "X");
    Some(living && fields.nth(1)? == group)
}

/// Processes other than this one that have a file open, by device and inode.
fn holders(place: (u64, u64)) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let holds = |pid: &Pid| {
        let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        let mut open = open.into_iter().flatten().flatten();
        open.any(|fd| std::fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == place))
    };
    processes().filter(|pid| *pid != own && holds(pid)).collect()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| Pid::from_raw(e.file_name().to_str()?.parse().ok()?))
}
