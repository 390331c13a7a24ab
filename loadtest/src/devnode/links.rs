//! Links between nodes. Each node dials every peer and speaks on that connection only; what it hears comes over the
//! connections that the others dialled. One link per key and direction: a second process with the same key is refused.
use super::message::{self, Hello, MAX_FRAME, Message};
use common::chain::{Address, Hash32};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Messages that may wait for one peer; more are dropped, consensus repeats what matters.
const QUEUE: usize = 256;
/// Most links accepted at a time.
const MAX_LINKS: usize = 256;

/// A peer as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Address of its key.
    pub address: Address,
    /// Where it listens.
    pub socket: SocketAddr,
}

/// What the links tell the node.
#[derive(Debug)]
pub enum LinkEvent {
    /// Our connection to a peer is up.
    Up(Address),
    /// A message from a peer.
    Message(Address, Message),
}

/// Who we are, as told in every hello.
#[derive(Debug)]
pub struct Identity {
    /// Address of our key.
    pub address: Address,
    /// Random number of this process.
    pub instance: u64,
    /// Hash of the genesis block.
    pub genesis: Hash32,
    /// Our head, kept current by the node.
    pub head: AtomicU64,
    /// Links that were refused because their key is in use.
    pub double_keys: AtomicU64,
    /// Times we were refused ourselves.
    pub refused: AtomicU64,
}

/// The sending side of all links.
#[derive(Debug)]
pub struct Links {
    senders: BTreeMap<Address, mpsc::Sender<Arc<Vec<u8>>>>,
    up: Arc<Mutex<BTreeMap<Address, u64>>>,
}

impl Links {
    /// Starts listening and dialling. Must be called inside a local task set or any tokio runtime.
    pub fn start(
        listener: TcpListener,
        peers: &[Peer],
        identity: &Arc<Identity>,
        events: &mpsc::Sender<LinkEvent>,
    ) -> Self {
        let mut senders = BTreeMap::new();
        let known: Vec<Address> = peers.iter().map(|p| p.address).collect();
        for peer in peers.iter().filter(|p| p.address != identity.address) {
            let (sender, queue) = mpsc::channel(QUEUE);
            senders.insert(peer.address, sender);
            tokio::spawn(dial(peer.clone(), queue, identity.clone(), events.clone()));
        }
        let up = Arc::new(Mutex::new(BTreeMap::new()));
        tokio::spawn(accept(listener, known, identity.clone(), events.clone(), up.clone()));
        Self { senders, up }
    }

