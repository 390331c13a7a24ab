//! To be written.
/// One thing wrong with a policy.
#[derive(Debug)]
pub struct PolicyError;
