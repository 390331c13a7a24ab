//! The files of the incumbents: cosmovisor's `config.toml`, and the flat `wemixvisor.toml` of v0.x.
use super::duration;
use super::field::{Kind, Value};
use super::key::{Key, Meaning};
use super::source::{Dropped, Source};
use super::{ignored, keys};
use toml::Table;

/// What a flat key of v0.x holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// The value of this key of ours.
    Same(&'static str),
    /// Whether a backup is made before an upgrade.
    AutoBackup,
    /// A log form; `console` is `text`.
    LogFormat,
    /// A format of times.
    TimeFormat,
    /// Whether a node that failed is started again.
    OnFailure,
    /// The chain's id, which has to be the network's.
    ChainId,
    /// Nothing that has a place here; loud when that changes what happens.
    Nothing(&'static str, bool),
}

use Holds::{Nothing, Same};

/// The keys of v0.x.
const FLAT: [(&str, Holds); 41] = [
    ("home", Same("node.home")),
    ("name", Same("node.name")),
    ("network", Same("node.network")),
    ("max_restarts", Same("node.max_restarts")),
    ("restart_on_failure", Holds::OnFailure),
    ("restart_delay", Same("node.restart_delay")),
    ("restart_after_upgrade", Same("upgrade.restart_after")),
    ("shutdown_grace", Same("node.stop")),
    ("poll_interval", Same("upgrade.poll")),
    ("health_check_interval", Same("health.every")),
    ("metrics_interval", Nothing("metrics are made when they are asked for", false)),
    ("metrics_enabled", Nothing("metrics are on when [agent] metrics names a loopback address", true)),
    ("allow_download_binaries", Same("download.allowed")),
    ("auto_backup", Holds::AutoBackup),
    ("pre_upgrade_timeout", Same("hooks.timeout")),
    ("pre_upgrade_max_retries", Same("hooks.retries")),
    ("custom_pre_upgrade", Same("hooks.pre_upgrade")),
    ("log_level", Same("log.filter")),
    ("log_format", Holds::LogFormat),
    ("log_time_format", Holds::TimeFormat),
    ("log_file", Same("log.node_file")),
    ("network_id", Same("geth.network_id")),
    ("chain_id", Holds::ChainId),
    ("rpc_address", Same("node.rpc")),
    ("rpc_addr", Same("geth.http_addr")),
    ("rpc_port", Same("geth.http_port")),
    ("rpc_apis", Same("geth.http_api")),
    ("ws_addr", Same("geth.ws_addr")),
    ("ws_port", Same("geth.ws_port")),
    ("ws_apis", Same("geth.ws_api")),
    ("p2p_port", Same("geth.port")),
    ("bootnodes", Same("geth.bootnodes")),
    ("max_peers", Same("geth.max_peers")),
    ("validator_mode", Same("node.validator")),
    ("validator_key", Nothing("keys are the chain client's own: name them in [geth]", true)),
    ("data_dir", Same("node.data_dir")),
    ("extra_flags", Same("geth.extra")),
    ("config_version", Nothing("`schema` takes its place", false)),
    ("height_poll_interval", Nothing("the height comes with every look at the node ([health] every)", false)),
    ("debug", Nothing("write [log] filter = \"debug\"", false)),
    ("version", Nothing("`schema` takes its place", false)),
];

/// Whether a key is one of v0.x's.
pub fn is_flat(name: &str) -> bool {
    FLAT.iter().any(|(flat, _)| *flat == name)
}

/// Puts what the file says into `source`.
pub fn translate(table: &Table, source: &mut Source) {
    for (name, value) in table {
        // A key in quotes can hold anything; what is told of it must stay on one line.
        let said = name.escape_debug().to_string();
        let outcome = match FLAT.iter().find(|(flat, _)| flat == name) {
            Some((_, holds)) => flat(*holds, value, table),
            None => variable(name, value),
        };
        match outcome {
            Ok(Some((key, value))) => source.found(key, value, said),
            Ok(None) => {}
            Err(Unfit::Wrong(error)) => source.errors.push(format!("{said}: {error}")),
            Err(Unfit::Dropped(why, loud)) => {
                source.dropped.push(Dropped { said, why, loud });
            }
        }
    }
    serve(table, source);
}

/// Why a value has no place.
enum Unfit {
    /// It is wrong.
    Wrong(String),
    /// It is left out, for this reason; loud when that changes what happens.
    Dropped(String, bool),
}

type Fit = Result<Option<(&'static Key, Value)>, Unfit>;

/// v0.x served HTTP and WebSocket always; where a port or an address is said, geth has to be told to.
fn serve(table: &Table, source: &mut Source) {
    for (begins, path) in [("rpc_port", "geth.http"), ("ws_port", "geth.ws")] {
        if let (true, Ok(key)) = (table.contains_key(begins), keys::named(path)) {
            source.found(key, Value::Bool(true), begins.to_owned());
        }
    }
}

fn flat(holds: Holds, value: &toml::Value, table: &Table) -> Fit {
    let text = plain(value).map_err(Unfit::Wrong)?;
    match holds {
        Same(path) => same(named(path)?, value, &text),
        Holds::AutoBackup => {
            let on = super::field::strict_bool(&text).map_err(Unfit::Wrong)?;
            said("backup.before_upgrade", if on { "always" } else { "never" })
        }
        Holds::OnFailure => with("node.restart", &text, Meaning::OnFailure),
        Holds::LogFormat if text == "console" => said("log.format", "text"),
        Holds::LogFormat => with("log.format", &text, Meaning::Ours),
        Holds::TimeFormat => with("log.time", &text, Meaning::TimeFormat),
        Holds::ChainId => match table.get("network_id").map(plain) {
            Some(Ok(network)) if network != text && !text.is_empty() => Err(Unfit::Wrong(format!(
                "it is {text:?} although network_id is {network}: correct the wrong one"
            ))),
            _ => {
                Err(Unfit::Dropped("the chain's id is in its genesis; network_id is kept".to_owned(), false))
            }
        },
        Nothing(why, loud) => {
            Err(Unfit::Dropped(why.to_owned(), loud && text != "false" && !text.is_empty()))
        }
    }
}

fn same(key: &'static Key, value: &toml::Value, text: &str) -> Fit {
    let dropped = |why: &str| Err(Unfit::Dropped(why.to_owned(), true));
    if text.contains("${") {
        return dropped("it holds a variable that nothing ever filled in: write the path itself");
    }
    match (key.kind(), value) {
        (Kind::Span, _) => length(key, value, text),
        (Kind::List, toml::Value::Array(items)) => {
            let items: Vec<String> = items.iter().filter_map(|i| plain(i).ok()).collect();
            if items.iter().any(|item| item.starts_with("enode://") && item.contains("...")) {
                return dropped("these are placeholders, no nodes: ask for the network's bootnodes");
            }
            Ok((!items.is_empty()).then_some((key, Value::List(items))))
        }
        // Zero and nothing were v0.x's way of not saying it.
        (Kind::Integer, _) if text == "0" && key.section == "geth" => Ok(None),
        _ if key.path() == "node.rpc" => with("node.rpc", text, Meaning::Address),
        _ => key.read(text, Meaning::Ours).map(|v| v.map(|v| (key, v))).map_err(Unfit::Wrong),
    }
}

/// A key that is the lower case of a variable.
fn variable(name: &str, value: &toml::Value) -> Fit {
    let upper = name.to_uppercase();
    let text = plain(value).map_err(Unfit::Wrong)?;
    if let Some(why) = ignored::reason(&upper) {
        let loud = why.loud && text != "false" && !text.is_empty();
        return Err(Unfit::Dropped(why.text.to_owned(), loud));
    }
    let found = keys::all().find_map(|key| {
        let (_, meaning) = key.env.iter().find(|(variable, _)| *variable == upper)?;
        Some((key, *meaning))
    });
    match found {
        Some((key, Meaning::Theirs)) if key.kind() == Kind::Span => length(key, value, &text),
        Some((key, meaning)) => key.read(&text, meaning).map(|v| v.map(|v| (key, v))).map_err(Unfit::Wrong),
        None => Err(Unfit::Dropped("no known key; the incumbents ignored such keys".to_owned(), true)),
    }
}

/// A length of time: nanoseconds, whole or as the float that v0.x wrote, or Go's text. Zero is not said.
fn length(key: &'static Key, value: &toml::Value, text: &str) -> Fit {
    let wrong = |e: String| Unfit::Wrong(e);
    let span = match value {
        toml::Value::String(_) if text.is_empty() => return Ok(None),
        toml::Value::String(_) => duration::go(text).map_err(wrong)?,
        _ => {
            let ns: u128 = text.parse().map_err(|_| wrong(format!("{text} is no number of nanoseconds")))?;
            duration::nanoseconds(ns).ok_or_else(|| wrong(format!("{text} ns is too long")))?
        }
    };
    Ok((span != common::time::Span::ZERO).then(|| (key, Value::Text(span.to_string()))))
}

/// A simple value as text; whole floats are integers, because v0.x wrote its integers so.
fn plain(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(n) => Ok(n.to_string()),
        toml::Value::Boolean(b) => Ok(b.to_string()),
        toml::Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e19 => Ok(format!("{f:.0}")),
        toml::Value::Array(items) => {
            items.iter().map(plain).collect::<Result<Vec<_>, _>>().map(|items| items.join(","))
        }
        other => Err(format!("{other} is neither a text nor a whole number nor true or false")),
    }
}

fn named(path: &str) -> Result<&'static Key, Unfit> {
    keys::named(path).map_err(Unfit::Wrong)
}

fn with(path: &str, text: &str, meaning: Meaning) -> Fit {
    let key = named(path)?;
    key.read(text, meaning).map(|v| v.map(|v| (key, v))).map_err(Unfit::Wrong)
}

fn said(path: &str, word: &str) -> Fit {
    Ok(Some((named(path)?, Value::Text(word.to_owned()))))
}
