use common::chain::{Address, BlockRef, BlockRoots, Hash32};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The part of a block header that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Height.
    #[serde(rename = "number", deserialize_with = "quantity")]
    pub height: u64,
    /// Hash as served.
    pub hash: Hash32,
    /// Hash of the block before.
    pub parent_hash: Hash32,
    /// Who proposed it.
    #[serde(default = "nobody")]
    pub miner: Address,
    /// State root.
    pub state_root: Hash32,
    /// Receipts root.
    pub receipts_root: Hash32,
    /// Block time in seconds since 1970.
    #[serde(rename = "timestamp", deserialize_with = "quantity")]
    pub timestamp_s: u64,
}

impl Header {
    /// Height and hash.
    pub fn block(&self) -> BlockRef {
        BlockRef { height: self.height, hash: self.hash }
    }

    /// What two honest nodes must agree on.
    pub fn roots(&self) -> BlockRoots {
        BlockRoots {
            height: self.height,
            hash: self.hash,
            state_root: self.state_root,
            receipts_root: self.receipts_root,
            timestamp_s: self.timestamp_s,
        }
    }
}

/// One log of a contract, as the chain serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawLog {
    /// Block that holds it.
    pub block: BlockRef,
    /// Its place among the logs of the block.
    pub index: u32,
    /// Transaction that made it.
    pub transaction: Hash32,
    /// Contract that emitted it.
    pub address: Address,
    /// Indexed part; the first is the event's signature hash.
    pub topics: Vec<Hash32>,
    /// The rest, as bytes.
    #[serde(with = "hex_bytes")]
    pub data: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogAnswer {
    address: Address,
    topics: Vec<Hash32>,
    #[serde(with = "hex_bytes")]
    data: Vec<u8>,
    #[serde(deserialize_with = "quantity")]
    block_number: u64,
    block_hash: Hash32,
    transaction_hash: Hash32,
    #[serde(deserialize_with = "quantity")]
    log_index: u64,
    #[serde(default)]
    removed: bool,
}

impl LogAnswer {
    /// The log, `None` when the node says that its block is not on the chain any more.
    pub(super) fn into_log(self) -> Result<Option<RawLog>, String> {
        if self.removed {
            return Ok(None);
        }
        let index = u32::try_from(self.log_index)
            .map_err(|_| format!("log index {} is out of range", self.log_index))?;
        if self.topics.len() > 4 {
            return Err(format!("a log has {} topics", self.topics.len()));
        }
        Ok(Some(RawLog {
            block: BlockRef { height: self.block_number, hash: self.block_hash },
            index,
            transaction: self.transaction_hash,
            address: self.address,
            topics: self.topics,
            data: self.data,
        }))
    }
}

/// One aggregated seal of a WBFT header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Seal {
    /// Who sealed.
    #[serde(default)]
    pub sealers: Vec<Address>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct EpochAnswer {
    #[serde(default)]
    validators: Vec<serde_json::Value>,
}

/// The decoded extra data of a WBFT header: what `istanbul_getWbftExtraInfo` answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WbftExtra {
    /// Round in which the block before was sealed.
    #[serde(deserialize_with = "number")]
    pub prev_round: u64,
    /// Canonical proof of who sealed the block before; empty after genesis.
    #[serde(default, deserialize_with = "or_default")]
    pub prev_committed_seal: Seal,
    /// Round in which this block was sealed, as the asked node saw it.
    #[serde(default, deserialize_with = "number")]
    pub round: u64,
    #[serde(default, deserialize_with = "or_default")]
    epoch_info: EpochAnswer,
}

impl WbftExtra {
    /// The validators this block installs, when it is an epoch block that lists them as addresses.
    pub fn epoch_validators(&self) -> Option<Vec<Address>> {
        let list: Option<Vec<Address>> = self
            .epoch_info
            .validators
            .iter()
            .map(|v| v.as_str().and_then(|text| text.parse().ok()))
            .collect();
        list.filter(|validators| !validators.is_empty())
    }

    /// The canonical part: everything but the round, which each node keeps for itself.
    pub(super) fn canonical(mut self) -> Self {
        self.round = 0;
        self
    }
}

fn nobody() -> Address {
    Address([0; 20])
}

/// Reads `"0x1f"`.
pub(super) fn parse_quantity(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn quantity<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse_quantity(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no quantity")))
}

/// Reads a number as JSON number, as `"0x1f"` or as decimal text: clients differ.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(n) => Ok(n),
        Either::Text(text) => parse_quantity(&text)
            .or_else(|| text.parse().ok())
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no number"))),
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

mod hex_bytes {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("0x{}", hex::encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.strip_prefix("0x")
            .and_then(|digits| hex::decode(digits).ok())
            .ok_or_else(|| D::Error::custom("data is no hexadecimal text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn extra_is_read_with_and_without_seals() {
        let full = json!({"vanityData":"0x","prevRound":2,"prevCommittedSeal":
            {"sealers":["0x00000000000000000000000000000000000000aa"],"signature":"0x"},
            "round":"0x1","gasTip":"0","epochInfo":null});
        let extra: WbftExtra = serde_json::from_value(full).unwrap();
        assert_eq!((extra.prev_round, extra.round, extra.prev_committed_seal.sealers.len()), (2, 1, 1));
        assert_eq!(extra.epoch_validators(), None);

        let bare: WbftExtra =
            serde_json::from_value(json!({"prevRound":0,"prevCommittedSeal":null})).unwrap();
        assert!(bare.prev_committed_seal.sealers.is_empty());
        assert!(serde_json::from_value::<WbftExtra>(json!({"round":0})).is_err(), "prevRound must be there");
    }

    #[test]
    fn epoch_validators_are_addresses_or_nothing() {
        let epoch = |list| json!({"prevRound":0,"epochInfo":{"validators":list}});
        let address = "0x00000000000000000000000000000000000000aa";
        let known: WbftExtra = serde_json::from_value(epoch(json!([address]))).unwrap();
        assert_eq!(known.epoch_validators(), Some(vec![address.parse().unwrap()]));
        let indices: WbftExtra = serde_json::from_value(epoch(json!([0, 1]))).unwrap();
        assert_eq!(indices.epoch_validators(), None);
    }

    #[test]
    fn bad_quantities_are_refused() {
        assert_eq!(parse_quantity("0x1f"), Some(31));
        for bad in ["", "0x", "1f", "0x1ffffffffffffffff", "0x-1"] {
            assert_eq!(parse_quantity(bad), None, "{bad}");
        }
    }
}