    /// How many peers are connected to us.
    pub fn peer_count(&self) -> usize {
        self.up.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sends to one peer; dropped when its queue is full or the peer unknown.
    pub fn send(&self, to: Address, message: &Message) {
        match message::encode(message) {
            Ok(frame) => {
                if let Some(sender) = self.senders.get(&to) {
                    let _ = sender.try_send(Arc::new(frame));
                }
            }
            Err(error) => tracing::error!(%error, "Message cannot be sent"),
        }
    }

    /// Sends to all peers in `to`, or to all there are.
    pub fn broadcast(&self, message: &Message, to: Option<&[Address]>) {
        let Ok(frame) = message::encode(message).map(Arc::new) else { return };
        for (address, sender) in &self.senders {
            if to.is_none_or(|t| t.contains(address)) {
                let _ = sender.try_send(frame.clone());
            }
        }
    }
}

async fn dial(
    peer: Peer,
    mut queue: mpsc::Receiver<Arc<Vec<u8>>>,
    identity: Arc<Identity>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut pause = Duration::from_millis(50);
    loop {
        if let Ok(Ok(stream)) = timeout(Duration::from_secs(2), TcpStream::connect(peer.socket)).await {
            // What was queued while the peer was away is about the past.
            while queue.try_recv().is_ok() {}
            match speak(stream, &peer, &mut queue, &identity, &events).await {
                Some(reason) => {
                    identity.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(peer = %peer.address, reason, "Peer refused us");
                    pause = Duration::from_secs(1);
                }
                None => pause = Duration::from_millis(50),
            }
        }
        if queue.is_closed() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Speaks until the link breaks; a text when the peer refused us.
async fn speak(
    mut stream: TcpStream,
    peer: &Peer,
    queue: &mut mpsc::Receiver<Arc<Vec<u8>>>,
    identity: &Identity,
    events: &mpsc::Sender<LinkEvent>,
) -> Option<String> {
    use tokio::io::AsyncWriteExt;
    let _ = stream.set_nodelay(true);
    let (mut from, mut to) = stream.split();
    let hello = Message::Hello(Hello {
        address: identity.address,
        instance: identity.instance,
        genesis: identity.genesis,
        head: identity.head.load(Ordering::Relaxed),
    });
    message::write(&mut to, &hello).await.ok()?;
    events.send(LinkEvent::Up(peer.address)).await.ok()?;
    let answer = message::read(&mut from);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            frame = queue.recv() => to.write_all(&frame?).await.ok()?,
            said = &mut answer => return match said {
                Ok(Message::Refused { reason }) => Some(reason.chars().take(200).collect()),
                _ => None,
            },
        }
    }
}

async fn accept(
    listener: TcpListener,
    known: Vec<Address>,
    identity: Arc<Identity>,
    events: mpsc::Sender<LinkEvent>,
    up: Arc<Mutex<BTreeMap<Address, u64>>>,
) {
    let places = Arc::new(tokio::sync::Semaphore::new(MAX_LINKS));
    let known = Arc::new(known);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (known, identity, events, up) = (known.clone(), identity.clone(), events.clone(), up.clone());
        tokio::spawn(async move {
            hear(stream, &known, &identity, &events, &up).await;
            drop(place);
        });
    }
}

/// Hears one peer until its link breaks.
async fn hear(
    mut stream: TcpStream,
    known: &[Address],
    identity: &Identity,
    events: &mpsc::Sender<LinkEvent>,
    up: &Mutex<BTreeMap<Address, u64>>,
) {
    let hello = match timeout(Duration::from_secs(5), message::read(&mut stream)).await {
        Ok(Ok(Message::Hello(hello))) => hello,
        _ => return,
    };
    // A node that was killed and started again may be here before the end of its old link was noticed.
    for _ in 0..6 {
        let taken = up.lock().unwrap_or_else(PoisonError::into_inner).get(&hello.address).copied();
        if taken.is_none_or(|instance| instance == hello.instance) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    if let Err(reason) = admit(&hello, known, identity, up) {
        tracing::error!(peer = %hello.address, reason, "Peer refused");
        let _ = message::write(&mut stream, &Message::Refused { reason }).await;
        return;
    }
    let mut stream = tokio::io::BufReader::with_capacity(16 * 1024, stream);
    let head = Message::Records { records: Vec::new(), head: hello.head };
    let mut open = events.send(LinkEvent::Message(hello.address, head)).await.is_ok();
    while open {
        open = match message::read(&mut stream).await {
            Ok(said) => events.send(LinkEvent::Message(hello.address, said)).await.is_ok(),
            Err(error) => {
                tracing::debug!(peer = %hello.address, %error, limit = MAX_FRAME, "Peer left");
                false
            }
        };
    }
    up.lock().unwrap_or_else(PoisonError::into_inner).remove(&hello.address);
}

fn admit(
    hello: &Hello,
    known: &[Address],
    identity: &Identity,
    up: &Mutex<BTreeMap<Address, u64>>,
) -> Result<(), String> {
    if hello.genesis != identity.genesis {
        return Err(format!("genesis mismatch: {} here, {} there", identity.genesis, hello.genesis));
    }
    let mut up = up.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = hello.address == identity.address;
    if ours || up.get(&hello.address).is_some_and(|instance| *instance != hello.instance) {
        identity.double_keys.fetch_add(1, Ordering::Relaxed);
        return Err(format!("the key of {} is used by two processes", hello.address));
    }
    if !known.contains(&hello.address) {
        return Err(format!("{} is not among the configured peers", hello.address));
    }
    up.insert(hello.address, hello.instance);
    Ok(())
}
