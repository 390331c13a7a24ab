//! Small pieces of showing: fields of answers, safe path segments, states in words.
use super::error::{Failure, Outcome};
use super::escape::escape;
use common::rollout::{Control, Outcome as Ended, Phase};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;

/// A text that may stand as one segment of a path.
///
/// # Errors
/// When it holds anything but letters, digits, `.`, `_` and `-`.
pub fn segment(text: &str) -> Outcome<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !text.is_empty() && text.len() <= 128 && text != "." && text != ".." && text.bytes().all(plain) {
        return Ok(text);
    }
    Err(Failure::usage(format!("{text:?} is no id")))
}

/// An enum's JSON name, for people: `wait_slot` becomes `wait-slot`.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text.replace('_', "-"),
        Ok(Value::Object(map)) => map.keys().next().map(|k| k.replace('_', "-")).unwrap_or_default(),
        _ => String::new(),
    }
}

/// A phase in words.
pub fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Done(Ended::SucceededWithDeferred(n)) => format!("done: succeeded, {n} deferred"),
        Phase::Done(outcome) => format!("done: {}", word(outcome)),
        other => word(other),
    }
}

/// A control in words; who and why are data.
pub fn control(control: &Control) -> String {
    match control {
        Control::Run => "runs".to_owned(),
        Control::Paused { by, why, .. } => format!("paused by {} ({})", escape(by), escape(why)),
        Control::Held { reason, .. } => format!("HELD: {}", escape(&reason.message())),
        Control::Aborting { by } => format!("aborting, by {}", escape(by)),
        Control::RollingBack { by } => format!("rolling back, by {}", escape(by)),
    }
}

/// Any JSON as indented `key: value` lines, values escaped.
pub fn lines(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Null => {}
                    Value::Object(m) if m.is_empty() => {}
                    Value::Array(a) if a.is_empty() => {}
                    Value::Object(_) => {
                        let _ = write!(out, "{pad}{}:\n{}", escape(key), lines(value, indent + 2));
                    }
                    Value::Array(list) if list.iter().any(|v| v.is_object() || v.is_array()) => {
                        let _ = writeln!(out, "{pad}{}:", escape(key));
                        for item in list {
                            let text = lines(item, indent + 4);
                            let _ = writeln!(out, "{pad}  - {}", text.trim());
                        }
                    }
                    other => {
                        let _ = writeln!(out, "{pad}{}: {}", escape(key), plain(other));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{pad}{}", plain(other));
        }
    }
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert!(segment("r-12.a").is_ok());
        for bad in ["", "..", "a/b", "a?b", "a#", "a%2f", "é"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn phases_and_unknown_json_are_readable() {
        assert_eq!(phase(&Phase::Done(Ended::SucceededWithDeferred(2))), "done: succeeded, 2 deferred");
        assert_eq!(phase(&Phase::Rolling), "rolling");
        let value = serde_json::json!({"a": {"b": "x\u{1b}"}, "c": [1, 2], "d": null});
        assert_eq!(lines(&value, 0), "a:\n  b: x\\x1b\nc: 1, 2\n");
    }
}
