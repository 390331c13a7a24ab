//! Percentiles, and CPU and memory of another process as the kernel counts them.
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Percentiles of a set of latencies.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// How many.
    pub count: usize,
    /// Median.
    pub p50: Duration,
    /// 95th percentile.
    pub p95: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Largest.
    pub max: Duration,
}

impl Latency {
    /// Percentiles of these.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |per_mille: usize| {
            let last = all.len().saturating_sub(1);
            all.get((all.len() * per_mille / 1000).min(last)).copied().unwrap_or_default()
        };
        Latency { count: all.len(), p50: at(500), p95: at(950), p99: at(990), max: at(1000) }
    }
}

/// CPU and memory of a process over a span of time.
#[derive(Debug, Clone)]
pub struct ProcessUse {
    pid: u32,
    began: Instant,
    began_cpu: Duration,
    began_threads: Option<BTreeMap<u32, Duration>>,
    /// Wall time.
    pub wall: Duration,
    /// CPU time used in it, user and system: to the nanosecond while no thread ended, else in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory at the end, bytes.
    pub rss_bytes: u64,
    /// Largest resident memory ever, bytes.
    pub peak_rss_bytes: u64,
}

impl ProcessUse {
    /// Begins to measure.
    ///
    /// # Errors
    /// When the process does not exist.
    pub fn start(pid: u32) -> Result<Self> {
        Ok(ProcessUse {
            pid,
            began: Instant::now(),
            began_cpu: cpu_time(pid)?,
            began_threads: thread_times(pid),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            rss_bytes: 0,
            peak_rss_bytes: 0,
        })
    }

    /// Ends the measurement.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn finish(mut self) -> Result<Self> {
        self.wall = self.began.elapsed();
        let ticks = cpu_time(self.pid)?.saturating_sub(self.began_cpu);
        let threads = self.began_threads.take().zip(thread_times(self.pid));
        self.cpu = threads.and_then(|(before, after)| spent(&before, &after)).unwrap_or(ticks);
        self.rss_bytes = status_kib(self.pid, "VmRSS:")? * 1024;
        self.peak_rss_bytes = status_kib(self.pid, "VmHWM:")? * 1024;
        Ok(self)
    }

    /// Share of one core, 1.0 = a whole core.
    pub fn core_share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(f64::EPSILON)
    }
}

fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} cannot be measured"))?;
    // The command may hold spaces and parentheses: fields are counted from the last ')'.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let tick =
        |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).context("reading process statistics");
    let ticks = tick(11)? + tick(12)?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Time each thread was on a processor, as the scheduler counts it; `None` where it does not tell.
fn thread_times(pid: u32) -> Option<BTreeMap<u32, Duration>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let one = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ns = text.split_whitespace().next()?.parse().ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, Duration::from_nanos(ns)))
    };
    tasks.map(one).collect()
}

/// What was used between the two; `None` when a thread ended, and took its time along.
fn spent(before: &BTreeMap<u32, Duration>, after: &BTreeMap<u32, Duration>) -> Option<Duration> {
    let all_there = before.keys().all(|id| after.contains_key(id));
    let sum = |threads: &BTreeMap<u32, Duration>| threads.values().sum::<Duration>();
    all_there.then(|| sum(after).saturating_sub(sum(before)))
}

fn status_kib(pid: u32, key: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} cannot be measured"))?;
    status
        .lines()
        .find_map(|l| l.strip_prefix(key))
        .and_then(|v| v.trim().trim_end_matches("kB").trim().parse().ok())
        .with_context(|| format!("{key} of process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_threads_is_told_while_none_has_ended() {
        let ms = Duration::from_millis;
        let before = BTreeMap::from([(1, ms(5)), (2, ms(1))]);
        let grown = BTreeMap::from([(1, ms(7)), (2, ms(1)), (3, ms(4))]);
        assert_eq!(spent(&before, &grown), Some(ms(6)));
        assert_eq!(spent(&before, &BTreeMap::from([(1, ms(70))])), None);
        assert!(thread_times(u32::MAX).is_none());
    }

    #[test]
    fn percentiles() {
        let l = Latency::of((1..=100).map(Duration::from_millis).collect());
        assert_eq!((l.count, l.p50.as_millis(), l.p99.as_millis(), l.max.as_millis()), (100, 51, 100, 100));
        assert_eq!(Latency::of(vec![]).count, 0);
    }

    #[test]
    fn own_process_can_be_measured() {
        let used = ProcessUse::start(std::process::id()).unwrap().finish().unwrap();
        assert!(used.rss_bytes > 0 && used.peak_rss_bytes >= used.rss_bytes);
        assert!(ProcessUse::start(u32::MAX).is_err());
    }
}
