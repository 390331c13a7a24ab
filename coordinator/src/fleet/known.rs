//! Everything stored, decoded, with the revision of each row.
use super::{FleetError, Write};
use crate::api::body::{EventEntry, ProposalCheck};
use crate::auth::{JoinRecord, TokenRecord};
use crate::release::ReleaseRecord;
use crate::store::{Condition, Op, Snapshot};
use common::chain::Hash32;
use common::fleet::NodeRecord;
use common::id::{NodeName, ReleaseName, RolloutId};
use common::planner::OutstandingPermission;
use common::release::Digest;
use common::rollout::Rollout;
use common::wire::v1::Instruction;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A decoded row with the revision that wrote it.
#[derive(Debug, Clone)]
pub struct Row<T> {
    /// Revision of the commit.
    pub revision: u64,
    /// The value.
    pub value: T,
}

/// What became of an approved proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Newest result.
    pub check: ProposalCheck,
    /// The draft made from it.
    pub rollout: Option<RolloutId>,
}

/// End of the hash chain of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHead {
    /// Number of the newest event; 0 before the first.
    pub seq: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// Everything stored.
#[derive(Debug, Default)]
pub struct Known {
    /// Registered nodes.
    pub nodes: BTreeMap<NodeName, Row<NodeRecord>>,
    /// Instructions.
    pub desired: BTreeMap<NodeName, Row<Instruction>>,
    /// Outstanding permissions.
    pub permissions: BTreeMap<NodeName, Row<OutstandingPermission>>,
    /// Rollouts.
    pub rollouts: BTreeMap<RolloutId, Row<Rollout>>,
    /// Releases.
    pub releases: BTreeMap<ReleaseName, Row<ReleaseRecord>>,
    /// Operators' tokens.
    pub tokens: BTreeMap<Digest, Row<TokenRecord>>,
    /// Join tokens.
    pub joins: BTreeMap<Digest, Row<JoinRecord>>,
    /// Approved proposals, by plan id.
    pub checks: BTreeMap<Hash32, Row<CheckRecord>>,
    /// History, by number.
    pub events: BTreeMap<u64, EventEntry>,
    head: Option<Row<EventHead>>,
    next_permission: Option<Row<u64>>,
    next_rollout: Option<Row<u64>>,
}

/// A commit that was decided and not yet written.
#[derive(Debug)]
pub(super) struct Staged {
    pub conditions: Vec<Condition>,
    pub ops: Vec<Op>,
    writes: Vec<Write>,
    events: Vec<EventEntry>,
    head: Option<EventHead>,
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, FleetError> {
    serde_json::from_slice(bytes).map_err(|e| FleetError::Row { key: key.into(), why: e.to_string() })
}

fn encode<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, FleetError> {
    serde_json::to_vec(value).map_err(|e| FleetError::Row { key: key.into(), why: e.to_string() })
}

impl Known {
    /// Decodes a snapshot of the whole store.
    ///
    /// # Errors
    /// [`FleetError::Row`] names the row that cannot be read.
    pub fn load(snapshot: &Snapshot) -> Result<Self, FleetError> {
        let mut known = Known::default();
        for (key, row) in &snapshot.rows {
            known.load_row(key, row.revision, &row.value)?;
        }
        Ok(known)
    }

