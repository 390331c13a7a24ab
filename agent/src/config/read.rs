//! Takes keys out of a table and collects what is wrong; what is left over is unknown.
use super::SettingsError;
use common::manifest::TrustRoot;
use std::fmt::Display;
use std::str::FromStr;
use toml::{Table, Value};

/// A settings file being read.
pub struct Reader<'a> {
    table: Table,
    env: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Begins with the text of a file; an empty text is a file that says nothing.
    pub fn new(text: &str, env: &'a dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let table: Table = text.parse().map_err(|e| SettingsError(vec![format!("{e}")]))?;
        let mut reader = Reader { table, env, errors: Vec::new() };
        let schema = reader.table.remove("schema");
        if !reader.table.is_empty() && schema != Some(Value::Integer(1))
            || schema.as_ref().is_some_and(|s| *s != Value::Integer(1))
        {
            reader.wrong("schema must be 1".to_owned());
        }
        Ok(reader)
    }

    /// Notes an error.
    pub fn wrong(&mut self, error: String) {
        self.errors.push(error);
    }

    fn take(&mut self, section: &str, key: &str) -> Option<Value> {
        self.table.get_mut(section)?.as_table_mut()?.remove(key)
    }

    /// A text: flag, else the first variable that is set and not empty, else the file.
    pub fn text(
        &mut self,
        section: &str,
        key: &str,
        variables: &[&str],
        flag: Option<String>,
    ) -> Option<String> {
        let in_file = match self.take(section, key) {
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.wrong(format!("[{section}] {key}: a text is expected, not {other}"));
                None
            }
            None => None,
        };
        let said = || variables.iter().find_map(|k| (self.env)(k).filter(|v| !v.is_empty()));
        flag.or_else(said).or(in_file)
    }

    /// As [`Reader::text`], parsed.
    pub fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        section: &str,
        key: &str,
        variables: &[&str],
    ) -> Option<T> {
        let text = self.text(section, key, variables, None)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(e) => {
                self.wrong(format!("[{section}] {key}: {e}"));
                None
            }
        }
    }

    /// A list of texts.
    pub fn list(&mut self, section: &str, key: &str) -> Vec<String> {
        let Some(value) = self.take(section, key) else { return Vec::new() };
        value.try_into().unwrap_or_else(|_| {
            self.wrong(format!("[{section}] {key}: a list of texts is expected"));
            Vec::new()
        })
    }

    /// The maintainers; an empty section says none.
    pub fn trust(&mut self) -> Option<TrustRoot> {
        let section = self.table.remove("trust")?;
        if section.as_table().is_some_and(Table::is_empty) {
            return None;
        }
        match section.try_into() {
            Ok(trust) => Some(trust),
            Err(e) => {
                self.wrong(format!("[trust] {}", e.to_string().trim()));
                None
            }
        }
    }

    /// Everything that was wrong, unknown keys included.
    pub fn finish(mut self) -> Result<(), SettingsError> {
        for (section, value) in std::mem::take(&mut self.table) {
            match value {
                Value::Table(keys) if ["node", "agent", "fleet"].contains(&section.as_str()) => {
                    self.errors.extend(keys.keys().map(|key| format!("[{section}] {key} is no known key")));
                }
                _ => self.errors.push(format!("{section} is no known key or section")),
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(SettingsError(self.errors)) }
    }
}
