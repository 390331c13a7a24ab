//! How a fleet wants to be rolled: TOML policy in, resolved stages out, all errors at once.
mod builtin;
mod resolve;
mod resolved;
mod schema;
mod select;
mod validate;

pub use builtin::{BUILTIN, builtin};
pub use resolved::{
    Deadlines, Gate, Mode, Offline, OnFailure, Parallel, Promote, ProofPolicy, QuorumPolicy, QuorumRule,
    ResolvedPolicy, ResolvedStage,
};
pub use schema::PolicyFile;
pub use select::{Selector, SelectorError};
pub use validate::{PolicyError, PolicyErrors};