    fn load_row(&mut self, key: &str, revision: u64, bytes: &[u8]) -> Result<(), FleetError> {
        let unreadable = |why: String| FleetError::Row { key: key.into(), why };
        let (room, name) = key.split_once('/').ok_or_else(|| unreadable("no such room".into()))?;
        let node = || NodeName::new(name).map_err(|e| unreadable(e.to_string()));
        match room {
            "nodes" => {
                self.nodes.insert(node()?, Row { revision, value: decode(key, bytes)? });
            }
            "desired" => {
                self.desired.insert(node()?, Row { revision, value: decode(key, bytes)? });
            }
            "permissions" => {
                self.permissions.insert(node()?, Row { revision, value: decode(key, bytes)? });
            }
            "rollouts" => {
                let value: Rollout = decode(key, bytes)?;
                self.rollouts.insert(value.id.clone(), Row { revision, value });
            }
            "releases" => {
                let value: ReleaseRecord = decode(key, bytes)?;
                self.releases.insert(value.release.name.clone(), Row { revision, value });
            }
            "tokens" => {
                let value: TokenRecord = decode(key, bytes)?;
                self.tokens.insert(value.id, Row { revision, value });
            }
            "joins" => {
                let value: JoinRecord = decode(key, bytes)?;
                self.joins.insert(value.id, Row { revision, value });
            }
            "checks" => {
                let plan: Hash32 = name.parse().map_err(|e| unreadable(format!("{e}")))?;
                self.checks.insert(plan, Row { revision, value: decode(key, bytes)? });
            }
            "events" => {
                let value: EventEntry = decode(key, bytes)?;
                self.events.insert(value.seq, value);
            }
            "counters" => match name {
                "events" => self.head = Some(Row { revision, value: decode(key, bytes)? }),
                "permissions" => self.next_permission = Some(Row { revision, value: decode(key, bytes)? }),
                "rollouts" => self.next_rollout = Some(Row { revision, value: decode(key, bytes)? }),
                _ => return Err(unreadable("no such counter".into())),
            },
            _ => return Err(unreadable("no such room".into())),
        }
        Ok(())
    }

    /// Next free permission id; grows.
    pub fn next_permission(&self) -> u64 {
        self.next_permission.as_ref().map_or(1, |r| r.value)
    }

    /// Next number of rollouts.
    pub fn next_rollout(&self) -> u64 {
        self.next_rollout.as_ref().map_or(1, |r| r.value)
    }

    /// End of the history.
    pub fn event_head(&self) -> EventHead {
        self.head.as_ref().map_or(EventHead { seq: 0, digest: Digest([0; 32]) }, |r| r.value)
    }

    /// Walks the hash chain of the history. Gives the number of the first entry that does not fit, if any.
    pub fn verify_events(&self) -> Option<u64> {
        let (mut digest, mut seq) = (Digest([0; 32]), 0);
        for (n, entry) in &self.events {
            if *n != seq + 1 || entry.previous != digest {
                return Some(*n);
            }
            seq = *n;
            digest = Digest::of(&serde_json::to_vec(entry).unwrap_or_default());
        }
        (self.event_head() != EventHead { seq, digest }).then_some(seq)
    }

    fn key_of(write: &Write) -> Option<(String, bool)> {
        Some(match write {
            Write::Node(n) => (format!("nodes/{}", n.name), true),
            Write::Desired(n, _) => (format!("desired/{n}"), true),
            Write::Permission(n, p) => (format!("permissions/{n}"), p.is_some()),
            Write::Rollout(r) => (format!("rollouts/{}", r.id), true),
            Write::Release(r) => (format!("releases/{}", r.release.name), true),
            Write::Token(t) => (format!("tokens/{}", t.id), true),
            Write::TokenGone(id) => (format!("tokens/{id}"), false),
            Write::Join(j) => (format!("joins/{}", j.id), true),
            Write::JoinGone(id) => (format!("joins/{id}"), false),
            Write::Check(plan, _) => (format!("checks/{plan}"), true),
            Write::NextPermission(_) => ("counters/permissions".into(), true),
            Write::NextRollout(_) => ("counters/rollouts".into(), true),
            Write::Event { .. } => return None,
        })
    }

    fn revision_of(&self, write: &Write) -> Option<u64> {
        match write {
            Write::Node(n) => self.nodes.get(&n.name).map(|r| r.revision),
            Write::Desired(n, _) => self.desired.get(n).map(|r| r.revision),
            Write::Permission(n, _) => self.permissions.get(n).map(|r| r.revision),
            Write::Rollout(r) => self.rollouts.get(&r.id).map(|r| r.revision),
            Write::Release(r) => self.releases.get(&r.release.name).map(|r| r.revision),
            Write::Token(t) => self.tokens.get(&t.id).map(|r| r.revision),
            Write::TokenGone(id) => self.tokens.get(id).map(|r| r.revision),
            Write::Join(j) => self.joins.get(&j.id).map(|r| r.revision),
            Write::JoinGone(id) => self.joins.get(id).map(|r| r.revision),
            Write::Check(plan, _) => self.checks.get(plan).map(|r| r.revision),
            Write::NextPermission(_) => self.next_permission.as_ref().map(|r| r.revision),
            Write::NextRollout(_) => self.next_rollout.as_ref().map(|r| r.revision),
            Write::Event { .. } => None,
        }
    }

