//! What is found on the host when the agent starts.
use super::launch::Record;
use super::process::{Node, runs_the_checked_file};
use super::{files, proc};
use crate::clock;
use crate::home::{GENESIS, Home};
use common::id::ReleaseName;
use common::machine::{Found, Ledger};
use common::release::{Digest, InstalledRelease};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a process between fork and exec is waited for.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Why it cannot be said what is on the host.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// Somebody holds the node's lock and cannot be named.
    #[error("{0} is locked by a process that cannot be found; is a node of this home running?")]
    Unknown(PathBuf),
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Finds the node process of a home, also when its record is lost or not yet complete.
///
/// # Errors
/// [`FoundError::Unknown`] when there is one that cannot be named.
pub fn node(home: &Home) -> Result<Option<Node>, FoundError> {
    let end = Instant::now() + SETTLE_WITHIN;
    loop {
        let node = Record::read(&home.process()).and_then(recorded);
        match node {
            Some(node) if runs_the_checked_file(&node.record) => return Ok(Some(node)),
            None if !node_lock_is_held(home)? => return Ok(None),
            _ if Instant::now() >= end => break,
            // Between fork and exec; this takes as long as the digest of the executable.
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let path = home.node_lock();
    let meta = std::fs::metadata(&path).map_err(|source| FoundError::Io { path: path.clone(), source })?;
    let record = proc::lock_holder(meta.dev(), meta.ino()).and_then(unrecorded);
    let node = record.and_then(|r| Node::watch(r).ok()).ok_or(FoundError::Unknown(path))?;
    let _ = node.record.write(&home.process());
    Ok(Some(node))
}

fn recorded(record: Record) -> Option<Node> {
    let alive = record.boot_id == proc::boot_id()
        && proc::stat(record.pid).is_some_and(|s| s.start_ticks == record.start_ticks && s.state != 'Z');
    if alive { Node::watch(record).ok() } else { None }
}

fn unrecorded(pid: u32) -> Option<Record> {
    let stat = proc::stat(pid)?;
    let meta = std::fs::metadata(proc::exe(pid)).ok()?;
    Some(Record {
        pid,
        start_ticks: stat.start_ticks,
        boot_id: proc::boot_id(),
        since: clock::now(),
        digest: files::digest_of(&proc::exe(pid)).ok()?,
        device: meta.dev(),
        inode: meta.ino(),
        script: false,
        stopping: None,
    })
}

fn node_lock_is_held(home: &Home) -> Result<bool, FoundError> {
    let path = home.node_lock();
    let open = || -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let file = open().map_err(|source| FoundError::Io { path: path.clone(), source })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(FoundError::Io { path, source: e.into() }),
    }
}

/// The release `current` points to, with the digest of its executable as it is now.
pub fn current(home: &Home, ledger: &Ledger) -> Option<InstalledRelease> {
    let folder = std::fs::read_link(home.current()).ok()?;
    let name = ReleaseName::new(folder.file_name()?.to_str()?).ok()?;
    let digest = files::digest_of(&home.binary(&name)).ok()?;
    let known = [Some(&ledger.current), ledger.previous.as_ref(), ledger.staged.as_ref()];
    let same = known.into_iter().flatten().find(|r| r.name == name && r.digest == digest);
    Some(same.cloned().unwrap_or(InstalledRelease { name, sequence: 0, digest }))
}

/// All of it, as the machine wants it.
pub fn all(home: &Home, ledger: &Ledger, node: Option<&Node>) -> Found {
    Found {
        current: current(home, ledger),
        process: node.map(|n| (n.record.pid, n.record.since)),
        running: node.map(|n| running_digest(&n.record)),
        stopping: node.is_some_and(|n| n.record.stopping.is_some()),
    }
}

fn running_digest(record: &Record) -> Digest {
    if record.script {
        return record.digest;
    }
    files::digest_of(&proc::exe(record.pid)).unwrap_or(record.digest)
}

/// The first ledger of a home: the release `current` points to, else `genesis`. A home without any
/// executable gets a digest of zeros, which nothing has.
///
/// # Errors
/// [`FoundError::Io`] when an executable is there and cannot be read.
pub fn first_ledger(home: &Home) -> Result<Ledger, FoundError> {
    let now = clock::now();
    let linked = std::fs::read_link(home.current()).ok();
    let name = linked
        .and_then(|l| ReleaseName::new(l.file_name()?.to_str()?).ok())
        .or_else(|| ReleaseName::new(GENESIS).ok());
    let path = home.binary(&name.clone().unwrap_or_else(genesis));
    let digest = match files::digest_of(&path) {
        Ok(digest) => digest,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Digest([0; 32]),
        Err(source) => return Err(FoundError::Io { path, source }),
    };
    Ok(Ledger::genesis(name.unwrap_or_else(genesis), digest, now))
}

#[expect(clippy::expect_used, reason = "the literal follows the grammar of names")]
fn genesis() -> ReleaseName {
    ReleaseName::new(GENESIS).expect("a literal name")
}
