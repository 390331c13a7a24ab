//! The loop of a node: links and time into consensus, and what consensus wants into the world.
use super::commit::{CommitError, CommitPoint};
use super::consensus::{Core, Effect, RecordError};
use super::ledger::Ledger;
use super::links::{Identity, LinkEvent, Links};
use super::message::Message;
use super::metrics::Counters;
use super::now_ms;
use super::record::SealRecord;
use super::{Genesis, Release};
use common::chain::{Address, Hash32};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes of records sent in one answer, roughly; a frame holds twice as much.
const MAX_ANSWER: usize = 512 * 1024;
/// Time before an unanswered question is asked again, milliseconds.
const ASK_AGAIN_MS: u64 = 1_000;
/// The same after a block that our release refuses.
const ASK_AGAIN_STUCK_MS: u64 = 5_000;

/// What the RPC server and the consensus loop share.
#[derive(Debug)]
pub struct State {
    /// The genesis.
    pub genesis: Genesis,
    /// Hash of block 0.
    pub genesis_hash: Hash32,
    /// This process's release.
    pub release: Release,
    /// Network id.
    pub network_id: u64,
    /// Who we are.
    pub identity: Arc<Identity>,
    /// Links to the others.
    pub links: Links,
    /// Whether this node takes part in consensus.
    pub sealing: bool,
    /// Highest head heard of.
    pub highest: AtomicU64,
    /// Head at start.
    pub starting_block: u64,
    /// Height of a block refused because of its rules; 0 when there is none.
    pub bad_block: AtomicU64,
    /// Counters.
    pub counters: Counters,
    pub(super) ledger: RwLock<Ledger>,
}

impl State {
    /// The chain as this node has it.
    pub fn chain(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Height of this node's head.
    pub fn head(&self) -> u64 {
        self.identity.head.load(Relaxed)
    }
}

/// The loop of one node.
#[derive(Debug)]
pub struct Runner {
    core: Core,
    state: Arc<State>,
    commit: CommitPoint,
    commits: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    commit_running: bool,
    peer_heads: BTreeMap<Address, u64>,
    asked_ms: u64,
    bad_logged_ms: u64,
}

type Outcome = Result<SealRecord, CommitError>;

impl Runner {
    /// A loop for `core`.
    pub fn new(core: Core, state: Arc<State>, commit: CommitPoint) -> Self {
        Self {
            core,
            state,
            commit,
            commits: mpsc::channel(1),
            commit_running: false,
            peer_heads: BTreeMap::new(),
            asked_ms: 0,
            bad_logged_ms: 0,
        }
    }

