use super::answer::{LogAnswer, RawLog, WbftExtra, parse_quantity};
use super::check::check_logs;
use super::client::{Answers, Call, Client, Limits};
use super::error::bounded;
use super::{Endpoint, Header, RpcError};
use common::chain::{Address, BlockRef, Hash32};
use common::id::NodeName;
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;

/// Most calls put in one request.
const BATCH: usize = 64;
/// Most immutable answers kept of each kind.
const CACHED: u64 = 4096;

/// Endpoints of one chain of which `required` must give the same answer.
#[derive(Debug)]
pub struct Pool {
    pub(super) clients: Vec<Arc<Client>>,
    // What a block's hash binds never changes, so the hash is the key.
    extras: moka::future::Cache<Hash32, Arc<WbftExtra>>,
    validators: moka::future::Cache<Hash32, Arc<Vec<Address>>>,
}

impl Pool {
    /// A pool of endpoints with different labels.
    ///
    /// # Errors
    /// [`RpcError::Address`], [`RpcError::Twice`], or [`RpcError::TooFewGiven`] when there are none.
    pub fn new(endpoints: &[Endpoint], limits: Limits) -> Result<Self, RpcError> {
        if endpoints.is_empty() {
            return Err(RpcError::TooFewGiven { required: 1, given: 0 });
        }
        let mut clients: Vec<Arc<Client>> = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if clients.iter().any(|c| *c.label() == endpoint.label) {
                return Err(RpcError::Twice { label: endpoint.label.clone() });
            }
            clients.push(Arc::new(Client::new(endpoint, limits)?));
        }
        Ok(Self {
            clients,
            extras: moka::future::Cache::new(CACHED),
            validators: moka::future::Cache::new(CACHED),
        })
    }

    /// The endpoints' clients, in the order given.
    pub fn clients(&self) -> &[Arc<Client>] {
        &self.clients
    }

    /// The clients of the given labels.
    pub fn among(&self, labels: &[NodeName]) -> Vec<Arc<Client>> {
        self.clients.iter().filter(|c| labels.contains(c.label())).cloned().collect()
    }

    /// Fails unless `required` endpoints can agree at all.
    ///
    /// # Errors
    /// [`RpcError::TooFewGiven`].
    pub fn require(&self, required: usize) -> Result<(), RpcError> {
        if required == 0 || required > self.clients.len() {
            return Err(RpcError::TooFewGiven { required, given: self.clients.len() });
        }
        Ok(())
    }

    /// The chain id that `required` endpoints agree on. With `expected` given, one endpoint of another chain
    /// is an error at once: it is a mistake in the configuration that agreement must not hide.
    ///
    /// # Errors
    /// [`RpcError::OtherChain`] names the endpoint; [`RpcError::TooFew`] when too few answer.
    pub async fn chain_id(&self, expected: Option<u64>, required: usize) -> Result<u64, RpcError> {
        const METHOD: &str = "eth_chainId";
        self.require(required)?;
        let parse = |client: &Client, answers: Answers| -> Result<u64, RpcError> {
            let text: String = client.read(METHOD, &first(client, METHOD, answers)?)?;
            parse_quantity(&text).ok_or_else(|| client.shape(METHOD, "no quantity"))
        };
        let (found, failures) = self.ask_all(&self.clients, &[Call::new(METHOD, json!([]))], parse).await;
        let expected = expected.or(found.first().map(|(_, id)| *id)).unwrap_or_default();
        if let Some((client, other)) = found.iter().find(|(_, id)| *id != expected) {
            return Err(RpcError::OtherChain { label: client.label().clone(), expected, found: *other });
        }
        if found.len() < required {
            return Err(too_few(METHOD, required, found.len(), &failures));
        }
        Ok(expected)
    }

    /// Whether the chain has WBFT's namespace. `false` only when `required` endpoints say that they do not
    /// have it and none of them answers: the quorum rule hangs on it.
    ///
    /// # Errors
    /// [`RpcError::TooFew`] when it cannot be told.
    pub async fn has_validators(&self, among: &[Arc<Client>], required: usize) -> Result<bool, RpcError> {
        const METHOD: &str = "istanbul_getValidators";
        let parse = |client: &Client, answers: Answers| first(client, METHOD, answers).map(|_| ());
        let (found, failures) = self.ask_all(among, &[Call::new(METHOD, json!(["latest"]))], parse).await;
        let missing = failures.iter().filter(|e| e.is_missing_method()).count();
        match (found.is_empty(), missing >= required) {
            (false, _) => Ok(true),
            (true, true) => Ok(false),
            (true, false) => Err(too_few(METHOD, required, 0, &failures)),
        }
    }

    /// Asks each client once; who answered what, and what the others failed with.
    async fn ask_all<T>(
        &self,
        among: &[Arc<Client>],
        calls: &[Call],
        read: impl Fn(&Client, Answers) -> Result<T, RpcError>,
    ) -> (Vec<(Arc<Client>, T)>, Vec<RpcError>) {
        let ask = |client: Arc<Client>| {
            let read = &read;
            async move {
                let outcome = client.attempt(calls).await.and_then(|answers| read(&client, answers));
                (client, outcome)
            }
        };
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for (client, outcome) in join_all(among.iter().cloned().map(ask)).await {
            match outcome {
                Ok(value) => found.push((client, value)),
                Err(error) => failures.push(error),
            }
        }
        (found, failures)
    }

    /// Headers at the given heights, in their order, equal at `required` of the endpoints `among`.
    ///
    /// # Errors
    /// [`RpcError`] when too few answer or agree, or a block is not there.
    pub async fn headers(
        &self,
        among: &[Arc<Client>],
        required: usize,
        heights: &[u64],
    ) -> Result<Vec<Header>, RpcError> {
        let mut headers = Vec::with_capacity(heights.len());
        for chunk in heights.chunks(BATCH) {
            let calls: Vec<Call> = chunk.iter().map(|h| block_call(*h)).collect();
            let what = format!("headers {}..{}", chunk[0], chunk[chunk.len() - 1]);
            let read = |client: &Client, answers: Answers| {
                let headers = answers.into_iter().zip(chunk).map(|(a, h)| read_header(client, &a?, *h));
                headers.collect::<Result<Vec<Header>, RpcError>>()
            };
            headers.extend(agree(among, required, &what, &calls, read).await?);
        }
        Ok(headers)
    }

    /// All logs of `contract` in the heights `from..=to.height`, in order, equal at `required` of the
    /// endpoints `among`. Each endpoint proves in the same request that it has the block `to`: past its head
    /// an endpoint answers a short list without an error.
    ///
    /// # Errors
    /// [`RpcError::Moved`] when `to` is not the endpoint's block at that height; others as they come.
    pub async fn logs(
        &self,
        among: &[Arc<Client>],
        required: usize,
        contract: Address,
        from: u64,
        to: BlockRef,
    ) -> Result<Vec<RawLog>, RpcError> {
        let filter = json!([{"address": contract, "fromBlock": hex(from), "toBlock": hex(to.height)}]);
        let calls = [block_call(to.height), Call::new("eth_getLogs", filter)];
        let what = format!("logs {from}..{}", to.height);
        let read = |client: &Client, answers: Answers| {
            let mut answers = answers.into_iter();
            let (Some(block), Some(logs)) = (answers.next(), answers.next()) else {
                return Err(client.shape("eth_getLogs", "an answer is missing"));
            };
            let header = read_header(client, &block?, to.height)?;
            if header.block() != to {
                let label = client.label().clone();
                return Err(RpcError::Moved { label, height: to.height, expected: to.hash });
            }
            let logs: Vec<LogAnswer> = client.read("eth_getLogs", &logs?)?;
            check_logs(logs, contract, from, to).map_err(|why| client.shape("eth_getLogs", &why))
        };
        agree(among, required, &what, &calls, read).await
    }

    /// Validators that may seal the block, equal at `required` of the endpoints `among`.
    ///
    /// # Errors
    /// [`RpcError`]; [`RpcError::is_missing_method`] tells that the chain has no such thing.
    pub async fn validators(
        &self,
        among: &[Arc<Client>],
        required: usize,
        block: BlockRef,
    ) -> Result<Arc<Vec<Address>>, RpcError> {
        if let Some(known) = self.validators.get(&block.hash).await {
            return Ok(known);
        }
        let calls = [Call::new("istanbul_getValidators", json!([hex(block.height)]))];
        let what = format!("validators of block {}", block.height);
        let read = |client: &Client, answers: Answers| -> Result<Vec<Address>, RpcError> {
            client.read("istanbul_getValidators", &first(client, "istanbul_getValidators", answers)?)
        };
        let validators = Arc::new(agree(among, required, &what, &calls, read).await?);
        self.validators.insert(block.hash, Arc::clone(&validators)).await;
        Ok(validators)
    }

    /// Canonical extra data of the blocks, in their order, equal at `required` of the endpoints `among`. The
    /// round of each block itself is left 0: it is the asked node's own and no proof.
    ///
    /// # Errors
    /// [`RpcError`] when too few answer or agree.
    pub async fn extras(
        &self,
        among: &[Arc<Client>],
        required: usize,
        blocks: &[BlockRef],
    ) -> Result<Vec<Arc<WbftExtra>>, RpcError> {
        const METHOD: &str = "istanbul_getWbftExtraInfo";
        let mut found = Vec::with_capacity(blocks.len());
        for chunk in blocks.chunks(BATCH) {
            let mut known = Vec::with_capacity(chunk.len());
            for block in chunk {
                known.push(self.extras.get(&block.hash).await);
            }
            let missing: Vec<BlockRef> =
                chunk.iter().zip(&known).filter(|(_, k)| k.is_none()).map(|(b, _)| *b).collect();
            let calls: Vec<Call> =
                missing.iter().map(|b| Call::new(METHOD, json!([hex(b.height)]))).collect();
            let what =
                format!("extra data of {} blocks up to {}", chunk.len(), chunk[chunk.len() - 1].height);
            let read = |client: &Client, answers: Answers| {
                let extras =
                    answers.into_iter().map(|a| Ok(client.read::<WbftExtra>(METHOD, &a?)?.canonical()));
                extras.collect::<Result<Vec<WbftExtra>, RpcError>>()
            };
            let fresh = if calls.is_empty() {
                Vec::new()
            } else {
                agree(among, required, &what, &calls, read).await?
            };
            for (block, extra) in missing.iter().zip(&fresh) {
                self.extras.insert(block.hash, Arc::new(extra.clone())).await;
            }
            let mut fresh = fresh.into_iter();
            found.extend(known.into_iter().filter_map(|k| k.or_else(|| fresh.next().map(Arc::new))));
        }
        Ok(found)
    }
}