    fn value_of(key: &str, write: &Write) -> Result<Vec<u8>, FleetError> {
        match write {
            Write::Node(v) => encode(key, v),
            Write::Desired(_, v) => encode(key, v),
            Write::Permission(_, v) => encode(key, v),
            Write::Rollout(v) => encode(key, v),
            Write::Release(v) => encode(key, v),
            Write::Token(v) => encode(key, v),
            Write::Join(v) => encode(key, v),
            Write::Check(_, v) => encode(key, v),
            Write::NextPermission(v) | Write::NextRollout(v) => encode(key, v),
            Write::TokenGone(_) | Write::JoinGone(_) | Write::Event { .. } => Ok(Vec::new()),
        }
    }

    /// Turns writes into conditions and operations: every touched row must still be as known here.
    pub(super) fn stage(&self, writes: Vec<Write>) -> Result<Staged, FleetError> {
        let (mut conditions, mut ops, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut head = self.event_head();
        for write in &writes {
            if let Write::Event { at, rollout, event } = write {
                let entry = EventEntry {
                    seq: head.seq + 1,
                    at: *at,
                    rollout: rollout.clone(),
                    event: event.clone(),
                    previous: head.digest,
                };
                let key = format!("events/{:020}", entry.seq);
                let bytes = encode(&key, &entry)?;
                head = EventHead { seq: entry.seq, digest: Digest::of(&bytes) };
                ops.push(Op::Put(key, bytes));
                events.push(entry);
            } else if let Some((key, put)) = Self::key_of(write) {
                conditions.push(match self.revision_of(write) {
                    Some(revision) => Condition::Revision(key.clone(), revision),
                    None => Condition::Absent(key.clone()),
                });
                ops.push(if put {
                    Op::Put(key.clone(), Self::value_of(&key, write)?)
                } else {
                    Op::Delete(key)
                });
            }
        }
        let head = if events.is_empty() {
            None
        } else {
            let key = "counters/events".to_owned();
            conditions.push(match &self.head {
                Some(row) => Condition::Revision(key.clone(), row.revision),
                None => Condition::Absent(key.clone()),
            });
            ops.push(Op::Put(key.clone(), encode(&key, &head)?));
            Some(head)
        };
        Ok(Staged { conditions, ops, writes, events, head })
    }

    /// Shows a durable commit. Gives the nodes whose instruction changed.
    pub(super) fn apply(&mut self, staged: Staged, revision: u64) -> Vec<NodeName> {
        let mut woken = Vec::new();
        for write in staged.writes {
            self.apply_one(write, revision, &mut woken);
        }
        self.events.extend(staged.events.into_iter().map(|e| (e.seq, e)));
        if let Some(value) = staged.head {
            self.head = Some(Row { revision, value });
        }
        woken
    }

    fn apply_one(&mut self, write: Write, revision: u64, woken: &mut Vec<NodeName>) {
        match write {
            Write::Node(value) => _ = self.nodes.insert(value.name.clone(), Row { revision, value }),
            Write::Desired(node, value) => {
                woken.push(node.clone());
                self.desired.insert(node, Row { revision, value });
            }
            Write::Permission(node, Some(value)) => {
                _ = self.permissions.insert(node, Row { revision, value })
            }
            Write::Permission(node, None) => _ = self.permissions.remove(&node),
            Write::Rollout(value) => {
                _ = self.rollouts.insert(value.id.clone(), Row { revision, value: *value })
            }
            Write::Release(value) => {
                self.releases.insert(value.release.name.clone(), Row { revision, value: *value });
            }
            Write::Token(value) => _ = self.tokens.insert(value.id, Row { revision, value }),
            Write::TokenGone(id) => _ = self.tokens.remove(&id),
            Write::Join(value) => _ = self.joins.insert(value.id, Row { revision, value }),
            Write::JoinGone(id) => _ = self.joins.remove(&id),
            Write::Check(plan, value) => _ = self.checks.insert(plan, Row { revision, value }),
            Write::NextPermission(value) => self.next_permission = Some(Row { revision, value }),
            Write::NextRollout(value) => self.next_rollout = Some(Row { revision, value }),
            Write::Event { .. } => {}
        }
    }
}
