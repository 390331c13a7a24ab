//! The end of processes that are no children of ours: nodes outlive their agents, that is the point of them.
use std::path::Path;
use std::time::{Duration, Instant};

/// Process ids whose executable lies under a folder of ours.
fn under(dir: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pid = |e: std::fs::DirEntry| e.file_name().to_str()?.parse::<i32>().ok();
    let ours = |p: &i32| std::fs::read_link(format!("/proc/{p}/exe")).is_ok_and(|exe| exe.starts_with(dir));
    entries.flatten().filter_map(pid).filter(ours).collect()
}

/// Kills every process whose executable lies under `dir` and waits until they are gone, at most 5 s. Only processes
/// that we started run executables from there.
pub fn kill_under(dir: &Path) {
    let Ok(dir) = dir.canonicalize() else { return };
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let left = under(&dir);
        if left.is_empty() || Instant::now() > end {
            return;
        }
        for pid in left.into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
