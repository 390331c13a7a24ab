//! What became of an upgrade plan: a pure fold over decoded events, and the reading of it at a height.
use crate::adapter::PlanEvent;
use common::chain::{Address, BlockRef, Hash32};
use common::release::Digest;
use serde::{Deserialize, Serialize};

/// Where a plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// Members may vote.
    Voting,
    /// Enough members voted for it.
    Approved,
    /// It was voted down.
    Rejected,
    /// Its height came before it was approved. No event says so.
    Expired,
    /// It was taken back.
    Cancelled,
}

/// What the events of one plan add up to. Depends on nothing but those events, in their order on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The plan.
    pub plan_id: Hash32,
    /// Its name: a stranger's text.
    pub name: String,
    /// First block of the new rules.
    pub height: u64,
    /// SHA-256 of the manifest's bytes.
    pub manifest_hash: Digest,
    /// Where the manifest is said to be: a stranger's text.
    pub uri: String,
    /// Whether name or uri are longer on chain than kept here.
    pub cut: bool,
    /// The state that events brought; never `Expired`.
    pub state: ProposalState,
    /// Votes for it.
    pub votes: u64,
    /// Votes that approve it; 0 until the first vote tells.
    pub required: u64,
    /// Who voted for it, in the order of the votes.
    pub voters: Vec<Address>,
    /// Block of the proposal.
    pub proposed_at: BlockRef,
    /// Block of the approval.
    pub approved_at: Option<BlockRef>,
    /// Block in which it was rejected or cancelled.
    pub closed_at: Option<BlockRef>,
    /// Events that the contract cannot emit at that point (a vote after the approval, a second proposal of the
    /// same plan). They change nothing; any such event means that the contract is not what it claims to be.
    pub contradictions: u32,
}

/// A proposal at a height of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The plan.
    pub plan_id: Hash32,
    /// Its name: a stranger's text, to be escaped wherever it is shown.
    pub name: String,
    /// First block of the new rules.
    pub height: u64,
    /// SHA-256 of the manifest's bytes.
    pub manifest_hash: Digest,
    /// Where the manifest is said to be: a stranger's text.
    pub uri: String,
    /// Whether name or uri are longer on chain than kept here.
    pub cut: bool,
    /// Where it stands.
    pub state: ProposalState,
    /// Whether the block that brought this state is final, so that no reorg takes it back. Always `false`
    /// while it is voted on.
    #[serde(rename = "final")]
    pub final_: bool,
    /// Votes for it.
    pub votes: u64,
    /// Votes that approve it; 0 until the first vote tells.
    pub required: u64,
    /// Who voted for it, in the order of the votes.
    pub voters: Vec<Address>,
    /// Block of the proposal.
    pub proposed_at: BlockRef,
    /// Block of the approval; stays when it is cancelled later.
    pub approved_at: Option<BlockRef>,
    /// Block in which it was rejected or cancelled.
    pub closed_at: Option<BlockRef>,
    /// Events that contradict the contract's own rules.
    pub contradictions: u32,
}

impl Record {
    /// The next event of the plan. `None` when the plan is not known: its proposal is below the first block
    /// that is read.
    pub fn fold(record: Option<Record>, event: &PlanEvent, at: BlockRef) -> Option<Record> {
        let Some(mut record) = record else { return Self::proposed(event, at) };
        let voting = record.state == ProposalState::Voting;
        match event {
            PlanEvent::Voted { voter, votes, required, .. } if voting && !record.voters.contains(voter) => {
                record.votes = *votes;
                record.required = *required;
                record.voters.push(*voter);
            }
            PlanEvent::Approved { .. } if voting => {
                record.state = ProposalState::Approved;
                record.approved_at = Some(at);
            }
            PlanEvent::Rejected { .. } if voting => {
                record.state = ProposalState::Rejected;
                record.closed_at = Some(at);
            }
            PlanEvent::Cancelled { .. } if voting || record.state == ProposalState::Approved => {
                record.state = ProposalState::Cancelled;
                record.closed_at = Some(at);
            }
            _ => record.contradictions = record.contradictions.saturating_add(1),
        }
        Some(record)
    }

    fn proposed(event: &PlanEvent, at: BlockRef) -> Option<Record> {
        let PlanEvent::Proposed { plan_id, name, height, manifest_hash, uri, cut } = event else {
            return None;
        };
        Some(Record {
            plan_id: *plan_id,
            name: name.clone(),
            height: *height,
            manifest_hash: *manifest_hash,
            uri: uri.clone(),
            cut: *cut,
            state: ProposalState::Voting,
            votes: 0,
            required: 0,
            voters: Vec::new(),
            proposed_at: at,
            approved_at: None,
            closed_at: None,
            contradictions: 0,
        })
    }