/// Asks `required` of the clients, then the rest when those fail or differ, until `required` say the same.
async fn agree<T: PartialEq>(
    among: &[Arc<Client>],
    required: usize,
    what: &str,
    calls: &[Call],
    read: impl Fn(&Client, Answers) -> Result<T, RpcError>,
) -> Result<T, RpcError> {
    let mut groups: Vec<(T, Vec<NodeName>)> = Vec::new();
    let mut errors: Vec<RpcError> = Vec::new();
    let (first, rest) = among.split_at(required.min(among.len()));
    for wave in [first, rest] {
        let read = &read;
        let ask = |client: Arc<Client>| async move {
            let outcome = client.batch(calls).await.and_then(|answers| read(&client, answers));
            (client, outcome)
        };
        for (client, outcome) in join_all(wave.iter().cloned().map(ask)).await {
            let label = client.label().clone();
            match outcome {
                Ok(value) => match groups.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, labels)) => labels.push(label),
                    None => groups.push((value, vec![label])),
                },
                Err(error) => errors.push(error),
            }
        }
        if let Some(at) = groups.iter().position(|(_, labels)| labels.len() >= required) {
            return Ok(groups.swap_remove(at).0);
        }
    }
    let answered: usize = groups.iter().map(|(_, labels)| labels.len()).sum();
    if groups.len() > 1 && answered >= required {
        let sides: Vec<String> = groups
            .iter()
            .map(|(_, l)| l.iter().map(NodeName::as_str).collect::<Vec<_>>().join("+"))
            .collect();
        let answers = bounded(&sides.join(" against "));
        return Err(RpcError::Disagreement { what: what.to_owned(), required, answers });
    }
    // Callers act on some failures (too large a range, no such method), so those are not wrapped.
    let told = errors.iter().position(|e| e.is_too_much() || e.is_missing_method());
    if let Some(at) = told.or((errors.len() == 1).then_some(0)) {
        return Err(errors.swap_remove(at));
    }
    Err(too_few(what, required, answered, &errors))
}

fn too_few(what: &str, required: usize, answered: usize, errors: &[RpcError]) -> RpcError {
    let failures = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    RpcError::TooFew { what: what.to_owned(), required, answered, failures }
}

fn first(
    client: &Client,
    method: &'static str,
    answers: Answers,
) -> Result<Box<serde_json::value::RawValue>, RpcError> {
    answers.into_iter().next().unwrap_or_else(|| Err(client.shape(method, "there is no answer")))
}

pub(super) fn hex(height: u64) -> String {
    format!("{height:#x}")
}

pub(super) fn block_call(height: u64) -> Call {
    Call::new("eth_getBlockByNumber", json!([hex(height), false]))
}

pub(super) fn read_header(
    client: &Client,
    raw: &serde_json::value::RawValue,
    height: u64,
) -> Result<Header, RpcError> {
    const METHOD: &str = "eth_getBlockByNumber";
    let header: Option<Header> = client.read(METHOD, raw)?;
    match header {
        Some(header) if header.height == height => Ok(header),
        Some(header) => Err(client.shape(METHOD, &format!("block {} instead of {height}", header.height))),
        None => Err(client.shape(METHOD, &format!("block {height} is not there"))),
    }
}
