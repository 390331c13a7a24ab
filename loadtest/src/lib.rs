//! What the system is tried on: a development network of real processes, whole fleets, simulated agents, the demo.
pub mod agents;
pub mod demo;
pub mod devnet;
pub mod devnode;
pub mod fleet;
pub mod supervise;
