//! The host's clock, and faults that carry its time.
use common::time::UnixMs;
use common::wire::v1::{Fault, FaultCode};
use std::fmt::Display;
use std::time::SystemTime;

/// Longest detail of a fault, in characters.
const MAX_DETAIL: usize = 512;

/// Now, by this host's clock.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A fault of this moment; a long detail is cut.
pub fn fault(code: FaultCode, detail: impl Display) -> Fault {
    Fault { code, detail: detail.to_string().chars().take(MAX_DETAIL).collect(), at: now() }
}
