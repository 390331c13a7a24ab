//! Settings as text: values in TOML, the commented sample, the table of the documents.
use super::field::{Kind, Value};
use super::key::{Draft, Key, Reload};
use super::keys;
use std::fmt::Write;

/// Width of the sample's comments.
const WIDTH: usize = 110;

/// A value as it is written in the file.
pub fn toml_text(kind: Kind, value: &Value) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    match (kind, value) {
        (Kind::Bytes, Value::Integer(n)) => {
            let text = bytes_text(*n);
            if text.bytes().all(|b| b.is_ascii_digit()) { text } else { quoted(&text) }
        }
        (_, Value::Bool(b)) => b.to_string(),
        (_, Value::Integer(n)) => n.to_string(),
        (_, Value::Text(text)) => quoted(text),
        (Kind::Numbers, Value::List(items)) => format!("[{}]", items.join(", ")),
        (_, Value::List(items)) => {
            format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A size in the largest unit that divides it.
pub fn bytes_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

/// The default of a key in TOML; `None` when nothing stands there.
fn default_text(key: &Key, draft: &Draft) -> Option<String> {
    let value = (key.get)(draft).show()?;
    let said = !matches!(&value, Value::List(items) if items.is_empty()) && key.example.is_empty();
    said.then(|| toml_text(key.kind(), &value))
}

/// The example of a key in TOML.
fn example_text(key: &Key) -> String {
    let value =
        key.kind().of_text(key.example, false).unwrap_or_else(|_| Value::Text(key.example.to_owned()));
    toml_text(key.kind(), &value)
}

/// Words in lines of comment.
fn comment(text: &str, out: &mut String) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = "#".to_owned();
        }
        line = format!("{line} {word}");
    }
    let _ = writeln!(out, "{line}");
}

/// The complete commented sample: every key with its default or an example. All are commented out, so that the
/// file that `init` writes says nothing: a value in it would hide cosmovisor's file and the defaults of the way
/// the agent runs.
pub fn sample() -> String {
    let mut out = String::new();
    comment(
        "Settings of wemixvisor on this host. Flags win over the environment, the environment wins over this \
         file. Every key K of section S is also read from WEMIXVISOR_S_K.",
        &mut out,
    );
    comment(
        "Unknown keys are refused. Lengths of time are written \"250ms\", \"90s\", \"5m\", \"1h30m\"; sizes \
         1048576, \"64MiB\", \"10GB\". What is commented out shows the default, or an example where there is \
         none. `wemixvisor config show --origin` shows what counts and why.",
        &mut out,
    );
    out += "schema = 1\n";
    let draft = Draft::pattern();
    for (section, about) in keys::SECTIONS {
        out.push('\n');
        comment(about, &mut out);
        let _ = writeln!(out, "[{section}]");
        for key in keys::all().filter(|key| key.section == section) {
            out.push('\n');
            let names: Vec<&str> = key.env.iter().map(|(name, _)| *name).collect();
            let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            let usual =
                if key.usual.is_empty() { String::new() } else { format!(" Without it: {}.", key.usual) };
            comment(&format!("{}{usual}{names}", key.help), &mut out);
            let value = default_text(key, draft).unwrap_or_else(|| example_text(key));
            let _ = writeln!(out, "# {} = {value}", key.name);
        }
    }
    out
}

/// The tables of docs/configuration.md: every key with its default, variables, and what a change needs.
pub fn document() -> String {
    let mut out = String::new();
    let draft = Draft::pattern();
    for (section, about) in keys::SECTIONS {
        let _ = writeln!(out, "### `[{section}]`\n\n{about}\n");
        out += "| key | kind | default | further variables | a change needs | what it is |\n";
        out += "|---|---|---|---|---|---|\n";
        for key in keys::all().filter(|key| key.section == section) {
            let code = |text: String| format!("`{text}`");
            let default = match (key.usual, default_text(key, draft)) {
                ("", Some(text)) => code(text),
                ("", None) => "none".to_owned(),
                (usual, _) => usual.to_owned(),
            };
            let names: Vec<String> = key.env.iter().map(|(name, _)| code((*name).to_owned())).collect();
            let _ = writeln!(
                out,
                "| `{}` | {} | {default} | {} | {} | {} |",
                key.name,
                key.kind().name(),
                names.join(" "),
                Reload::name(key.reload),
                key.help
            );
        }
        out.push('\n');
    }
    out
}