    /// The proposal as it stands when everything up to `indexed` is read and `final_height` is final.
    pub fn at(&self, indexed: u64, final_height: Option<u64>) -> Proposal {
        let expired = self.state == ProposalState::Voting && self.height <= indexed;
        let state = if expired { ProposalState::Expired } else { self.state };
        let decided = match state {
            ProposalState::Voting => None,
            ProposalState::Approved => self.approved_at.map(|b| b.height),
            ProposalState::Rejected | ProposalState::Cancelled => self.closed_at.map(|b| b.height),
            ProposalState::Expired => Some(self.height),
        };
        Proposal {
            plan_id: self.plan_id,
            name: self.name.clone(),
            height: self.height,
            manifest_hash: self.manifest_hash,
            uri: self.uri.clone(),
            cut: self.cut,
            state,
            final_: decided.zip(final_height).is_some_and(|(decided, settled)| decided <= settled),
            votes: self.votes,
            required: self.required,
            voters: self.voters.clone(),
            proposed_at: self.proposed_at,
            approved_at: self.approved_at,
            closed_at: self.closed_at,
            contradictions: self.contradictions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: Hash32 = Hash32([1; 32]);

    fn block(height: u64) -> BlockRef {
        BlockRef { height, hash: Hash32([height as u8; 32]) }
    }

    fn propose(height: u64) -> PlanEvent {
        let manifest_hash = Digest([2; 32]);
        PlanEvent::Proposed {
            plan_id: PLAN,
            name: "boho".into(),
            height,
            manifest_hash,
            uri: String::new(),
            cut: false,
        }
    }

    fn vote(voter: u8, votes: u64) -> PlanEvent {
        PlanEvent::Voted { plan_id: PLAN, voter: Address([voter; 20]), votes, required: 2 }
    }

    fn fold(events: &[PlanEvent]) -> Option<Record> {
        events
            .iter()
            .enumerate()
            .fold(None, |record, (at, event)| Record::fold(record, event, block(at as u64)))
    }

    #[test]
    fn the_usual_way() {
        let events = [propose(100), vote(1, 1), vote(2, 2), PlanEvent::Approved { plan_id: PLAN }];
        let record = fold(&events).unwrap();
        let open = record.at(50, Some(2));
        assert_eq!(
            (open.state, open.final_, open.votes, open.required),
            (ProposalState::Approved, false, 2, 2)
        );
        assert!(record.at(50, Some(3)).final_);
        assert!(!record.at(50, None).final_);
        assert_eq!(
            record.at(5000, Some(5000)).state,
            ProposalState::Approved,
            "approved plans do not expire"
        );
    }

    #[test]
    fn expires_without_an_event() {
        let record = fold(&[propose(100), vote(1, 1)]).unwrap();
        assert_eq!(record.at(99, Some(99)).state, ProposalState::Voting);
        let expired = record.at(100, Some(99));
        assert_eq!((expired.state, expired.final_), (ProposalState::Expired, false));
        assert!(record.at(101, Some(100)).final_);
    }

    #[test]
    fn cancelled_after_the_approval() {
        let approve = PlanEvent::Approved { plan_id: PLAN };
        let cancel = PlanEvent::Cancelled { plan_id: PLAN };
        let record = fold(&[propose(100), vote(1, 1), approve.clone(), cancel, approve, vote(2, 2)]).unwrap();
        assert_eq!(record.state, ProposalState::Cancelled);
        assert_eq!((record.approved_at, record.closed_at), (Some(block(2)), Some(block(3))));
        assert_eq!((record.contradictions, record.votes), (2, 1));
        assert!(!record.at(5, Some(2)).final_, "the approval is final, the cancellation is not");
    }

    #[test]
    fn events_of_an_unknown_plan_make_no_record() {
        assert_eq!(fold(&[vote(1, 1), PlanEvent::Approved { plan_id: PLAN }]), None);
    }

    fn any_event() -> impl Strategy<Value = PlanEvent> {
        prop_oneof![
            (1u64..50).prop_map(propose),
            (0u8..4, 0u64..5).prop_map(|(voter, votes)| vote(voter, votes)),
            Just(PlanEvent::Approved { plan_id: PLAN }),
            Just(PlanEvent::Rejected { plan_id: PLAN }),
            Just(PlanEvent::Cancelled { plan_id: PLAN }),
        ]
    }

    proptest! {
        /// Whatever a contract emits: no panic, a closed plan never opens again, an approval is never taken
        /// without an approval event, and every event either moves the plan or is counted.
        #[test]
        fn any_sequence_keeps_the_rules(events in prop::collection::vec(any_event(), 0..30)) {
            let mut record: Option<Record> = None;
            for (at, event) in events.iter().enumerate() {
                let before = record.clone();
                record = Record::fold(record, event, block(at as u64));
                let (Some(before), Some(now)) = (&before, &record) else { continue };
                prop_assert_ne!(before, now, "an event neither moved the plan nor was counted");
                let closed = |r: &Record| matches!(r.state, ProposalState::Rejected | ProposalState::Cancelled);
                prop_assert!(!closed(before) || before.state == now.state);
                prop_assert!(before.approved_at.is_none() || before.approved_at == now.approved_at);
                let newly = now.approved_at.is_some() && before.approved_at.is_none();
                let approving = matches!(event, PlanEvent::Approved { .. });
                prop_assert!(!newly || approving);
                prop_assert_eq!(&before.proposed_at, &now.proposed_at);
            }
        }
    }
}
