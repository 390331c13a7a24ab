//! This process, by the names every exporter uses.
use super::{Page, number};
use std::sync::OnceLock;

pub(super) fn render(page: &mut Page) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name: field 3 of the manual is the first here.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).map(number);
    let hertz = number(rustix::param::clock_ticks_per_second());
    let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of the agent.",
        field(21).map(|pages| pages * number(page_size)),
    );
    let cpu = field(11).zip(field(12)).map(|(user, system)| (String::new(), (user + system) / hertz));
    page.family("process_cpu_seconds_total", "counter", "Processor time of the agent.", cpu);
    let started = field(19).zip(boot_seconds()).map(|(ticks, boot)| boot + ticks / hertz);
    page.gauge("process_start_time_seconds", "When the agent was started.", started);
}

/// When this machine was booted, in seconds since 1970.
fn boot_seconds() -> Option<f64> {
    static BOOT: OnceLock<Option<u64>> = OnceLock::new();
    let read = || {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()
    };
    BOOT.get_or_init(read).map(number)
}
