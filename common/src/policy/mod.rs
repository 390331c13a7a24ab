//! How a fleet wants to be rolled: TOML policy in, resolved stages out, all errors at once.
mod resolved;
mod schema;
mod select;
mod validate;

pub use resolved::{
    Deadlines, Gate, Parallel, Promote, QuorumPolicy, QuorumRule, ResolvedPolicy, ResolvedStage,
};
pub use schema::PolicyFile;
pub use select::{Selector, SelectorError};
pub use validate::PolicyError;
