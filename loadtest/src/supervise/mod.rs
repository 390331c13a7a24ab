//! What a supervisor costs beside its node: the real agent around a node of the size of a real one, alone and in a
//! fleet with a real coordinator. Everything is on loopback, bounded in time, and ended by its process id.
mod home;
mod node;
mod run;

pub use home::Resident;
pub use node::lived;
pub use run::run;

use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What is measured, and with which programs.
#[derive(Debug, Clone)]
pub struct SuperviseSpec {
    /// The agent.
    pub wemixvisor: PathBuf,
    /// The coordinator; `None` measures the agent alone only.
    pub wemixfleet: Option<PathBuf>,
    /// How long memory and CPU are watched, for each of the two.
    pub watch: Duration,
    /// Time between blocks.
    pub block: Duration,
    /// Size of the node's executable, in bytes; not smaller than this program.
    pub binary_bytes: u64,
    /// How often start, stop and switch are repeated, 1 or more.
    pub repeat: usize,
}

/// Times of something that was repeated, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Times {
    /// How often.
    pub count: usize,
    /// Shortest.
    pub min_ms: f64,
    /// Median.
    pub median_ms: f64,
    /// Longest.
    pub max_ms: f64,
}

impl Times {
    /// Of these, in nanoseconds.
    pub fn of(mut all: Vec<u128>) -> Times {
        all.sort_unstable();
        let ms = |i: usize| all.get(i).map_or(0.0, |ns| *ns as f64 / 1e6);
        let last = all.len().saturating_sub(1);
        Times { count: all.len(), min_ms: ms(0), median_ms: ms(last / 2), max_ms: ms(last) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.1} / {:.1} ms", self.min_ms, self.median_ms, self.max_ms)
    }
}

/// Memory and CPU of an agent over some time in which nothing happens but blocks.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Idle {
    /// At the end of it.
    pub memory: Resident,
    /// CPU time, user and system, as a share of one core in percent.
    pub cpu_percent: f64,
    /// For how long, in seconds.
    pub seconds: f64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let m = &self.memory;
        write!(
            f,
            "RSS {:.2} MiB (anonymous {:.2}, file {:.2}; peak {:.2}), {:.3} % of a core over {:.0} s",
            mib(m.rss_kib),
            mib(m.anon_kib),
            mib(m.file_kib),
            mib(m.peak_kib),
            self.cpu_percent,
            self.seconds
        )
    }
}

/// What a run measured.
#[derive(Debug, Clone, Serialize)]
pub struct SuperviseResult {
    /// Size of the node's executable, in bytes.
    pub binary_bytes: u64,
    /// Reading and hashing it, which is part of every start: by the same function in this program.
    pub digest: Times,
    /// Before the fork of the agent until the node's `main`, in a home that was started before.
    pub start: Times,
    /// The node's end until the agent's, after SIGTERM to the agent.
    pub stop: Times,
    /// The old node's end until the new one's `main`; `None` where the agent follows no plan files.
    pub switch: Option<Times>,
    /// The agent alone.
    pub alone: Idle,
    /// The agent that syncs with a coordinator over TLS 1.3 with client certificates.
    pub in_fleet: Option<Idle>,
}

impl fmt::Display for SuperviseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node's executable         {:.1} MiB", self.binary_bytes as f64 / f64::from(1 << 20))?;
        writeln!(f, "times                     shortest / median / longest")?;
        writeln!(f, "  digest of it            {} (in each of the starts below)", self.digest)?;
        writeln!(f, "  start to first exec     {}", self.start)?;
        writeln!(f, "  node's end to agent's   {}", self.stop)?;
        match &self.switch {
            Some(switch) => writeln!(f, "  switch, old end to new  {switch}")?,
            None => writeln!(f, "  switch                  not measured: this agent follows no plan file")?,
        }
        write!(f, "alone                     {}", self.alone)?;
        if let Some(idle) = &self.in_fleet {
            write!(f, "\nin a fleet, over TLS      {idle}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sorted_and_in_milliseconds() {
        let times = Times::of(vec![3_000_000, 1_000_000, 2_500_000]);
        assert_eq!(times, Times { count: 3, min_ms: 1.0, median_ms: 2.5, max_ms: 3.0 });
        assert_eq!(Times::of(vec![]), Times::default());
    }

    #[test]
    fn a_result_without_switch_says_so() {
        let memory = Resident { rss_kib: 2048, anon_kib: 1024, file_kib: 1024, peak_kib: 3072, threads: 2 };
        let idle = Idle { memory, cpu_percent: 0.05, seconds: 60.0 };
        let result = SuperviseResult {
            binary_bytes: 60 << 20,
            digest: Times::default(),
            start: Times::default(),
            stop: Times::default(),
            switch: None,
            alone: idle,
            in_fleet: Some(idle),
        };
        let text = result.to_string();
        assert!(text.contains("60.0 MiB") && text.contains("not measured"), "{text}");
        assert_eq!(text.matches("RSS 2.00 MiB").count(), 2, "{text}");
    }
}
