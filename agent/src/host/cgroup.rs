//! A control group of the node's own, where the agent was given one to divide (systemd's `Delegate=yes`).
//!
//! A session can be left by a process that wants to; a control group cannot. Where there is none that was
//! handed over, the session has to do.
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the node's group below the agent's.
const NAME: &str = "wemixvisor-node";
/// What systemd puts on a group it hands over; the older name needs privileges to be read.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// The node's group, made where the agent's own group was handed over; `None` elsewhere.
pub fn for_node() -> Option<PathBuf> {
    let own = own_group()?;
    if !MARKS.iter().any(|mark| is_marked(&own, mark)) {
        return None;
    }
    let group = own.join(NAME);
    match std::fs::create_dir(&group) {
        Ok(()) => Some(group),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Some(group),
        Err(error) => {
            tracing::warn!(%error, group = %group.display(), "no control group for the node; its session has to do");
            None
        }
    }
}

/// This process's group in the unified hierarchy.
fn own_group() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|l| l.strip_prefix("0::/"))?;
    // After a re-execution in the same place the agent is not in the node's group, but a launched process is.
    let own = mount.join(path);
    if own.ends_with(NAME) { own.parent().map(Path::to_owned) } else { Some(own) }
}

fn is_marked(group: &Path, mark: &str) -> bool {
    let mut value = [0; 8];
    rustix::fs::getxattr(group, mark, &mut value).is_ok_and(|n| value[..n].starts_with(b"1"))
}

/// Moves this process into a group.
///
/// # Errors
/// When the kernel refuses.
pub fn join(group: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(group.join("cgroup.procs"))?;
    file.write_all(b"0")
}

/// Processes in a group; none where it cannot be read.
pub fn members(group: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|l| l.trim().parse().ok()).collect()
}

/// Kills everything in a group at once, also what forks meanwhile.
pub fn kill(group: &Path) {
    let _ = std::fs::write(group.join("cgroup.kill"), "1");
}
