//! Installing agents over SSH.
pub mod apply;
pub mod error;
pub mod host;
pub mod hostkey;
pub mod install;
pub mod probe;
pub mod quote;
pub mod session;
pub mod target;
pub mod unit;
