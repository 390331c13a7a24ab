//! What nodes say to each other: a length (u32, big endian) and JSON, at most 1 MiB.
use super::record::{Proposal, SealRecord};
use common::chain::{Address, Hash32};
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame accepted, bytes.
pub const MAX_FRAME: usize = 1 << 20;

/// First frame of a link, from who dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Address of the node's key.
    pub address: Address,
    /// Random number of this process: two processes with one key differ here.
    pub instance: u64,
    /// Hash of the genesis block.
    pub genesis: Hash32,
    /// Height of the node's head.
    pub head: u64,
}

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// First message of a link.
    Hello(Hello),
    /// The link is not wanted; the only message that goes against a link's direction.
    Refused {
        /// Why.
        reason: String,
    },
    /// A block is proposed.
    Proposal(Proposal),
    /// The sender commits to a proposal.
    Vote(Vote),
    /// The sender wants this round, because the one before brought no block.
    RoundChange {
        /// Height that is being decided.
        height: u64,
        /// Round wanted.
        round: u64,
    },
    /// A block was sealed.
    Sealed(SealRecord),
    /// The sender wants the records from this height on.
    GetRecords {
        /// First height wanted.
        from: u64,
    },
    /// Records in order, the answer to `GetRecords`.
    Records {
        /// The records.
        records: Vec<SealRecord>,
        /// The sender's head.
        head: u64,
    },
}

/// A commitment to one proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Height voted on.
    pub height: u64,
    /// Round voted in.
    pub round: u64,
    /// Digest of the proposal.
    pub digest: String,
}

/// Encodes a message as a frame.
///
/// # Errors
/// The message is larger than a frame may be.
pub fn encode(message: &Message) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let len = frame.len() - 4;
    if len > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {len} bytes is too long"),
        ));
    }
    let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    frame[..4].copy_from_slice(&prefix);
    Ok(frame)
}

/// Writes one message.
///
/// # Errors
/// The link is broken, or the message too large.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    to.write_all(&encode(message)?).await
}

/// Reads one message.
///
/// # Errors
/// The link is broken or closed, or brought something that is no message.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let len = from.read_u32().await? as usize;
    if len > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {len} bytes is too long"),
        ));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}
