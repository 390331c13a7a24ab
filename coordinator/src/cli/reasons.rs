//! What each code means and what to do: read out of the operators' document itself, so that both say the same.

const DOCUMENT: &str = include_str!("../../../docs/operations.md");

/// A row of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What the code means.
    pub meaning: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// The row of a code of a reason, fault or check; `None` for a code this program does not know.
pub fn row(code: &str) -> Option<Row> {
    DOCUMENT.lines().find_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        if cells.next()?.trim_end_matches('`') != code {
            return None;
        }
        let meaning = cells.next()?;
        let advice = cells.last().unwrap_or(meaning).trim_end_matches('|').trim_end();
        Some(Row { meaning, advice })
    })
}

/// The code of a reason or fault, as JSON and the document write it.
pub fn code(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(code)) => code,
        Ok(serde_json::Value::Object(map)) => {
            map.get("code").and_then(|c| c.as_str()).unwrap_or("unknown").to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// The particulars of a reason as `key value` pairs: its fields without the code. Data from elsewhere; escape it.
pub fn particulars(value: &impl serde::Serialize) -> String {
    let Ok(serde_json::Value::Object(map)) = serde_json::to_value(value) else { return String::new() };
    let pairs = map.iter().filter(|(k, _)| *k != "code").map(|(key, value)| match value {
        serde_json::Value::String(text) => format!("{key} {text}"),
        serde_json::Value::Array(list) => {
            let words: Vec<String> =
                list.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
            format!("{key} {}", words.join(" "))
        }
        other => format!("{key} {other}"),
    });
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::rollout::Reason;
    use common::wire::v1::FaultCode;

    #[test]
    fn rows_have_a_meaning_and_advice() {
        let paused = row("paused").unwrap();
        assert!(paused.meaning.contains("paused") && paused.advice.contains("rollout resume"), "{paused:?}");
        let fault = row(&code(&FaultCode::DigestMismatch)).unwrap();
        assert!(fault.advice.contains("hostile"), "{fault:?}");
        assert_eq!(row("no-such-code"), None);
    }

    #[test]
    fn particulars_name_every_field() {
        let reason = Reason::QuorumSlackExhausted { need: 2, have: 1 };
        assert_eq!(code(&reason), "quorum-slack-exhausted");
        assert_eq!(particulars(&reason), "have 1, need 2");
        assert_eq!(particulars(&Reason::ApprovalMissing), "");
    }
}
