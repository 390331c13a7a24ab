//! What the kernel says about processes.
use std::os::unix::fs::MetadataExt;
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

/// Session leaders, other than this process, that have a file open, by device and inode.
pub fn leaders_with(device: u64, inode: u64) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| stat(*pid).is_some_and(|s| s.session == *pid && s.state != 'Z'))
        .filter(|pid| has_open(*pid, device, inode))
        .collect()
}

fn has_open(pid: u32, device: u64, inode: u64) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|fd| std::fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == (device, inode)))
}

/// Processes, other than this one, that have the very open file by which the lock of a file, told by device and
/// inode, is held: whoever took it and all who inherited it. Others that merely opened the file are not among them.
pub fn lock_holders(device: u64, inode: u64) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id()).filter(|pid| holds_lock(*pid, device, inode)).collect()
}

fn holds_lock(pid: u32, device: u64, inode: u64) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut same = open
        .flatten()
        .filter(|fd| std::fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == (device, inode)));
    same.any(|fd| {
        let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy());
        std::fs::read_to_string(info).is_ok_and(|text| text.lines().any(|l| l.starts_with("lock:")))
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
    fn who_only_opened_a_locked_file_does_not_hold_it() {
        use rustix::fs::{FlockOperation, flock};
        let file = tempfile::NamedTempFile::new().unwrap();
        let place = (file.as_file().metadata().unwrap().dev(), file.as_file().metadata().unwrap().ino());
        flock(file.as_file(), FlockOperation::LockExclusive).unwrap();
        // Standard input is inherited.
        let run = |input: std::fs::File| {
            std::process::Command::new("sleep").arg("60").stdin(input).spawn().unwrap()
        };
        let mut heir = run(file.as_file().try_clone().unwrap());
        let mut other = run(std::fs::File::open(file.path()).unwrap());
        assert_eq!(lock_holders(place.0, place.1), [heir.id()]);
        for child in [&mut heir, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(lock_holders(place.0, place.1), Vec::<u32>::new());
    }

    #[test]
    fn this_process_is_in_its_session() {
        let own = stat(std::process::id()).unwrap();
        assert!(session_members(own.session).contains(&std::process::id()));
    }
}
