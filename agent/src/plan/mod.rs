//! Upgrades this host decides: plan file, batch, schedule. What is pending, what comes next, and what is
//! written down when it has come.
mod applied;
pub mod binary;
mod list;
mod name;
mod notice;
mod parse;
mod queue;
#[cfg(test)]
mod scratch;
mod standing;
mod watch;
mod write;

pub use applied::{Applied, RecordError, applied};
pub use list::{ListError, batch_file, cancel, entries, replace_batch, schedule, write_plan_file};
pub use name::{TitleError, in_home, name};
pub use notice::Notice;
pub use parse::{MAX_PLAN_BYTES, PlanError, PlanFlaw, height_of, one, read_json, read_plan_file};
pub use queue::{FaultKind, PlanFault, Queue};
pub use standing::Standing;
pub use watch::Watcher;
pub use write::{encode, encode_batch};

use common::id::ReleaseName;
use serde::Serialize;

/// Which place a plan is from, in the order in which they win over each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The plan file, written by the chain or its governance, or by the operator.
    PlanFile,
    /// A batch: `PLAN_FILE.batch`, or a file in the `plans` folder.
    Batch,
    /// This host's own schedule.
    Schedule,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Source::PlanFile => "plan file",
            Source::Batch => "batch",
            Source::Schedule => "schedule",
        })
    }
}

/// One upgrade of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its name as the other supervisors would write it: in lower case unless that is turned off.
    pub title: String,
    /// The release it leads to, as its folder is called.
    pub name: ReleaseName,
    /// First height under the new release, 1 to 2^63-1; `None` is at once.
    pub height: Option<u64>,
    /// What it says of where the release is: a text, or the JSON of an object; empty when it says nothing.
    pub info: String,
    /// The place it is from.
    pub source: Source,
}

impl Plan {
    /// Whether its time has come with this head of the chain; an unknown head is before every height.
    pub fn is_due(&self, head: Option<u64>) -> bool {
        self.height.is_none_or(|height| head.is_some_and(|head| head >= height))
    }

    /// Whether it is the upgrade that others call by this name.
    pub fn is_called(&self, title: &str) -> bool {
        name::same(&self.title, title)
    }
}
