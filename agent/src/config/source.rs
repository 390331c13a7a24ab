//! A settings file of any form that is understood, as values of our keys.
use super::SettingsError;
use super::field::Value;
use super::key::Key;
use super::{keys, legacy};
use std::path::{Path, PathBuf};
use toml::Table;

/// The only schema there is.
const SCHEMA: i64 = 1;

/// Whose form a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Sections, `schema = 1`.
    Ours,
    /// Sections without a schema, as before it was numbered.
    Unnumbered,
    /// cosmovisor's `config.toml`.
    Cosmovisor,
    /// The flat `wemixvisor.toml` of v0.x.
    Flat,
}

impl Form {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Form::Ours => "settings of schema 1",
            Form::Unnumbered => "settings without a schema",
            Form::Cosmovisor => "cosmovisor's configuration",
            Form::Flat => "settings of wemixvisor v0.x",
        }
    }
}

/// A value in a file.
pub struct Found {
    /// Whose it is.
    pub key: &'static Key,
    /// What it is.
    pub value: Value,
    /// How the file calls the key.
    pub said: String,
}

/// What a file says that has no place here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// How the file calls the key.
    pub said: String,
    /// Why it has none.
    pub why: String,
    /// Whether its absence changes what happens, so that people have to know.
    pub loud: bool,
}

/// A file.
pub struct Source {
    /// Where it is; `None` for a text at hand.
    pub path: Option<PathBuf>,
    /// Whose form it has.
    pub form: Form,
    /// What it says.
    pub values: Vec<Found>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no TOML. What is wrong with single keys is in [`Source::errors`].
    pub fn open(path: &Path) -> Result<Source, SettingsError> {
        let failed = |e: String| SettingsError(vec![format!("{}: {e}", path.display())]);
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        let mut source = Source::read(&text).map_err(|SettingsError(errors)| failed(errors.join("; ")))?;
        source.path = Some(path.to_owned());
        Ok(source)
    }

    /// Reads the text of a file; an empty text says nothing.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn read(text: &str) -> Result<Source, SettingsError> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            SettingsError(vec![format!("this is no TOML: {}", e.to_string().trim_end())])
        })?;
        let form = form_of(&table);
        let mut source =
            Source { path: None, form, values: Vec::new(), dropped: Vec::new(), errors: Vec::new() };
        match form {
            Form::Ours | Form::Unnumbered => source.sections(table),
            Form::Cosmovisor | Form::Flat => legacy::translate(&table, &mut source),
        }
        Ok(source)
    }

    fn sections(&mut self, mut table: Table) {
        match table.remove("schema") {
            Some(toml::Value::Integer(SCHEMA)) => {}
            None if table.is_empty() => {}
            Some(toml::Value::Integer(n)) if n > SCHEMA => self.errors.push(format!(
                "schema must be 1, not {n}: the file is for a newer wemixvisor; install that, or write the file anew"
            )),
            Some(other) => self.errors.push(format!("schema must be 1, not {other}")),
            None => self.errors.push(
                "schema must be 1: begin the file with `schema = 1`, or run `wemixvisor config migrate`"
                    .to_owned(),
            ),
        }
        for (section, value) in table {
            let known = keys::SECTIONS.iter().any(|(name, _)| *name == section);
            match value {
                toml::Value::Table(entries) if known => self.section(&section, &entries),
                _ if known => self.errors.push(format!("{section} must be a section: write [{section}]")),
                _ => {
                    let hint = keys::section_hint(&section);
                    self.errors.push(format!("{section} is no known key or section{hint}"));
                }
            }
        }
    }

    fn section(&mut self, section: &str, entries: &Table) {
        for (name, value) in entries {
            let said = format!("[{section}] {name}");
            let Some(key) = keys::find(section, name) else {
                self.errors.push(format!("{said} is no known key{}", keys::hint(section, name)));
                continue;
            };
            match key.kind().of_toml(value) {
                Ok(value) => self.found(key, value, said),
                Err(e) => self.errors.push(format!("{said}: {e}")),
            }
        }
    }

    /// Notes a value; one key under two names is an error.
    pub fn found(&mut self, key: &'static Key, value: Value, said: String) {
        match self.values.iter().find(|found| found.key.path() == key.path()) {
            Some(other) => self.errors.push(format!("{} and {said} are the same key: keep one", other.said)),
            None => self.values.push(Found { key, value, said }),
        }
    }
}

fn form_of(table: &Table) -> Form {
    let sections = || keys::SECTIONS.iter().any(|(name, _)| table.get(*name).is_some_and(|v| v.is_table()));
    if table.contains_key("schema") || table.is_empty() {
        return Form::Ours;
    }
    if sections() {
        return Form::Unnumbered;
    }
    let begins = |key: &str| ["daemon_", "cosmovisor_", "unsafe_"].iter().any(|s| key.starts_with(s));
    if table.keys().any(|key| legacy::is_flat(key)) {
        return Form::Flat;
    }
    if table.keys().any(|key| begins(key)) { Form::Cosmovisor } else { Form::Ours }
}
