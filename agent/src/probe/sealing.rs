//! Whether the node seals blocks (WBFT). Block N+1 says who sealed block N: the seals in N itself are only the
//! first that made a quorum, those of the others come with the next block.
use super::rpc::{ProbeError, Rpc};
use crate::health::Sealing;
use common::chain::Address;
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;

/// Blocks in the window.
const WINDOW: usize = 32;
/// Most blocks asked about in one look; a node that jumped ahead is judged by the newest.
const AT_ONCE: u64 = 8;
/// The validators are asked for again after so many blocks.
const SET_EVERY: u64 = 32;

/// What is remembered from look to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    closed: bool,
    own: Option<Address>,
    /// Whether the node may seal, and the head when it was asked.
    validator: Option<(bool, u64)>,
    /// Blocks looked at, oldest first, and whether each carries the node's seal.
    window: VecDeque<(u64, bool)>,
    last_height: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extra {
    prev_committed_seal: Option<Seal>,
}

#[derive(Deserialize)]
struct Seal {
    #[serde(default)]
    sealers: Option<Vec<Address>>,
}

impl Watch {
    /// Looks at the blocks that are new up to `head`.
    pub(super) async fn look(&mut self, rpc: &mut Rpc, head: u64) -> Option<Sealing> {
        if let Err(error) = self.bring_up(rpc, head).await {
            tracing::trace!(%error, "sealing is not known");
            self.closed |= error.is_closed();
        }
        self.state()
    }

    /// What is known without asking.
    pub(super) fn state(&self) -> Option<Sealing> {
        let (validator, _) = self.validator?;
        let seen = self.window.iter().filter(|(_, seen)| *seen).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Sealing {
            validator,
            window: count(self.window.len()),
            seen: count(seen),
            last_height: self.last_height,
        })
    }

    async fn bring_up(&mut self, rpc: &mut Rpc, head: u64) -> Result<(), ProbeError> {
        if self.closed {
            return Ok(());
        }
        let own = match self.own {
            Some(own) => own,
            None => *self.own.insert(rpc.ask("istanbul_nodeAddress", json!([])).await?),
        };
        let due = self.validator.is_none_or(|(_, at)| head < at || head - at >= SET_EVERY);
        if due {
            let set: Vec<Address> = rpc.ask("istanbul_getValidators", json!(["latest"])).await?;
            self.validator = Some((set.contains(&own), head));
        }
        if !self.validator.is_some_and(|(validator, _)| validator) {
            self.window.clear();
            return Ok(());
        }
        // The newest block whose seals can be known is the one before the head.
        let newest = head.saturating_sub(1);
        if self.window.back().is_some_and(|(height, _)| *height > newest) {
            self.window.clear();
        }
        let after = self.window.back().map_or(0, |(height, _)| *height);
        let first = newest.saturating_sub(AT_ONCE - 1).max(after + 1);
        for height in first..=newest {
            let extra: Extra =
                rpc.ask("istanbul_getWbftExtraInfo", json!([format!("0x{:x}", height + 1)])).await?;
            let sealers = extra.prev_committed_seal.and_then(|s| s.sealers).unwrap_or_default();
            self.note(height, sealers.contains(&own));
        }
        Ok(())
    }

    fn note(&mut self, height: u64, seen: bool) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back((height, seen));
        if seen {
            self.last_height = Some(height);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_the_newest_and_counts_what_was_sealed() {
        let mut watch = Watch { validator: Some((true, 0)), ..Watch::default() };
        for height in 1..=40 {
            watch.note(height, height % 2 == 1 && height != 39);
        }
        let state = watch.state().unwrap();
        let wanted = Sealing { validator: true, window: 32, seen: 15, last_height: Some(37) };
        assert_eq!(state, wanted);
        assert_eq!(Watch::default().state(), None, "nothing asked, nothing known");
    }
}
