//! `chain status`.
use super::Env;
use super::error::{Exit, Outcome};
use super::escape::escape;
use super::output::{Format, Paint, bar, json, print};
use super::status::gauge;
use super::time::{ago, utc};
use coordinator::api::body::ChainStatus;

/// Verbs on the chain.
#[derive(Debug, clap::Subcommand)]
pub enum ChainVerb {
    /// Head, agreement of endpoints, validators, index and quorum.
    Status,
}

/// Runs a verb.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn run(env: &Env, verb: ChainVerb) -> Outcome {
    let ChainVerb::Status = verb;
    let client = env.client()?;
    let chain: ChainStatus = client.get("/v1/chain").await?;
    if env.format == Format::Json {
        json(&chain)?;
        return Ok(Exit::Done);
    }
    let now = chain.as_of;
    let mut text = format!("network     {}\n", chain.network);
    match &chain.view {
        None => text.push_str("view        NONE: no endpoints, or too few agree (chain-view-missing)\n"),
        Some(view) => {
            let agreeing: Vec<&str> = view.agreeing.iter().map(|n| n.as_str()).collect();
            text.push_str(&format!(
                "head        {} {} (grew {})\nendpoints   {} agree ({}), {} needed\nchain       id {}, genesis {}\n",
                view.head.height,
                view.head.hash,
                ago(view.head_advanced_at, now),
                agreeing.len(),
                agreeing.join(", "),
                view.required,
                view.chain_id,
                view.genesis_hash
            ));
            let sealed: Vec<_> = view.window.iter().filter(|b| !b.sealers.is_empty()).collect();
            text.push_str(&format!(
                "validators  {}; blocks sealed of the last {}:\n",
                view.validators.len(),
                sealed.len()
            ));
            for validator in &view.validators {
                let seals = sealed.iter().filter(|b| b.sealers.contains(validator)).count();
                text.push_str(&format!("  {validator}  {} {seals}\n", bar(seals, sealed.len(), 20)));
            }
            let rounds = view.window.iter().filter(|b| b.round > 0).count();
            text.push_str(&format!("rounds > 0  {rounds} of {} blocks\n", view.window.len()));
        }
    }
    if let Some(index) = &chain.index {
        text.push_str(&format!(
            "index       height {} of {}, {} events ({} unknown), {} reorgs unwound{}\n",
            index.cursor,
            index.head,
            index.events,
            index.unknown_events,
            index.reorgs,
            index.last_error.as_ref().map(|e| format!("; last trouble: {}", escape(e))).unwrap_or_default()
        ));
    }
    if let Some(quorum) = &chain.quorum {
        text.push_str(&gauge(quorum, Paint::detect()));
    }
    text.push_str(&format!("as the coordinator at {} saw it at {}\n", client.base(), utc(now)));
    print(&text)?;
    Ok(Exit::Done)
}
