//! Bodies that cross the network. Additive changes only within a version; unknown fields are ignored on read.
pub mod problem;
pub mod v1;
