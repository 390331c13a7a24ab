use super::{Adapter, Decoded, MAX_NAME, MAX_URI, PlanEvent, keep};
use crate::registry_calls::abi;
use crate::rpc::RawLog;
use alloy::primitives::{B256, U256};
use alloy::sol_types::{self, SolEvent};
use common::chain::{Address, Hash32};
use common::release::Digest;

/// `registry.v1`: the project's own `UpgradeRegistry` contract.
#[derive(Debug, Clone)]
pub struct RegistryV1 {
    contract: Address,
    topics: [Hash32; 4],
}

impl RegistryV1 {
    /// Reads the registry at the given address.
    pub fn new(contract: Address) -> Self {
        let topics = [
            abi::PlanProposed::SIGNATURE_HASH,
            abi::PlanVoted::SIGNATURE_HASH,
            abi::PlanApproved::SIGNATURE_HASH,
            abi::PlanCancelled::SIGNATURE_HASH,
        ];
        Self { contract, topics: topics.map(|t| Hash32(t.0)) }
    }
}

impl Adapter for RegistryV1 {
    fn interface(&self) -> &'static str {
        "registry.v1"
    }

    fn contract(&self) -> Address {
        self.contract
    }

    fn topics(&self) -> &[Hash32] {
        &self.topics
    }

    fn decode(&self, log: &RawLog) -> Decoded {
        let Some(first) = log.topics.first() else {
            return Decoded::Unknown { why: "it has no topic".to_owned() };
        };
        let read = match self.topics.iter().position(|t| t == first) {
            Some(0) => proposed(log),
            Some(1) => voted(log),
            Some(2) => {
                event::<abi::PlanApproved>(log).map(|e| PlanEvent::Approved { plan_id: hash(e.planId) })
            }
            Some(3) => {
                event::<abi::PlanCancelled>(log).map(|e| PlanEvent::Cancelled { plan_id: hash(e.planId) })
            }
            _ => return Decoded::Unknown { why: format!("topic {first} is not in registry.v1") },
        };
        match read {
            Ok(event) => Decoded::Event { event },
            Err(error) => Decoded::Unknown { why: keep(error.to_string(), 256).0 },
        }
    }
}

fn event<E: SolEvent>(log: &RawLog) -> sol_types::Result<E> {
    E::decode_raw_log(log.topics.iter().map(|t| B256::from(t.0)), &log.data)
}

fn proposed(log: &RawLog) -> sol_types::Result<PlanEvent> {
    let event = event::<abi::PlanProposed>(log)?;
    let (name, name_cut) = keep(event.name, MAX_NAME);
    let (uri, uri_cut) = keep(event.uri, MAX_URI);
    Ok(PlanEvent::Proposed {
        plan_id: hash(event.planId),
        name,
        height: event.height,
        manifest_hash: Digest(event.manifestHash.0),
        uri,
        cut: name_cut || uri_cut,
    })
}

fn voted(log: &RawLog) -> sol_types::Result<PlanEvent> {
    let event = event::<abi::PlanVoted>(log)?;
    Ok(PlanEvent::Voted {
        plan_id: hash(event.planId),
        voter: Address(event.voter.into_array()),
        votes: count(event.votes),
        required: count(event.required),
    })
}

fn hash(value: B256) -> Hash32 {
    Hash32(value.0)
}

/// A count of members fits; a contract that says otherwise gets the largest number.
fn count(value: U256) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::sol_types::SolValue;
    use common::chain::BlockRef;

    fn log(topics: Vec<Hash32>, data: Vec<u8>) -> RawLog {
        let block = BlockRef { height: 7, hash: Hash32([1; 32]) };
        RawLog { block, index: 0, transaction: Hash32([2; 32]), address: Address([3; 20]), topics, data }
    }

    fn of<E: SolEvent>(event: &E) -> RawLog {
        let encoded = event.encode_log_data();
        log(encoded.topics().iter().map(|t| Hash32(t.0)).collect(), encoded.data.to_vec())
    }

    fn propose(name: &str, uri: &str) -> abi::PlanProposed {
        abi::PlanProposed {
            planId: B256::repeat_byte(9),
            name: name.to_owned(),
            height: u64::MAX,
            manifestHash: B256::repeat_byte(8),
            uri: uri.to_owned(),
        }
    }

    #[test]
    fn events_are_read() {
        let adapter = RegistryV1::new(Address([3; 20]));
        let Decoded::Event { event } = adapter.decode(&of(&propose("boho", "https://example.org/m.json")))
        else {
            panic!("not read");
        };
        let PlanEvent::Proposed { name, height, manifest_hash, cut, .. } = &event else {
            panic!("{event:?}")
        };
        assert_eq!(
            (name.as_str(), *height, *manifest_hash, *cut),
            ("boho", u64::MAX, Digest([8; 32]), false)
        );

        let voted = abi::PlanVoted {
            planId: B256::repeat_byte(9),
            voter: [4; 20].into(),
            votes: U256::MAX,
            required: U256::from(2),
        };
        let plan_id = Hash32([9; 32]);
        let event = PlanEvent::Voted { plan_id, voter: Address([4; 20]), votes: u64::MAX, required: 2 };
        assert_eq!(adapter.decode(&of(&voted)), Decoded::Event { event });
    }

    #[test]
    fn hostile_texts_are_kept_as_data_and_bounded() {
        let adapter = RegistryV1::new(Address([3; 20]));
        let name = "\u{1b}[2J<script>\0'; DROP TABLE\r\n\u{202e}";
        let long = "é".repeat(100_000);
        let Decoded::Event { event: PlanEvent::Proposed { name: kept, uri, cut, .. } } =
            adapter.decode(&of(&propose(name, &long)))
        else {
            panic!("not read");
        };
        assert_eq!(kept, name);
        assert!(cut && uri.len() <= MAX_URI && uri.chars().all(|c| c == 'é'), "{}", uri.len());
    }

    #[test]
    fn texts_that_are_no_text_are_read_with_replacements() {
        let mut raw = of(&propose("abcd", ""));
        let at = raw.data.windows(4).position(|w| w == b"abcd").unwrap();
        raw.data[at..at + 4].copy_from_slice(&[0xff, 0xfe, b'c', b'd']);
        let decoded = RegistryV1::new(Address([3; 20])).decode(&raw);
        let Decoded::Event { event: PlanEvent::Proposed { name, .. } } = decoded else {
            panic!("{decoded:?}")
        };
        assert!(name.ends_with("cd") && name.contains('\u{fffd}'), "{name:?}");
    }

    #[test]
    fn what_is_not_known_is_unknown_and_never_a_panic() {
        let adapter = RegistryV1::new(Address([3; 20]));
        let mut lying = of(&propose("a", "b"));
        // An offset far outside of the data.
        lying.data[..32].copy_from_slice(&[0xff; 32]);
        let short = log(vec![adapter.topics()[0], Hash32([9; 32])], vec![1, 2, 3]);
        let no_plan = log(vec![adapter.topics()[2]], Vec::new());
        let strange = log(vec![Hash32([0xaa; 32])], U256::from(1).abi_encode());
        for raw in [lying, short, no_plan, strange, log(Vec::new(), Vec::new())] {
            assert!(matches!(adapter.decode(&raw), Decoded::Unknown { .. }), "{raw:?}");
        }
    }
}
