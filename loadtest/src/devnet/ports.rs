//! Free ports on loopback, outside the range from which the kernel takes ports for outgoing connections.
use super::error::DevnetError;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Ports this process has given out: they are free until their node listens, and must not be given out twice.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Finds `wanted` different free ports between 20000 and 32000.
///
/// # Errors
/// There are not that many.
pub fn free_ports(wanted: usize) -> Result<Vec<u16>, DevnetError> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let start = rand::random_range(0..COUNT);
    let mut held = Vec::with_capacity(wanted);
    for step in 0..COUNT {
        if held.len() == wanted {
            break;
        }
        let port = FIRST + (start + step) % COUNT;
        if !taken.contains(&port)
            && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        {
            held.push((port, listener));
        }
    }
    if held.len() < wanted {
        return Err(DevnetError::Ports { wanted });
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    taken.extend(&ports);
    Ok(ports)
}
