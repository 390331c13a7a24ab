//! `wemixfleet`.
mod cli;
mod ssh;
fn main() {}
