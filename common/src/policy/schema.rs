//! To be written.
/// A policy as written.
#[derive(Debug)]
pub struct PolicyFile;
