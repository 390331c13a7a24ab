//! What is found on the host when the agent starts.
use super::files::Checked;
use super::launch::Record;
use super::process::{self, Node, runs_the_checked_file};
use super::{files, lock, proc};
use crate::clock;
use crate::home::{GENESIS, Home};
use crate::plan::Applied;
use common::id::ReleaseName;
use common::machine::{Found, Ledger};
use common::release::{Digest, InstalledRelease};
use common::wire::v1::AgentPhase;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a process between fork and exec is waited for.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Why it cannot be said what is on the host.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// Somebody holds the node's lock and cannot be named.
    #[error("{0} is locked by a process that cannot be found; is a node of this home running?")]
    Unknown(PathBuf),
    /// Something holds the node's lock that is no release of this home.
    #[error(
        "{lock} is held by process {pid} ({exe}), which runs no release of this home; a node that is gone left it behind, or somebody took the lock by hand: nothing is started before it ends"
    )]
    Stranger {
        /// The lock.
        lock: PathBuf,
        /// Its holder.
        pid: u32,
        /// What the holder runs.
        exe: PathBuf,
    },
    /// Nobody knows which release the data belongs to, and the first one is too old for it.
    #[error(
        "{current} is missing, and upgrades were applied in this home ({names}): link it to the one that is to run, as in `ln -s upgrades/NAME {current}`"
    )]
    Unlinked {
        /// The link.
        current: PathBuf,
        /// The upgrades.
        names: String,
    },
    /// The node's lock cannot be looked at.
    #[error(transparent)]
    Lock(#[from] lock::LockError),
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
    if let Some(record) = Record::read(&home.process()) {
        end_orphans(home, &record);
    }
    loop {
        let node = Record::read(&home.process()).and_then(|record| recorded(home, record));
        match node {
            Some(node) if runs_the_checked_file(&node.record) => return Ok(Some(node)),
            None if !lock::node_is_there(&home.node_lock())? => return Ok(None),
            None => {
                if let Some(node) = unrecorded(home) {
                    let _ = node.record.write(&home.process());
                    return Ok(Some(node));
                }
            }
            Some(_) => {}
        }
        if Instant::now() >= end {
            return Err(unknown(home));
        }
        // Between fork and exec; this takes as long as the digest of the executable.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Who holds the lock, as far as can be told.
fn unknown(home: &Home) -> FoundError {
    let lock = home.node_lock();
    match lock::holders(&lock).first() {
        Some(&pid) => {
            let exe = std::fs::read_link(proc::exe(pid)).unwrap_or_else(|_| "unknown".into());
            FoundError::Stranger { lock, pid, exe }
        }
        None => FoundError::Unknown(lock),
    }
}

/// Asks to end what is left of the session of a node that ended with no agent to see it: it holds the lock, and no
/// node can be started before it is gone. Only with both signs, the session and the lock, it is certainly its own.
fn end_orphans(home: &Home, record: &Record) {
    let gone = record.boot_id == proc::boot_id() && proc::stat(record.pid).is_none_or(|s| s.state == 'Z');
    if !gone {
        return;
    }
    let session = proc::session_members(record.pid);
    let orphans: Vec<u32> =
        lock::holders(&home.node_lock()).into_iter().filter(|pid| session.contains(pid)).collect();
    if !orphans.is_empty() {
        tracing::warn!(?orphans, node = record.pid, "the node is gone, ending what it left in its session");
        process::send(&orphans, rustix::process::Signal::TERM);
    }
}

fn recorded(home: &Home, record: Record) -> Option<Node> {
    let alive = record.boot_id == proc::boot_id()
        && proc::stat(record.pid).is_some_and(|s| s.start_ticks == record.start_ticks && s.state != 'Z');
    if alive { Node::watch(record, home).ok() } else { None }
}

/// The node by the lock that it holds, when its record is lost. A process that still is this program
/// has its record and its exec ahead of it.
fn unrecorded(home: &Home) -> Option<Node> {
    let place = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let (device, inode) = place(&home.node_lock())?;
    let own = place(Path::new("/proc/self/exe"));
    let pids = proc::leaders_with(device, inode);
    let pid = pids
        .into_iter()
        .find(|pid| place(&proc::exe(*pid)) != own && lock::holders(&home.node_lock()).contains(pid))?;
    let (device, inode) = place(&proc::exe(pid))?;
    let digest = files::digest_of(&proc::exe(pid)).ok()?;
    let script = runs_script(home, pid);
    // What the node started has its lock too, and may lead a session; only a release of this home is its node.
    if !script && !releases(home).any(|path| place(&path) == Some((device, inode))) && !is_known(home, digest)
    {
        return None;
    }
    let record = Record {
        pid,
        start_ticks: proc::stat(pid)?.start_ticks,
        boot_id: proc::boot_id(),
        since: clock::now(),
        digest,
        device,
        inode,
        script,
        cgroup: None,
        stopping: None,
        stopping_from: None,
        asked: false,
    };
    Node::watch(record, home).ok()
}

/// Executables of the releases in a home.
fn releases(home: &Home) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(home.upgrades()).into_iter().flatten().flatten();
    let folders = entries.map(|e| e.path()).chain([home.root().join(GENESIS)]);
    let daemon = home.daemon.clone();
    folders.map(move |folder| folder.join("bin").join(&daemon))
}

/// Whether the ledger knows the digest; the file of a running release may have been replaced since.
fn is_known(home: &Home, digest: Digest) -> bool {
    let Ok(Some(ledger)) = crate::ledger::read(&home.ledger()) else { return false };
    let known = [Some(ledger.current), ledger.previous, ledger.staged, ledger.destination];
    known.into_iter().flatten().any(|release| release.digest == digest)
}

/// Whether a process is the interpreter of a release that is a script.
fn runs_script(home: &Home, pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let args: Vec<&[u8]> = line.split(|b| *b == 0).skip(1).take(2).collect();
    let is = |path: PathBuf| path.canonicalize().is_ok_and(|p| args.contains(&p.as_os_str().as_bytes()));
    releases(home).any(is)
}

/// The release `current` points to, with the digest of its executable as it is now.
pub fn current(home: &Home, ledger: &Ledger, checked: Option<&Checked>) -> Option<InstalledRelease> {
    let name = home.current_target()?;
    let digest = digest_of(&home.binary(&name), checked).ok()?;
    let known = [Some(&ledger.current), ledger.previous.as_ref(), ledger.staged.as_ref()];
    let same = known.into_iter().flatten().find(|r| r.name == name && r.digest == digest);
    Some(same.cloned().unwrap_or(InstalledRelease { name, sequence: 0, digest }))
}

/// All of it, as the machine wants it.
pub fn all(home: &Home, ledger: &Ledger, node: Option<&Node>, checked: Option<&Checked>) -> Found {
    Found {
        current: current(home, ledger, checked),
        process: node.map(|n| (n.record.pid, n.record.since)),
        running: node.map(|n| running_digest(&n.record, checked)),
        stopping: node.is_some_and(|n| n.record.asked),
    }
}

/// The digest of a file, which may be the one that was hashed already.
fn digest_of(path: &Path, checked: Option<&Checked>) -> io::Result<Digest> {
    let known = checked.and_then(|c| c.digest(&std::fs::metadata(path).ok()?));
    known.map_or_else(|| files::digest_of(path), Ok)
}

fn running_digest(record: &Record, checked: Option<&Checked>) -> Digest {
    if record.script {
        return record.digest;
    }
    digest_of(&proc::exe(record.pid), checked).unwrap_or(record.digest)
}

/// The first ledger of a home: the release `current` points to, else `genesis`. A home without any
/// executable gets a digest of zeros, which nothing has.
///
/// # Errors
/// [`FoundError::Io`] when an executable is there and cannot be read.
pub fn first_ledger(home: &Home) -> Result<Ledger, FoundError> {
    let now = clock::now();
    let earlier = Applied::read(home).earlier;
    if home.current().symlink_metadata().is_err() && !earlier.is_empty() {
        let names: Vec<&str> = earlier.iter().map(ReleaseName::as_str).collect();
        return Err(FoundError::Unlinked { current: home.current(), names: names.join(", ") });
    }
    let name = home.current_target().unwrap_or_else(genesis);
    let path = home.binary(&name);
    let digest = match files::digest_of(&path) {
        Ok(digest) => digest,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Digest([0; 32]),
        Err(source) => return Err(FoundError::Io { path, source }),
    };
    Ok(Ledger::genesis(name, digest, now))
}

/// Whether another supervisor had this home since the ledger was written, and applied a plan that is above
/// everything that this one did. The data belongs to that release then. A link alone says nothing: it may have
/// been made by mistake. In a fleet nothing is taken for granted.
pub fn went_on(home: &Home, ledger: &Ledger) -> bool {
    use AgentPhase::{Done, Failed, Idle};
    let at_rest = matches!(ledger.phase, Idle | Done | Failed) && ledger.instruction.generation == 0;
    let applied = Applied::read(home);
    let (Some(linked), Some(height)) = (&applied.running, applied.height) else { return false };
    let ours = std::fs::read(home.applied_plan(&ledger.current.name)).ok();
    let ours = ours.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let ours = ours.and_then(|plan| plan["height"].as_u64()).unwrap_or(0);
    at_rest && *linked != ledger.current.name && height > ours && home.binary(linked).is_file()
}

#[expect(clippy::expect_used, reason = "the literal follows the grammar of names")]
fn genesis() -> ReleaseName {
    ReleaseName::new(GENESIS).expect("a literal name")
}
