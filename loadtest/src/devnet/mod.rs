//! A development network of real processes on one machine: one anvil, N validators, M RPC nodes.
mod anvil;
mod error;
pub mod governance;
mod network;
mod plan;
mod poll;
mod ports;
mod process;
mod release;
mod rpc;

pub use anvil::find_anvil;
pub use error::DevnetError;
pub use network::Network;
pub use plan::{DevNode, NetworkFile, NetworkSpec, Role};
pub use poll::{PollError, wait_until};
pub use ports::free_ports;
pub use process::Exit;
pub use release::make_release;
pub use rpc::{Rpc, RpcError, rpc};
