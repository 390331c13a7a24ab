//! Changing one key of a file; its comments stay.
use super::key::{Key, Meaning, Reload};
use super::load::{Loaded, Origin};
use super::show::said;
use super::source::{Form, Source};
use super::text::toml_text;
use super::{Flags, SettingsError, keys};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table};

/// A change that can be written.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The whole file.
    pub text: String,
    /// `section.key`.
    pub key: String,
    /// The value that counted before, for people; empty when there was none.
    pub old: String,
    /// The value that counts with the file written, for people; empty when there is none.
    pub new: String,
    /// What the change needs.
    pub reload: Reload,
    /// Where the value comes from that counts then: something stronger than the file may say otherwise.
    pub origin: Origin,
    /// What people should know of the settings as they are then.
    pub warnings: Vec<String>,
}

/// Why a key is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is no such key.
    #[error("{0}; docs/configuration.md lists them all")]
    Key(String),
    /// The value cannot be the key's.
    #[error("{key}: {why}")]
    Value {
        /// `section.key`.
        key: String,
        /// Why.
        why: String,
    },
    /// The file is of a form that is read but not written.
    #[error("{} holds {form}: run `wemixvisor config migrate` first", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Its form.
        form: &'static str,
    },
    /// The file is no TOML.
    #[error("{}: {why}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// With the change the settings could not be used; the file is as before.
    #[error("{} is left as it was", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What would be wrong.
        source: SettingsError,
    },
}

/// Sets a key in the text of the file at `path`, or takes it out (`None`), and checks the settings as they are then.
///
/// # Errors
/// [`EditError`] says which step failed; nothing was written.
pub fn edit(
    path: &Path,
    text: &str,
    key: &str,
    value: Option<&str>,
    flags: &Flags,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Edit, EditError> {
    let key = keys::named(key).map_err(EditError::Key)?;
    let toml = |why: String| EditError::Toml { path: path.to_owned(), why };
    let before = Source::read(text).map_err(|e| toml(e.to_string()))?;
    if before.form != Form::Ours {
        return Err(EditError::Form { path: path.to_owned(), form: before.form.name() });
    }
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| toml(e.to_string()))?;
    if document.is_empty() {
        document = text_with_schema(text).parse().map_err(|e: toml_edit::TomlError| toml(e.to_string()))?;
    }
    match value {
        Some(value) => put(&mut document, key, value)?,
        None => take(&mut document, key),
    }
    let original = text;
    let text = document.to_string();
    let load = |text: &str| -> Result<Loaded, SettingsError> {
        let mut source = Source::read(text)?;
        source.path = Some(path.to_owned());
        let under = flags.cosmovisor_config.iter().map(|path| Source::open(path));
        let mut sources = under.collect::<Result<Vec<_>, _>>()?;
        sources.push(source);
        Loaded::of(&sources, flags, env)
    };
    let after = load(&text).map_err(|source| EditError::Refused { path: path.to_owned(), source })?;
    let shown = |loaded: &Loaded| {
        let draft = super::key::Draft::of(&loaded.settings);
        (key.get)(&draft).show().map(|v| said(key, v)).unwrap_or_default()
    };
    // Where the settings were unusable before, the file itself says what stood there.
    let in_file = || before.values.iter().find(|found| found.key.path() == key.path());
    let old = load(original).map(|loaded| shown(&loaded));
    let old =
        old.unwrap_or_else(|_| in_file().map(|found| said(key, found.value.clone())).unwrap_or_default());
    Ok(Edit {
        new: shown(&after),
        old,
        key: key.path(),
        reload: key.reload,
        origin: after.origins.get(&key.path()).cloned().unwrap_or(Origin::Default(None)),
        warnings: after.warnings,
        text,
    })
}

fn text_with_schema(text: &str) -> String {
    format!("{}{}schema = 1\n", text.trim_end(), if text.trim().is_empty() { "" } else { "\n" })
}

/// The table that holds a key: where an older name of it stands, that one; else its own section.
fn place<'a>(document: &'a mut DocumentMut, key: &Key) -> Option<(&'a mut Table, String)> {
    let here = |document: &DocumentMut, section: &str, name: &str| {
        document.get(section).and_then(Item::as_table).is_some_and(|table| table.contains_key(name))
    };
    let (section, name) = match keys::older(key) {
        Some((section, name)) if here(document, section, name) => (section, name),
        _ => (key.section, key.name),
    };
    let table = document.entry(section).or_insert_with(toml_edit::table).as_table_mut()?;
    Some((table, name.to_owned()))
}

fn put(document: &mut DocumentMut, key: &Key, text: &str) -> Result<(), EditError> {
    let wrong = |why: String| EditError::Value { key: key.path(), why };
    let nothing = || wrong("it is empty: `--unset` takes a key out of the file".to_owned());
    // The empty text is a time format, and only that.
    let meaning = if key.path() == "log.time" { Meaning::TimeFormat } else { Meaning::Ours };
    let value = key.read(text, meaning).map_err(wrong)?.ok_or_else(nothing)?;
    let mut value: toml_edit::Value =
        toml_text(key.kind(), &value).parse().map_err(|e: toml_edit::TomlError| wrong(e.to_string()))?;
    let (table, name) =
        place(document, key).ok_or_else(|| wrong(format!("{} is no section in this file", key.section)))?;
    if let Some(before) = table.get(&name).and_then(Item::as_value) {
        // A comment behind the value stays there.
        *value.decor_mut() = before.decor().clone();
    }
    match table.get_mut(&name) {
        Some(item) => *item = Item::Value(value),
        None => drop(table.insert(&name, Item::Value(value))),
    }
    Ok(())
}

fn take(document: &mut DocumentMut, key: &Key) {
    if let Some((table, name)) = place(document, key) {
        table.remove(&name);
    }
}
