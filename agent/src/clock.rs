//! The host's clock, one that does not jump, and faults that carry a time.
use common::time::{Span, UnixMs};
use common::wire::v1::{Fault, FaultCode};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Display;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Longest detail of a fault, in characters.
const MAX_DETAIL: usize = 512;

/// Now, by this host's clock.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Time since the machine was started, sleep included. Nobody sets it, and every process sees the same.
pub fn since_boot() -> Span {
    let time = clock_gettime(ClockId::Boottime);
    let millis = time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000);
    Span(u64::try_from(millis).unwrap_or(0))
}

/// Now, by the host's clock as it was when this process first asked, and what passed since. Everything that waits
/// for a time waits by this: when the host's clock is set back by an hour, a node that is to be started again in a
/// second must not stay down for an hour, and when it is set forward, no deadline is over.
pub fn steady() -> UnixMs {
    static BEGAN: OnceLock<(UnixMs, Span)> = OnceLock::new();
    let (wall, at) = *BEGAN.get_or_init(|| (now(), since_boot()));
    wall.plus(Span(since_boot().0.saturating_sub(at.0)))
}

/// A fault of this moment; a long detail is cut.
pub fn fault(code: FaultCode, detail: impl Display) -> Fault {
    Fault { code, detail: detail.to_string().chars().take(MAX_DETAIL).collect(), at: now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_never_goes_back_and_begins_as_the_hosts() {
        let before = now();
        let first = steady();
        assert!(first.since(before) < Span::mins(1), "{before:?} {first:?}");
        let mut last = first;
        for _ in 0..1000 {
            let next = steady();
            assert!(next >= last, "{next:?} after {last:?}");
            last = next;
        }
        assert!(since_boot() > Span::ZERO);
    }
}
