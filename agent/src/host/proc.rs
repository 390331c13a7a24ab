//! What the kernel says about processes.
use std::path::PathBuf;

/// A process as `/proc/PID/stat` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// One letter; `Z` is a process that ended and was not waited for.
    pub state: char,
    /// Its session.
    pub session: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// Looks at one process; `None` when there is none.
pub fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<Stat> {
    // The name is in brackets and may itself hold brackets and spaces.
    let rest = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        session: fields.get(3)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// The executable a process runs, readable even when its file was replaced.
pub fn exe(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// Identity of this boot of the machine.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Living processes of a session, the leader included.
pub fn session_members(session: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|s| s.session == session && s.state != 'Z'))
        .collect()
}

/// The process that took the lock on the file with this device and inode, from `/proc/locks`.
pub fn lock_holder(device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let held = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&wanted.as_str());
        held.then(|| fields.get(4)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_confuse() {
        let text = "12 (a) b (c)) S 1 12 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 4096 1";
        assert_eq!(parse(text), Some(Stat { state: 'S', session: 77, start_ticks: 98765 }));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn this_process_is_in_its_session() {
        let own = stat(std::process::id()).unwrap();
        assert!(session_members(own.session).contains(&std::process::id()));
    }
}
