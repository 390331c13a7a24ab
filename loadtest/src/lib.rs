//! What the system is tried on: a development network of real processes, simulated agents, the demo.
pub mod devnet;
pub mod devnode;
