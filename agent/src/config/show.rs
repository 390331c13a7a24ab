//! Settings for people and programs, without their secrets.
use super::field::{Kind, Value};
use super::key::{Draft, Key};
use super::keys;
use super::load::Loaded;
use super::text::{bytes_text, toml_text};
use serde_json::{Map, json};
use std::fmt::Write;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line for each key that has a value.
    Table,
    /// One object: sections, keys, values.
    Json,
    /// A file that says the same.
    Toml,
}

/// The settings in a form, with the origin of each value on request. Secrets are masked.
pub fn show(loaded: &Loaded, form: Form, origins: bool) -> String {
    let draft = Draft::of(&loaded.settings);
    let rows: Vec<Row> = keys::all()
        .map(|key| Row {
            key,
            value: (key.get)(&draft).show().map(|value| masked(key, value)),
            origin: loaded.origins.get(&key.path()).map(ToString::to_string).unwrap_or_default(),
        })
        .collect();
    match form {
        Form::Table => table(&rows, origins),
        Form::Json => object(&rows, origins),
        Form::Toml => file(&rows, origins),
    }
}

struct Row {
    key: &'static Key,
    value: Option<Value>,
    origin: String,
}

/// A value for people, on one line and without secrets.
pub fn said(key: &Key, value: Value) -> String {
    match (key.kind(), masked(key, value)) {
        (Kind::Bytes, Value::Integer(n)) => bytes_text(n),
        (_, value) => value.to_string().escape_debug().to_string(),
    }
}

fn table(rows: &[Row], origins: bool) -> String {
    let text = |row: &Row| row.value.clone().map(|value| said(row.key, value)).unwrap_or_default();
    let shown: Vec<(String, String, &str)> = rows
        .iter()
        .map(|row| (row.key.path(), text(row), row.origin.as_str()))
        .filter(|(_, text, origin)| !text.is_empty() || *origin != "default")
        .collect();
    let width = |of: fn(&(String, String, &str)) -> usize, most: usize| {
        shown.iter().map(of).filter(|n| *n <= most).max().unwrap_or_default()
    };
    let (first, second) = (width(|row| row.0.len(), 40), width(|row| row.1.chars().count(), 48));
    let mut out = String::new();
    for (path, text, origin) in &shown {
        let line = if origins {
            format!("{path:first$}  {text:second$}  {origin}")
        } else {
            format!("{path:first$}  {text}")
        };
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn object(rows: &[Row], origins: bool) -> String {
    let mut sections = Map::new();
    for row in rows {
        let value = match &row.value {
            None => json!(null),
            Some(Value::Bool(b)) => json!(b),
            Some(Value::Integer(n)) => json!(n),
            Some(Value::Text(text)) => json!(text),
            Some(Value::List(items)) if row.key.kind() == Kind::Numbers => {
                json!(items.iter().filter_map(|item| item.parse::<u64>().ok()).collect::<Vec<_>>())
            }
            Some(Value::List(items)) => json!(items),
        };
        let value = if origins { json!({"value": value, "origin": row.origin}) } else { value };
        let section = sections.entry(row.key.section).or_insert_with(|| json!({}));
        section[row.key.name] = value;
    }
    format!("{:#}\n", serde_json::Value::Object(sections))
}

fn file(rows: &[Row], origins: bool) -> String {
    let mut out = "schema = 1\n".to_owned();
    for (section, _) in keys::SECTIONS {
        let _ = writeln!(out, "\n[{section}]");
        for row in rows.iter().filter(|row| row.key.section == section) {
            let Some(value) = &row.value else { continue };
            if matches!(value, Value::List(items) if items.is_empty()) {
                continue;
            }
            let origin = if origins { format!(" # {}", row.origin) } else { String::new() };
            let _ = writeln!(out, "{} = {}{origin}", row.key.name, toml_text(row.key.kind(), value));
        }
    }
    out
}

/// A value without what gives access to something.
fn masked(key: &Key, value: Value) -> Value {
    match (key.path().as_str(), value) {
        ("node.rpc" | "fleet.url", Value::Text(url)) => Value::Text(masked_url(&url, false)),
        // Whoever knows the path of a webhook can post to it.
        ("webhook.url", Value::Text(url)) => Value::Text(masked_url(&url, true)),
        ("node.args" | "geth.extra", Value::List(args)) => Value::List(masked_args(args)),
        (_, value) => value,
    }
}

fn masked_url(text: &str, path_too: bool) -> String {
    let Ok(url) = reqwest::Url::parse(text) else { return text.to_owned() };
    let secret_path = path_too && url.path().len() > 1;
    if url.username().is_empty() && url.password().is_none() && url.query().is_none() && !secret_path {
        return text.to_owned();
    }
    let login = if url.username().is_empty() && url.password().is_none() {
        String::new()
    } else {
        format!("{MASK}@")
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = if secret_path { format!("/{MASK}") } else { url.path().to_owned() };
    let query = url.query().map(|_| format!("?{MASK}")).unwrap_or_default();
    format!("{}://{login}{}{port}{path}{query}", url.scheme(), url.host_str().unwrap_or_default())
}

fn masked_args(args: Vec<String>) -> Vec<String> {
    let secret = |flag: &str| matches!(flag.trim_start_matches('-'), "nodekeyhex" | "ethstats");
    let mut hide_next = false;
    args.into_iter()
        .map(|arg| match arg.split_once('=') {
            _ if std::mem::take(&mut hide_next) => MASK.to_owned(),
            Some((flag, _)) if secret(flag) => format!("{flag}={MASK}"),
            None if arg.starts_with('-') && secret(&arg) => {
                hide_next = true;
                arg
            }
            _ => arg,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        for (text, all, none) in [
            (
                "https://hooks.example.org/T0/abc?x=1",
                "https://hooks.example.org/***?***",
                "https://hooks.example.org/T0/abc?***",
            ),
            ("https://u:p@a.example:7/", "https://***@a.example:7/", "https://***@a.example:7/"),
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("/data/geth.ipc", "/data/geth.ipc", "/data/geth.ipc"),
        ] {
            assert_eq!((masked_url(text, true).as_str(), masked_url(text, false).as_str()), (all, none));
        }
        let args = ["--nodekeyhex", "aa", "--ethstats=n:s@h", "--http", "--password", "/file"];
        let args = masked_args(args.map(str::to_owned).to_vec());
        assert_eq!(args, ["--nodekeyhex", "***", "--ethstats=***", "--http", "--password", "/file"]);
    }
}
