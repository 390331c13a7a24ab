//! The operator's command line: noun, then verb. Data goes to standard output, talk to standard error.
pub mod client;
pub mod context;
pub mod error;
pub mod escape;
pub mod output;
pub mod reasons;
