use super::answer::Header;
use super::client::{Call, Client};
use super::pool::{block_call, read_header};
use super::{Pool, RpcError};
use common::id::NodeName;
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;

/// How many heights below the first candidate are tried when endpoints differ at their heads.
const DOWN: u64 = 3;

/// The highest block on which enough endpoints agree.
#[derive(Debug, Clone)]
pub struct AgreedHead {
    /// The block.
    pub header: Header,
    /// Who has this block.
    pub agreeing: Vec<Arc<Client>>,
    /// Head height of the endpoint that is furthest ahead.
    pub furthest: u64,
    /// Whether every configured endpoint answered: only then is a missing block known to be missing.
    pub all_answered: bool,
}

impl AgreedHead {
    /// Labels of the endpoints that agree, in the order they are configured.
    pub fn labels(&self) -> Vec<NodeName> {
        self.agreeing.iter().map(|c| c.label().clone()).collect()
    }
}

impl Pool {
    /// The highest block on which at least `required` endpoints agree by hash. An endpoint that is ahead is
    /// asked for its block at that height. No retries: callers poll.
    ///
    /// # Errors
    /// [`RpcError::TooFew`] when too few answer, [`RpcError::Disagreement`] when their blocks differ.
    pub async fn agreed_head(&self, required: usize) -> Result<AgreedHead, RpcError> {
        self.require(required)?;
        let (heads, failures) = self.heads().await;
        let too_few = |answered| RpcError::TooFew {
            what: "newest block".to_owned(),
            required,
            answered,
            failures: failures.join("; "),
        };
        let mut heights: Vec<u64> = heads.iter().map(|(_, h)| h.height).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        let (Some(&candidate), Some(&furthest)) = (heights.get(required - 1), heights.first()) else {
            return Err(too_few(heads.len()));
        };
        let mut seen = String::new();
        for height in (candidate.saturating_sub(DOWN)..=candidate).rev() {
            let blocks = blocks_at(&heads, height).await;
            let mut groups: Vec<(Header, Vec<Arc<Client>>)> = Vec::new();
            for (client, header) in blocks {
                match groups.iter_mut().find(|(known, _)| known.hash == header.hash) {
                    Some((_, clients)) => clients.push(client),
                    None => groups.push((header, vec![client])),
                }
            }
            if seen.is_empty() {
                seen = describe(&groups);
            }
            if let Some(at) = groups.iter().position(|(_, clients)| clients.len() >= required) {
                let (header, agreeing) = groups.swap_remove(at);
                let all_answered = heads.len() == self.clients.len();
                return Ok(AgreedHead { header, agreeing, furthest, all_answered });
            }
        }
        let what = format!("newest block, about {candidate}");
        Err(RpcError::Disagreement { what, required, answers: seen })
    }

    /// Head of each endpoint that answers, and what the others failed with.
    async fn heads(&self) -> (Vec<(Arc<Client>, Header)>, Vec<String>) {
        const METHOD: &str = "eth_getBlockByNumber";
        let ask = |client: Arc<Client>| async move {
            if client.is_resting() {
                return (
                    Arc::clone(&client),
                    Err(format!("endpoint {}: failed a moment ago", client.label())),
                );
            }
            let calls = [Call::new(METHOD, json!(["latest", false]))];
            let outcome = client.attempt(&calls).await.and_then(|answers| {
                let raw =
                    answers.into_iter().next().unwrap_or_else(|| Err(client.shape(METHOD, "no answer")))?;
                client
                    .read::<Option<Header>>(METHOD, &raw)?
                    .ok_or_else(|| client.shape(METHOD, "there is no newest block"))
            });
            (client, outcome.map_err(|e| e.to_string()))
        };
        let mut heads = Vec::new();
        let mut failures = Vec::new();
        for (client, outcome) in join_all(self.clients.iter().cloned().map(ask)).await {
            match outcome {
                Ok(header) => heads.push((client, header)),
                Err(why) => failures.push(why),
            }
        }
        (heads, failures)
    }

    /// Height that `required` of the endpoints call finalized; `None` when too few know the tag (a WBFT node
    /// that only downloaded does not).
    pub async fn finalized(&self, among: &[Arc<Client>], required: usize) -> Option<u64> {
        const METHOD: &str = "eth_getBlockByNumber";
        let ask = |client: Arc<Client>| async move {
            let calls = [Call::new(METHOD, json!(["finalized", false]))];
            let raw = client.attempt(&calls).await.ok()?.into_iter().next()?.ok()?;
            client.read::<Option<Header>>(METHOD, &raw).ok().flatten().map(|h| h.height)
        };
        let answers = join_all(among.iter().cloned().map(ask)).await;
        let mut heights: Vec<u64> = answers.into_iter().flatten().collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        heights.get(required.checked_sub(1)?).copied()
    }
}

/// The block at a height of every endpoint that has it.
async fn blocks_at(heads: &[(Arc<Client>, Header)], height: u64) -> Vec<(Arc<Client>, Header)> {
    let ask = |(client, head): &(Arc<Client>, Header)| {
        let (client, head) = (Arc::clone(client), *head);
        async move {
            if head.height < height {
                return None;
            }
            if head.height == height {
                return Some((client, head));
            }
            let raw = client.attempt(&[block_call(height)]).await.ok()?.into_iter().next()?.ok()?;
            let header = read_header(&client, &raw, height).ok()?;
            Some((client, header))
        }
    };
    join_all(heads.iter().map(ask)).await.into_iter().flatten().collect()
}

fn describe(groups: &[(Header, Vec<Arc<Client>>)]) -> String {
    let side = |(header, clients): &(Header, Vec<Arc<Client>>)| {
        let labels: Vec<&str> = clients.iter().map(|c| c.label().as_str()).collect();
        format!("{}: {} ({})", labels.join("+"), header.height, header.hash)
    };
    groups.iter().map(side).collect::<Vec<_>>().join(" against ")
}
