//! What the machine asks its driver to do.
use super::Ledger;
use crate::release::{InstalledRelease, ReleaseRef};
use crate::time::{Span, UnixMs};

/// An order. Long ones (`Stage`, `Preflight`, `Stop`) end with exactly one matching event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make this ledger durable before anything after it begins.
    Persist(Box<Ledger>),
    /// Fetch and verify manifest and artifact of the release; ends with `Event::Staged`.
    Stage {
        /// The release.
        release: ReleaseRef,
        /// Give up after this long.
        within: Span,
    },
    /// Leave off whatever `Stage` or `Preflight` is doing; what is left off has no event.
    Cancel,
    /// Check everything that can be checked with the node running; ends with `Event::Preflighted`.
    Preflight {
        /// The staged release.
        release: InstalledRelease,
    },
    /// Stop the node: one SIGTERM, SIGKILL after `within`; ends with `Event::Stopped`. Without a process
    /// it ends at once, well. A `Start` that still waits for its instant is cancelled and has no event.
    Stop {
        /// Patience.
        within: Span,
    },
    /// With the node down: back up and run the hooks, in that order; ends with `Event::Prepared`. May be asked again
    /// after a crash of the agent in the middle of it.
    Prepare {
        /// The release that is about to be switched to.
        release: InstalledRelease,
    },
    /// Make `current` point to this release, atomically; ends with `Event::Switched`.
    Switch {
        /// The release.
        release: InstalledRelease,
    },
    /// Check the digest of `current` and execute it; ends with `Event::Started`. It takes the place of a `Start`
    /// that still waits for its instant.
    Start {
        /// The release `current` must be; anything else is refused.
        release: InstalledRelease,
        /// Not before this instant (restart back-off).
        not_before: UnixMs,
    },
    /// Look at the node more often until the machine says otherwise.
    Watch {
        /// Time between probes.
        every: Span,
    },
    /// The report changed: sync now rather than at the end of the current hold.
    Report,
}
