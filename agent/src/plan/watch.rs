//! Looks at the files of plans again and again, and reads them only when they changed.
use super::Queue;
use super::list::{fixed_files, plan_files};
use crate::config::Settings;
use crate::home::Home;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A file that was touched this recently may be written again without a visible trace: file systems give
/// the same time to writes that follow each other closely.
const YOUNG: Duration = Duration::from_secs(2);

/// What of a file tells that it changed.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Modified and changed, in ns of the file system's clock; size; inode. `None` when it is not there.
    seen: Option<[i128; 4]>,
}

impl Stamp {
    fn of(path: PathBuf) -> Stamp {
        let at = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let seen = std::fs::metadata(&path).ok().map(|m| {
            let (modified, changed) = (at(m.mtime(), m.mtime_nsec()), at(m.ctime(), m.ctime_nsec()));
            [modified, changed, i128::from(m.size()), i128::from(m.ino())]
        });
        Stamp { path, seen }
    }

    fn is_young(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
        let near = |then: i128| (now - then).unsigned_abs() < YOUNG.as_nanos();
        self.seen.is_some_and(|[modified, changed, ..]| near(modified) || near(changed))
    }
}

/// Watches the plans of a home.
#[derive(Debug)]
pub struct Watcher {
    home: Home,
    settings: Settings,
    stamps: Vec<Stamp>,
    young: bool,
    last: Option<Queue>,
}

impl Watcher {
    /// Watches the places that these settings name; other settings need another watcher.
    pub fn new(home: &Home, settings: &Settings) -> Watcher {
        let (home, settings) = (home.clone(), settings.clone());
        Watcher { home, settings, stamps: Vec::new(), young: true, last: None }
    }

    /// The plans when they are other than at the last look; always at the first. It only asks the file
    /// system for times and sizes as long as nothing was touched for two seconds.
    pub fn poll(&mut self) -> Option<Queue> {
        // Taken before the files are read: what is written meanwhile is seen at the next look.
        let stamps: Vec<Stamp> = self.paths().into_iter().map(Stamp::of).collect();
        if stamps == self.stamps && !self.young {
            return None;
        }
        let queue = Queue::read(&self.home, &self.settings);
        let now = SystemTime::now();
        self.young = stamps.iter().any(|s| s.is_young(now));
        self.stamps = stamps;
        if self.last.as_ref() == Some(&queue) {
            return None;
        }
        self.last = Some(queue.clone());
        Some(queue)
    }

    /// Whether a file was touched so lately that it may be written again without a visible trace.
    pub fn is_young(&self) -> bool {
        self.young
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = fixed_files(&self.home, &self.settings).to_vec();
        // Which folders are there decides how names are understood.
        paths.push(self.home.upgrades());
        paths.extend(plan_files(&self.home));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scratch::Scratch;
    use std::fs::{File, FileTimes};

    /// Gives the plan file a time of modification.
    fn modify(host: &Scratch, time: SystemTime) {
        let file = File::options().write(true).open(&host.settings.upgrade.plan_file).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    fn first(queue: Option<Queue>) -> Option<(String, u64)> {
        let plan = queue?.plans.into_iter().next()?;
        Some((plan.title, plan.height.unwrap()))
    }

    #[test]
    fn a_change_is_told_once() {
        let host = Scratch::with_plans();
        let mut watcher = Watcher::new(&host.home, &host.settings);
        assert_eq!(watcher.poll(), Some(Queue::default()), "the first look");
        assert_eq!(watcher.poll(), None);
        host.plan(r#"{"name":"v2","height":5}"#);
        assert_eq!(first(watcher.poll()), Some(("v2".into(), 5)));
        assert_eq!(watcher.poll(), None);
        let plan = r#"{"upgrades":[{"name":"v1","height":4}]}"#;
        std::fs::write(host.home.plans().join("a.json"), plan).unwrap();
        assert_eq!(first(watcher.poll()), Some(("v1".into(), 4)));
        std::fs::remove_file(&host.settings.upgrade.plan_file).unwrap();
        assert_eq!(watcher.poll().unwrap().plans.len(), 1);
        assert_eq!(watcher.poll(), None);
    }

    #[test]
    fn a_file_written_again_in_the_same_moment_with_the_same_size_is_seen() {
        let host = Scratch::with_plans();
        let mut watcher = Watcher::new(&host.home, &host.settings);
        let moment = SystemTime::now();
        host.plan(r#"{"name":"v2","height":5}"#);
        modify(&host, moment);
        assert_eq!(first(watcher.poll()), Some(("v2".into(), 5)));
        host.plan(r#"{"name":"v3","height":7}"#);
        modify(&host, moment);
        // Even if the file system showed no difference at all.
        watcher.stamps = watcher.paths().into_iter().map(Stamp::of).collect();
        assert_eq!(first(watcher.poll()), Some(("v3".into(), 7)));
    }

    #[test]
    fn an_older_file_renamed_into_place_is_seen() {
        let host = Scratch::with_plans();
        let mut watcher = Watcher::new(&host.home, &host.settings);
        host.plan(r#"{"name":"v2","height":5}"#);
        watcher.poll();
        let other = host.home.base.join("other");
        std::fs::write(&other, r#"{"name":"v3","height":7}"#).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let file = File::options().write(true).open(&other).unwrap();
        file.set_times(FileTimes::new().set_modified(long_ago)).unwrap();
        std::fs::rename(&other, &host.settings.upgrade.plan_file).unwrap();
        watcher.young = false;
        assert_eq!(first(watcher.poll()), Some(("v3".into(), 7)));
    }

    #[test]
    fn an_empty_then_half_then_whole_file_becomes_a_plan() {
        let host = Scratch::with_plans();
        let mut watcher = Watcher::new(&host.home, &host.settings);
        watcher.poll();
        for part in ["", r#"{"name":"v2""#] {
            host.plan(part);
            let queue = watcher.poll().unwrap();
            assert_eq!(queue.faults[0].kind, crate::plan::FaultKind::NotYet);
            assert_eq!(queue.plans, []);
        }
        host.plan(r#"{"name":"v2","height":5}"#);
        let queue = watcher.poll().unwrap();
        assert_eq!((queue.plans.len(), queue.faults.len()), (1, 0));
    }

    #[test]
    fn a_quiet_file_is_not_read_again() {
        let host = Scratch::with_plans();
        host.plan(r#"{"name":"v2","height":5}"#);
        let mut watcher = Watcher::new(&host.home, &host.settings);
        watcher.poll();
        watcher.young = false;
        // Were it read again, the memory that was taken away here would be filled.
        watcher.last = None;
        assert_eq!(watcher.poll(), None);
        assert_eq!(watcher.last, None);
    }
}
