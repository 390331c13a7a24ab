//! Backups of the node's data: made, sealed, listed, verified, pruned, restored.
//!
//! A backup is a folder with a `manifest.json`, a list of entries with their digests, and the files
//! themselves. It grows under a hidden name and gets its own when it is complete and on disk, so what has
//! the name of a backup is one. While the node is down only [`snapshot()`] runs; digests of files whose blocks
//! are shared are computed afterwards, by [`Backup::seal`].
//!
//! Everything here blocks; an async caller runs it where blocking is allowed.
mod archive;
mod build;
mod catalog;
mod copy;
mod entries;
mod error;
mod journal;
mod keys;
pub mod manifest;
mod mounts;
mod owner;
mod partial;
mod pattern;
mod plan;
mod prune;
mod restore;
mod seal;
mod snapshot;
mod target;
mod verify;
mod walk;

pub use catalog::{Catalog, Found, State, catalog, find};
pub use error::BackupError;
pub use journal::{Journal, Phase, Step, repair};
pub use pattern::Pattern;
pub use plan::{Place, Plan, plan, reflink_possible};
pub use prune::{Pruned, choose, prune};
pub use restore::{Options, Prepared, Restored, Source, prepare, restore};
pub use seal::{Backup, seal_all};
pub use snapshot::{Meta, check_label, snapshot};
pub use verify::Verdict;

/// Folder of the saved files in a backup.
pub const FILES: &str = "files";

/// How far something is, in bytes of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Done so far.
    pub done: u64,
    /// All there is, as it was planned.
    pub total: u64,
}

/// Is told how far something is, often.
pub type Tell<'a> = dyn FnMut(Progress) + 'a;

impl Progress {
    fn add(&mut self, bytes: u64, tell: &mut Tell<'_>) {
        self.done = self.done.saturating_add(bytes);
        tell(*self);
    }
}
