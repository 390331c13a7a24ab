//! Reading plans: the files of two other supervisors and our own.
use super::name::{TitleError, in_home};
use super::{Plan, Source};
use crate::home::Home;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file of plans that is read, in bytes.
pub const MAX_PLAN_BYTES: u64 = 1 << 20;
/// Largest height, so that the other supervisors can read it back.
pub(super) const MAX_HEIGHT: u64 = i64::MAX as u64;
/// Go's zero time, which every plan carries.
pub(super) const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// What is wrong with one plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFlaw {
    /// A list, a text, a number where a plan should be.
    #[error("cannot unmarshal {found} into a plan: an object with name and height is expected")]
    NoObject {
        /// What is there.
        found: &'static str,
    },
    /// A key with a value of another kind.
    #[error("cannot unmarshal {found} into {key}: {wanted} is expected")]
    Kind {
        /// The key.
        key: &'static str,
        /// What is there.
        found: &'static str,
        /// What should be there.
        wanted: &'static str,
    },
    /// No name.
    #[error("name cannot be empty: invalid request; a plan names its upgrade in \"name\"")]
    NoName,
    /// No height, or 0, or less.
    #[error("height must be greater than 0: invalid request; a plan says it in \"height\"")]
    NoHeight,
    /// A height that no chain has.
    #[error("height {0} is no whole number from 1 to 9223372036854775807")]
    Height(String),
    /// A name that no upgrade can have.
    #[error(transparent)]
    Title(#[from] TitleError),
}

/// Why a file of plans cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is none.
    #[error("there is no plan {0}: no such file or directory")]
    Missing(PathBuf),
    /// Somebody is about to write it.
    #[error("empty upgrade-info.json in {0}: it is looked at again until it is written")]
    Empty(PathBuf),
    /// Somebody is writing it.
    #[error("{path} ends in the middle of a plan: it is looked at again until it is whole ({detail})")]
    Cut {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        detail: String,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder, a pipe, a device.
    #[error("{0} is not a regular file")]
    NoFile(PathBuf),
    /// More than [`MAX_PLAN_BYTES`].
    #[error("{0} is larger than 1 MiB, which no plan is")]
    TooLarge(PathBuf),
    /// No JSON.
    #[error("{path} is no JSON: {detail}; write the plan again")]
    NoJson {
        /// The file.
        path: PathBuf,
        /// Where it stops being JSON.
        detail: String,
    },
    /// JSON, but no plan.
    #[error("invalid upgrade-info.json content in {path}: {flaw}")]
    Flaw {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        flaw: PlanFlaw,
    },
}

impl PlanError {
    /// Whether the file is only not there yet, or not whole yet: the next look may find a plan.
    pub fn is_not_yet(&self) -> bool {
        matches!(self, PlanError::Missing(_) | PlanError::Empty(_) | PlanError::Cut { .. })
    }
}

/// Reads one plan file, with the warning it deserves.
///
/// # Errors
/// [`PlanError`]; see [`PlanError::is_not_yet`].
pub fn read_plan_file(
    home: &Home,
    path: &Path,
    recase: bool,
) -> Result<(Plan, Option<&'static str>), PlanError> {
    let value = read_json(path)?;
    let read = one(&value, Source::PlanFile, home, recase);
    read.map_err(|flaw| PlanError::Flaw { path: path.to_owned(), flaw })
}

/// The JSON in a file of at most [`MAX_PLAN_BYTES`].
///
/// # Errors
/// [`PlanError`]; see [`PlanError::is_not_yet`].
pub fn read_json(path: &Path) -> Result<Value, PlanError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => PlanError::Missing(path.to_owned()),
        _ => PlanError::Read { path: path.to_owned(), source },
    };
    // Looked at before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(PlanError::NoFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_PLAN_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PLAN_BYTES {
        return Err(PlanError::TooLarge(path.to_owned()));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(PlanError::Empty(path.to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|e| match e.is_eof() {
        true => PlanError::Cut { path: path.to_owned(), detail: e.to_string() },
        false => PlanError::NoJson { path: path.to_owned(), detail: e.to_string() },
    })
}

/// One plan, with the warning it deserves. Only a schedule's may have no height.
///
/// # Errors
/// [`PlanFlaw`] for the first thing that is wrong with it.
pub fn one(
    value: &Value,
    source: Source,
    home: &Home,
    recase: bool,
) -> Result<(Plan, Option<&'static str>), PlanFlaw> {
    let map = value.as_object().ok_or(PlanFlaw::NoObject { found: kind(value) })?;
    let title = title(map)?;
    let height = height(map)?;
    let info = info(map)?;
    let title = title.ok_or(PlanFlaw::NoName)?;
    if height.is_none() && source != Source::Schedule {
        return Err(PlanFlaw::NoHeight);
    }
    let (title, name) = in_home(home, title, recase)?;
    let warning = (!is_zero_time(field(map, "time"))).then_some(
        "time-based upgrades have been deprecated: the time in the plan is passed over, its height counts",
    );
    Ok((Plan { title, name, height, info, source }, warning))
}

/// The name in a plan, when it has one.
pub(super) fn title(map: &Map<String, Value>) -> Result<Option<&str>, PlanFlaw> {
    match field(map, "name") {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str()).filter(|t| !t.is_empty())),
        other => Err(PlanFlaw::Kind { key: "name", found: kind(other), wanted: "a text" }),
    }
}

/// The height in a plan: a whole number, or its digits as a text.
pub(super) fn height(map: &Map<String, Value>) -> Result<Option<u64>, PlanFlaw> {
    let digits = match field(map, "height") {
        Value::Null => return Ok(None),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => {
            return Err(PlanFlaw::Kind { key: "height", found: kind(other), wanted: "a whole number" });
        }
    };
    height_of(&digits).map(Some)
}

/// A height from its decimal digits, 1 to 2^63-1.
///
/// # Errors
/// [`PlanFlaw::NoHeight`] for 0 and less, [`PlanFlaw::Height`] for what is no whole number.
pub fn height_of(text: &str) -> Result<u64, PlanFlaw> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PlanFlaw::Height(text.chars().take(40).collect::<String>().escape_debug().to_string()));
    }
    if digits.len() < text.len() || digits.bytes().all(|b| b == b'0') {
        return Err(PlanFlaw::NoHeight);
    }
    match digits.parse() {
        Ok(height) if height <= MAX_HEIGHT => Ok(height),
        _ => Err(PlanFlaw::Height(digits.chars().take(40).collect())),
    }
}

fn info(map: &Map<String, Value>) -> Result<String, PlanFlaw> {
    match field(map, "info") {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        object @ Value::Object(_) => Ok(object.to_string()),
        other => Err(PlanFlaw::Kind { key: "info", found: kind(other), wanted: "a text or an object" }),
    }
}

/// A key by its name; where it is not there, as Go reads it, in any case.
fn field<'a>(map: &'a Map<String, Value>, key: &str) -> &'a Value {
    let any = || map.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v);
    map.get(key).or_else(any).unwrap_or(&Value::Null)
}

fn is_zero_time(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == ZERO_TIME,
        _ => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
