//! How many blocks to ask for at a time: grows while answers are small and quick, halves when an endpoint
//! refuses. Pure.
use common::time::Span;

/// Logs an answer should have: below it ranges grow, well above it they shrink.
const AIM_LOGS: u64 = 1000;
/// An answer that took longer than this is no reason to grow.
const QUICK: Span = Span(2000);
/// Full ranges after which a refused size is tried again.
const FORGET_AFTER: u32 = 200;
/// Most a range grows in one step.
const MOST_GROWTH: u64 = 10;

/// The size of the next range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    size: u64,
    cap: u64,
    /// Smallest size that was refused since it was last forgotten.
    refused: Option<u64>,
    /// Full ranges answered since then.
    calm: u32,
}

impl Ranges {
    /// Starts at `first` blocks and never asks for more than `cap`; both at least 1.
    pub fn new(first: u64, cap: u64) -> Self {
        let cap = cap.max(1);
        Self { size: first.clamp(1, cap), cap, refused: None, calm: 0 }
    }

    /// Last height of the range that starts at `from`, not beyond `limit`; `None` when nothing is left.
    pub fn end(&self, from: u64, limit: u64) -> Option<u64> {
        (from <= limit).then(|| from.saturating_add(self.size - 1).min(limit))
    }

    /// Blocks the next range may have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// An endpoint answered `logs` logs for `blocks` blocks after `elapsed`.
    pub fn answered(&mut self, blocks: u64, logs: u64, elapsed: Span) {
        if logs > AIM_LOGS {
            // By density: half the aim leaves room for denser blocks ahead.
            let fits = blocks.saturating_mul(AIM_LOGS) / logs;
            self.size = fits.clamp(1, self.cap);
        } else if elapsed <= QUICK && blocks >= self.size {
            // Only a full range says something of the size; the last one before the head is short.
            let room = AIM_LOGS / logs.max(AIM_LOGS / MOST_GROWTH);
            self.size = self.below_refused(self.size.saturating_mul(room.max(1)).min(self.cap));
        }
    }

    /// Halfway to the size that was refused, and no further when that is near: most endpoints have a fixed
    /// limit, and asking beyond it again and again costs a request each time. What was refused for a moment's
    /// overload is tried again after a while.
    fn below_refused(&mut self, wanted: u64) -> u64 {
        let Some(refused) = self.refused.filter(|refused| wanted >= *refused) else { return wanted };
        self.calm += 1;
        if self.calm > FORGET_AFTER {
            (self.refused, self.calm) = (None, 0);
            return wanted;
        }
        let room = refused.saturating_sub(self.size) / 2;
        if room <= self.size / 8 { self.size } else { self.size + room }
    }

    /// An endpoint refused a range of `blocks` blocks as too much. `false` when it cannot get smaller.
    pub fn refused(&mut self, blocks: u64) -> bool {
        if blocks <= 1 {
            self.size = 1;
            return false;
        }
        self.refused = Some(blocks);
        self.calm = 0;
        self.size = (blocks / 2).clamp(1, self.cap);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_on_silence_and_halves_on_refusal() {
        let mut ranges = Ranges::new(100, 100_000);
        assert_eq!(ranges.end(1, 1_000_000), Some(100));
        ranges.answered(100, 0, Span(10));
        assert_eq!(ranges.size(), 1000);
        ranges.answered(1000, 0, Span(5000));
        assert_eq!(ranges.size(), 1000, "slow answers are no reason to grow");
        assert!(ranges.refused(1000));
        assert_eq!(ranges.size(), 500);
        ranges.answered(500, 10_000, Span(10));
        assert_eq!(ranges.size(), 50, "by density");
        assert!(!ranges.refused(1));
        assert_eq!(ranges.size(), 1);
    }

    #[test]
    fn ends_at_the_limit() {
        let ranges = Ranges::new(10, 10);
        assert_eq!(ranges.end(95, 100), Some(100));
        assert_eq!(ranges.end(100, 100), Some(100));
        assert_eq!(ranges.end(101, 100), None);
        assert_eq!(ranges.end(u64::MAX, u64::MAX), Some(u64::MAX));
    }

    proptest! {
        /// Whatever an endpoint with a limit of its own answers, every block is covered once, in order, and the
        /// walk ends.
        #[test]
        fn covers_everything_once(from in 0u64..1000, blocks in 1u64..5000, allowed in 1u64..700, density in 0u64..40, cap in 1u64..2000) {
            let head = from + blocks - 1;
            let most = 2 * (blocks / allowed.min(cap) + 1) + 40;
            let mut ranges = Ranges::new(100, cap);
            let mut next = from;
            let mut requests = 0;
            while let Some(end) = ranges.end(next, head) {
                requests += 1;
                prop_assert!(density > 0 || requests < most, "{requests} requests");
                prop_assert!(requests < 20_000, "does not end");
                prop_assert!(end >= next && end <= head && end - next < cap);
                let count = end - next + 1;
                if count > allowed {
                    prop_assert!(ranges.refused(count));
                    continue;
                }
                ranges.answered(count, count * density, Span(1));
                next = end + 1;
            }
            prop_assert_eq!(next, head + 1);
        }
    }
}