    /// Runs until `stop`; a commit that has begun is waited for, for at most two seconds.
    pub async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>, stop: CancellationToken) {
        loop {
            let wake = self.core.next_wake_ms().map(|w| w.saturating_sub(now_ms()));
            tokio::select! {
                () = stop.cancelled() => break,
                event = events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => break,
                },
                Some(outcome) = self.commits.1.recv() => self.on_commit(outcome),
                () = tokio::time::sleep(Duration::from_millis(wake.unwrap_or(u64::from(u32::MAX)))),
                    if wake.is_some() =>
                {
                    let effects = self.core.tick(now_ms());
                    self.apply(effects);
                }
            }
        }
        if self.commit_running
            && let Ok(Some(outcome)) =
                tokio::time::timeout(Duration::from_secs(2), self.commits.1.recv()).await
        {
            self.on_commit(outcome);
        }
        if let Err(error) = self.state.chain().flush() {
            tracing::error!(%error, "Chain could not be flushed");
        }
    }

    fn on_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(peer) => {
                let effects = self.core.peer_up(peer);
                self.apply(effects);
                if self.peer_heads.get(&peer).is_some_and(|h| *h > self.state.head()) {
                    self.ask(peer);
                }
            }
            LinkEvent::Message(from, message) => self.on_message(from, message),
        }
    }

    fn on_message(&mut self, from: Address, message: Message) {
        let now = now_ms();
        let effects = match message {
            Message::Proposal(p) => self.core.on_proposal(from, p, now),
            Message::Vote(v) => self.core.on_vote(from, &v),
            Message::RoundChange { height, round } => self.core.on_round_change(from, height, round, now),
            Message::Sealed(record) => {
                let height = record.height();
                return self.on_records(from, vec![record], height);
            }
            Message::Records { records, head } => return self.on_records(from, records, head),
            Message::GetRecords { from: first } => return self.answer(from, first),
            Message::Hello(_) | Message::Refused { .. } => return,
        };
        self.apply(effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Broadcast(message) => self.broadcast(message),
                Effect::Send(to, message) => self.state.links.send(to, &message),
                Effect::Commit(proposal, committed) => {
                    self.commit_running = true;
                    let (commit, done) = (self.commit.clone(), self.commits.0.clone());
                    tokio::spawn(async move {
                        let _ = done.send(commit.commit(proposal, committed).await).await;
                    });
                }
                Effect::Behind(peer) => self.behind(peer),
                Effect::BadBlock { height, from, theirs, ours } => {
                    self.state.bad_block.store(height, Relaxed);
                    self.log_bad(from, &RecordError::Fork { height, theirs, ours });
                }
                Effect::DoubleVote(peer) => {
                    self.state.identity.double_keys.fetch_add(1, Relaxed);
                    tracing::error!(%peer, "Validator voted twice: its key is used by two processes");
                }
                Effect::RoundChange(round) => {
                    self.state.counters.round_changes.fetch_add(1, Relaxed);
                    tracing::warn!(height = self.core.height(), round, "Round change");
                }
            }
        }
    }

    fn broadcast(&self, message: Message) {
        let to = self.state.genesis.validators();
        if !matches!(message, Message::Vote(_)) {
            return self.state.links.broadcast(&message, Some(to));
        }
        // Real votes do not arrive in the same order everywhere: without this the same ones would always be late.
        let longest = (self.state.genesis.timing().block_period_ms / 20).clamp(1, 20);
        let pause = Duration::from_millis(rand::random_range(0..longest));
        let state = self.state.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            state.links.broadcast(&message, Some(state.genesis.validators()));
        });
    }

    fn on_commit(&mut self, outcome: Outcome) {
        self.commit_running = false;
        match outcome {
            Ok(record) => {
                let sealed = Message::Sealed(record.clone());
                if self.import(self.state.identity.address, record) {
                    self.state.links.broadcast(&sealed, None);
                } else {
                    self.core.commit_failed();
                }
            }
            Err(error) => {
                self.core.commit_failed();
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "Block could not be committed");
            }
        }
    }

    /// Takes a record as the next block; `false` when it is not.
    fn import(&mut self, from: Address, record: SealRecord) -> bool {
        match self.core.check(&record) {
            Ok(()) => {}
            Err(RecordError::Height { .. }) => return false,
            Err(error) => {
                if matches!(error, RecordError::Fork { .. }) {
                    self.state.bad_block.store(record.height(), Relaxed);
                }
                self.log_bad(from, &error);
                return false;
            }
        }
        let (height, round) = (record.height(), record.proposal.round);
        let pushed = self.state.ledger.write().unwrap_or_else(PoisonError::into_inner).push(record.clone());
        if let Err(error) = pushed {
            tracing::error!(%error, height, "Block could not be stored");
            return false;
        }
        self.core.new_head(record, now_ms());
        self.state.identity.head.store(height, Relaxed);
        self.state.highest.fetch_max(height, Relaxed);
        self.state.bad_block.store(0, Relaxed);
        self.state.counters.imported(round);
        tracing::debug!(height, round, "Imported block");
        true
    }

    fn on_records(&mut self, from: Address, records: Vec<SealRecord>, head: u64) {
        self.peer_heads.insert(from, head);
        self.state.highest.fetch_max(head, Relaxed);
        let mut progress = false;
        for record in records {
            if record.height() > self.state.head() {
                if !self.import(from, record) {
                    break;
                }
                progress = true;
            }
        }
        if progress {
            self.asked_ms = 0;
        }
        if head > self.state.head() {
            self.behind(from);
        }
    }

    /// Asks a peer for what we lack, not more often than makes sense.
    fn behind(&mut self, peer: Address) {
        let stuck = self.state.bad_block.load(Relaxed) != 0;
        let pause = if stuck { ASK_AGAIN_STUCK_MS } else { ASK_AGAIN_MS };
        if now_ms().saturating_sub(self.asked_ms) >= pause {
            self.ask(peer);
        }
    }

    fn ask(&mut self, peer: Address) {
        self.asked_ms = now_ms();
        self.state.links.send(peer, &Message::GetRecords { from: self.state.head() + 1 });
    }

    fn answer(&self, to: Address, first: u64) {
        let chain = self.state.chain();
        let mut records = Vec::new();
        let mut bytes = 0;
        for record in (first.max(1)..=chain.head()).map_while(|h| chain.get(h)) {
            bytes += 300 + 48 * (record.committed.len() + record.proposal.prev_committed.len());
            if bytes > MAX_ANSWER {
                break;
            }
            records.push(SealRecord::clone(record));
        }
        self.state.links.send(to, &Message::Records { records, head: chain.head() });
    }

    fn log_bad(&mut self, from: Address, error: &RecordError) {
        let now = now_ms();
        if now.saturating_sub(self.bad_logged_ms) >= 10_000 {
            self.bad_logged_ms = now;
            tracing::error!(%from, "{error}");
        }
    }
}
