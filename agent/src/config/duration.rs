//! Lengths of time as Go programs write them, which is how the incumbents' files and variables say them.
use common::time::Span;

/// Units of Go's durations with their length in nanoseconds; the micro sign exists twice in Unicode.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `1h2m3.5s`, `300ms`, `1.5µs`, `0`. A part of a millisecond counts as a whole one, so that what is
/// not zero stays so.
///
/// # Errors
/// A text that Go would not read either, or a negative one.
pub fn go(text: &str) -> Result<Span, String> {
    let bad = || format!("{text:?} is no length of time: write for example \"300ms\", \"90s\" or \"1h30m\"");
    if text.starts_with('-') {
        return Err(format!("{text:?} is negative: write a length of time such as \"90s\""));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Span::ZERO);
    }
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (digits, after) = rest.split_at(number);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        total = scaled(digits, *factor).and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = after;
    }
    nanoseconds(total).ok_or_else(bad)
}

/// A span of so many nanoseconds, rounded up to milliseconds; `None` when it is too long.
pub fn nanoseconds(ns: u128) -> Option<Span> {
    u64::try_from(ns.div_ceil(1_000_000)).ok().map(Span)
}

/// `digits` (with at most one point) times `factor`; what is finer than a nanosecond is cut off.
fn scaled(digits: &str, factor: u128) -> Option<u128> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part = &part[..part.len().min(18)];
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let fraction: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    whole.checked_mul(factor)?.checked_add(fraction.checked_mul(factor)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_is_read() {
        for (text, ms) in [
            ("1h2m3.5s", 3_723_500),
            ("300ms", 300),
            ("1.5\u{b5}s", 1),
            ("1500us", 2),
            ("2000\u{3bc}s", 2),
            (".5s", 500),
            ("1.s", 1000),
            ("+3m", 180_000),
            ("0", 0),
            ("0s", 0),
            ("300000000ns", 300),
        ] {
            assert_eq!(go(text), Ok(Span(ms)), "{text}");
        }
        for bad in ["", "bad", "600", "-3m", "1", "s", "1x", "1..5s", ".s", "1s2", "1 s", "2d", "1e3s"] {
            assert!(go(bad).is_err(), "{bad:?}");
        }
        assert!(go(&format!("{}h", "9".repeat(30))).is_err());
    }
}
